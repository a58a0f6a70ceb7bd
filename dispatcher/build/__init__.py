"""Builds what the image carries for a node, on the building machine; no other package imports it.

    payload         all of it: ``python -m dispatcher.build.payload``
    bundle          the plugin: launcher, compiled modules, sources
    compile_plugin  compiles the plugin's modules, under the interpreter that will run them
    interpreter     the interpreter that the plugin brings along
    encodings_file  the package ``encodings`` as one small file of that interpreter

Only the standard library and ``patchelf`` are used: the interpreter that is copied runs this.
"""
