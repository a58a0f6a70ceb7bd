"""Builds what the image carries for a node. Runs on the building machine only; nobody imports it.

    bundle          the plugin: launcher, compiled modules, sources
    interpreter     the interpreter that the plugin brings along
    encodings_file  the package ``encodings`` as one small file of that interpreter
    payload         all of it: ``python -m dispatcher.build.payload``

Only the standard library is used, and ``patchelf``: the interpreter that is copied runs this.
"""
