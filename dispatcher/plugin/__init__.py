"""What the container runtime executes for every pod: the CNI plugin ``genie``.

How it works, module by module:

    main            turns environment and standard input into one JSON answer and an exit code
    request         reads and validates the environment of a call (pure)
    genie_conf      reads and validates the plugin's own configuration (pure)
    plan            decides what the pod gets (pure)
    call            what a command has at hand: request, clock, locks, plan, journal
    commands        ADD, DEL, CHECK, GC and STATUS
    chain           one network's plugins, in order
    delegate        one run of one of them
    process         its process
    default_routes  keeps the pod's default routes those of its primary
    netlink         routes and interfaces of a network namespace
    libcni_cache    what was attached before Genie was installed
    agent_client    asks the agent for a pod's annotation, where the runtime does not pass it
    cli             the command line for people

What was done is in :mod:`dispatcher.state`.

Rules of this package: standard library only, and only the part that loads in well under a
millisecond (a test holds the list); nothing is done that the record does not say first; no
call to the API server and no daemon is needed.
"""
