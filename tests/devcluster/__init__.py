"""A throw-away real Kubernetes on one machine, for tests, the demo and experiments.

``python -m tests.devcluster --help`` is the command line; tests use
:class:`tests.devcluster.cluster.Cluster`. README.md in this folder is the manual.

    __main__       the command line
    cluster        start a cluster, talk to it, look into it, take it down
    client         kubectl, as the cluster's administrator
    apiread        reads from the API server without kubectl
    genie          install Genie into a cluster
    helm           render the project's Helm chart
    kwok           simulated nodes, for measurements of large clusters
    promtool       evaluate alerts and expressions as Prometheus does
    control_plane  etcd, kube-apiserver, kube-controller-manager and kube-scheduler
    node           containerd, kubelet and kube-proxy of one node
    network        the Ethernet between the nodes, and the CNI networks on them
    build          programs and images, built once and cached
    layout         names, addresses and folders of a cluster, computed from its name
    state          the durable description of a cluster
    credentials    keys, certificates, tokens and kubeconfigs
    processes      daemons that outlive the tool
    cleanup        take a cluster down, whatever a crash left of it
    machine        check what the machine needs; install Debian packages
    kernel         check what the kernel needs
    interrupts     Ctrl-C, SIGTERM and SIGHUP while a cluster starts or stops
    commands       run programs, print progress
    diagnosis      the report about a cluster on which a test failed
    bin            the programs that ``env`` puts on the PATH
"""
