"""The files under ``stateDir``, which all programs of a node share.

    record         the attachments of a container, and the format of the file
    record_reader  reads and validates the content of such a file
    store          reads and writes records: ``<containerID>.json``
    lock           one lock for each container, and one that GC takes exclusively
    journal        one line for each ADD and DEL
    released       what a DEL has released, so that a repeated DEL is cheap
    leftovers      removes the files of killed calls that have no record
    del_call       the DEL of a record for which no container runtime sends one

The plugin writes the files; agent, reaper and command line read them with the same code. The plugin
loads this package for every pod, so it imports only the cheap part of the standard library.
"""
