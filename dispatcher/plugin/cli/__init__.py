"""The command line for people: the same executable, without CNI_COMMAND.

    main       reads arguments and prints
    views      pods explained, networks, attachments, as plain values
    doctor     ``genie doctor``: what is wrong with this node, and how to cure it
    conflicts  its checks of networks
    addresses  which addresses the networks hand out
    diagnosis  one result of a check, and the fix where one is needed
    own        Genie's own conflist, read for people
    podfile    a pod's manifest, as far as ``genie explain`` needs it

Nothing of this package is loaded when the container runtime calls.
"""
