"""Genie on the node, and the vocabulary that the webhook and the node share.

The vocabulary is the modules at this level. They are cheap to import: the plugin, which the
container runtime starts for every pod, loads them too.

    annotation    the grammar of the annotation ``cni``
    keys          every key, label and name by which Genie is known
    networks      which networks a node has, and in which file each is
    conf          one network's configuration
    jsontext      JSON text as the node reads and writes it
    plugin_rules  what known CNI plugins cannot do
    plugin_types  the plugin types of a node's networks, as an annotation of the node
    cni_errors    the error that leaves the plugin, and its codes
    cni_result    results of plugins, and their conversion between versions

The packages, each of which imports only those below it:

    build         builds what the image carries for a node
    agent         a container of the DaemonSet, with an API token and without privilege
    reaper        the other one, with privilege and without a token
    plugin        what the container runtime executes for every pod
    node          what agent and reaper share
    kube          what the services share: API client, watch cache, settings, logs
    state         the files under ``stateDir``: the contract of all programs of a node
"""
