"""The files under ``stateDir``: the contract between all programs of a node.

    record      what was done for a container, and the bytes that stand for it
    store       records in files: ``<containerID>.json``
    lock        one lock per container, and one that GC takes alone
    journal     one line for each ADD and DEL
    leftovers   removes what killed calls left before their first record

The plugin writes them; agent, reaper and command line read them through the same code. The
plugin loads this package for every pod, so it imports only the cheap part of the standard
library.
"""
