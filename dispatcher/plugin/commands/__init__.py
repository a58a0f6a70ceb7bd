"""The commands of CNI, one module each: what carries out one call of the container runtime.

    add     attaches the networks of the plan
    delete  frees what a container has; ADD and GC release through it, too
    check   runs CHECK for what is attached
    gc      frees what the runtime does not name any more
    status  says whether the next ADD can succeed

``main`` of the plugin loads the one that the runtime asked for.
"""
