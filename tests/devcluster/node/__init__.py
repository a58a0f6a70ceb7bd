"""One node: containerd, kubelet and kube-proxy in namespaces of their own.

What is where:

    node        start, stop and use a node
    nodeconfig  configuration of its programs
    cgroups     its control groups
"""
