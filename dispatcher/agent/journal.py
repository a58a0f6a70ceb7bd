"""Reads the plugin's journal: one line for every ADD and DEL, for metrics and for Events.

Protocol: after each ADD and DEL the plugin appends one JSON object on one line, with a single
``write`` of at most 4 KiB in append mode (so lines of concurrent calls never mix), to
``<stateDir>/journal`` (0600)::

    {"time": 1700000000.123,            seconds of the epoch, at the end of the call
     "command": "ADD",                  or DEL
     "seconds": 0.043,                  the whole call
     "code": 0,                         0, or the CNI error code that was returned
     "msg": "",                         the error's sentence, at most 1 KiB
     "containerID": "…",
     "pod": ["namespace", "name", "uid"],
     "attachments": [{"network": "weave", "interface": "eth0", "seconds": 0.03, "code": 0}]}

``attachments`` are those that were begun, in the order of the calls. A journal that is larger
than 4 MiB is not appended to: nobody reads it, and the disk is not ours to fill. A line that
cannot be written is left out: the journal is never a reason for a call to fail or to wait.

The agent takes the file away by ``rename`` to ``journal.taken``, and reads that to its end a
little later, so that a writer which had it open is not missed; then it removes it.
"""
