"""The command line for people: the same executable, without CNI_COMMAND.

    main            parses the arguments and runs a command
    commands        the commands: print what the modules below return
    output          tables, JSON and errors on a terminal
    installation    where this executable is installed, and which version it is
    release         ``genie free``: runs the DEL of one record
    views           pods, networks and attachments of this node as plain values
    manifest        reads the pods of a Kubernetes manifest, in JSON
    genie_conflist  reads the options of the plugin on this node
    doctor          ``genie doctor``: runs all checks
    node_checks     its checks of conflist, state directory, agent and runtime
    record_checks   its checks of records, failed DELs and locks
    network_checks  its checks of networks
    addresses       which addresses the networks allocate
    finding         the result of one check

Nothing of this package is loaded when the container runtime calls the plugin.
"""
