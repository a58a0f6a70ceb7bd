"""What the container runtime executes for every pod: the CNI plugin ``genie``.

How it works, module by module: ``main`` turns environment and standard input into one JSON
answer and an exit code. ``request`` judges what the runtime said (pure), ``plan`` decides what
the pod gets (pure), ``add``, ``delete``, ``check``, ``gc`` and ``status`` carry a command out,
each through ``chain`` (one network's plugins in order), ``delegate`` (one run of one of them),
``process`` (its process), ``record`` (what was done), ``store`` (the same on disk) and
``lock``. ``result`` converts between versions of the specification (pure), ``routes`` removes
foreign default routes.

Rules of this package: standard library only, and only the part that loads in well under a
millisecond (a test holds the list); nothing is done that the record does not say first; no
call to the API server and no daemon is needed.
"""
