"""The built plugin as a process, with real CNI plugins, in network namespaces. Needs root.

What is where:

    harness     a node for one test: namespaces, CNI plugins, the built plugin
    namespaces  a host for one test: a network and a mount namespace, and those of containers
    definitions  copies of NetworkAttachmentDefinitions, and annotations that select them
    calls       calls of the plugin as processes, which a test awaits, checks and kills
    products    networks of that fake plugin, and the routes that a pod has then
    runtime     calls through libcni as a container runtime makes them; rounds of the reaper
    product     a CNI plugin that treats default routes as products do (a fake)
    router      send one IPv6 router advertisement
    die         run the plugin and end it by SIGKILL before its n-th effect
    agent       run two rounds of the reaper
    installed   tests of the plugin as the agent installs it
"""
