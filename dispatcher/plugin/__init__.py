"""What the container runtime executes for every pod: the CNI plugin ``genie``.

In the order in which a call goes through them:

    main            reads environment and standard input, prints one JSON object, returns a code
    request         reads and validates the environment of a call (pure)
    genie_conf      reads and validates the plugin's own configuration (pure)
    call            what a command gets: request, configuration, effects and deadline
    deadline        divides the time of one call: for locks, for work, for a roll-back
    commands        ADD, DEL, CHECK, GC and STATUS
    plan            decides what the pod gets (pure)
    definitions     attaches a pod to the NetworkAttachmentDefinitions that it selects
    agent_client    asks the agent for a pod's annotation, if the runtime passes none
    container_lock  holds the locks of a call for one container
    rebuild         reads a container's record, and rebuilds one that is corrupt
    free            releases attachments, and rolls back an ADD that failed
    timings         times the operations on attachments, for the journal
    chain           runs the plugins of one network, in order
    delegate        runs one of them: finds the executable and reads its answer
    process         starts and ends its process
    default_routes  keeps the pod's default routes those of its primary
    netlink         reads and changes routes and interfaces of a network namespace
    libcni_cache    finds what was attached before Genie was installed
    cli             the command line for people

The record of what was attached is in :mod:`dispatcher.state`.

Rules of this package: it imports only the part of the standard library that loads in well under a
millisecond (a test holds the list). Every effect is in the record before it happens. No call
needs the API server or a daemon.
"""
