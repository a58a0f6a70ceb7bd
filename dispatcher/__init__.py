"""Genie on the node, and the vocabulary that the webhook and the node share.

The modules at this level are the vocabulary. They are cheap to import, because the plugin, which
the container runtime starts for every pod, loads them too.

    annotation    the grammar of the annotation ``cni``
    keys          every annotation, label and name that others know of Genie
    networks      which networks a node has, and in which file each is
    conf          reads the configuration of one network
    jsontext      reads and writes JSON on the node
    plugin_rules  what known CNI plugins cannot do
    plugin_types  the plugin types of a node's networks, as an annotation of the node
    cni_errors    the error that the plugin returns, and its codes
    cni_result    converts results of plugins between versions of the specification

The packages, each of which imports only those below it:

    build         builds what the image carries for a node
    agent         a container of the DaemonSet, with an API token and without privilege
    reaper        the other container of the DaemonSet, with privilege and without a token
    plugin        what the container runtime executes for every pod
    node          what agent and reaper share
    kube          what the services share: API client, watch cache, settings, logs
    nad           NetworkAttachmentDefinitions: objects, and annotations that select them
    state         the files under ``stateDir``, which all programs of a node share
"""
