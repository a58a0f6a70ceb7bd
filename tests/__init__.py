"""All tests, and the tools that they use.

What is where:

    unit          in seconds, on any machine: no root, no network
    node          the built plugin with real CNI plugins, in network namespaces
    cluster       everything on a real Kubernetes
    devcluster    the tool that builds, starts and stops that Kubernetes
    bench         measures, and writes the figures of docs/performance.md
    demo          ``make demo``
    pictures      the pictures of ``kubectl genie`` in docs/pictures
    predecessor   the version before this one, which upgrades are tested against
    records       records of the plugin, as a test changes them
    ports         TCP ports for servers that tests start
    reference     the tables of docs/reference that follow from the code
    shell_blocks  the commands in the pages of docs/
    tenants       what a hostile tenant writes into definitions
    workers       threads that run until a ``with`` block ends
"""
