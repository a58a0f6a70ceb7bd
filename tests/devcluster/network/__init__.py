"""The networks of a cluster: between the nodes, on each node, and the outside world.

What is where:

    fabric    network namespaces, the bridge that joins the nodes, routes
    networks  the CNI networks canal and weave
    outside   an HTTP server that belongs to no node
    multus    Multus, by its published manifest
    multus_daemon  Multus with a daemon on each node
    products  flannel, kube-router and whereabouts
"""
