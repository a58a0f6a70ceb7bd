"""The commands of CNI, one module each.

    add     attaches the networks of the plan
    delete  releases what a container has, and removes its record
    check   runs CHECK for what is attached
    gc      releases containers that the runtime does not list, and runs GC of the networks
    status  checks whether the next ADD can succeed

The plugin's ``main`` loads the one that is called.
"""
