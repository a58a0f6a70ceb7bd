"""The container of the DaemonSet that has an API token: installs Genie, and reports on the node.

``python -m dispatcher.agent`` starts it. Nothing here is on the path of an ADD or DEL:
pods start and stop while the agent is down.

    __main__           reads the settings and runs the agent until SIGTERM
    agent              the agent's parts and threads
    settings_follower  follows the ConfigMap, and returns the settings in force on this node
    removal_confirmation  reads whether "remove --force" is confirmed for this node
    reconciler         brings plugin and conflist of the node to the settings
    installer          installs the plugin, and restores it
    conflist           writes the file that makes the container runtime call Genie
    availability       says which networks this node can attach, and why not the others
    network_health     says which networks do not work, from STATUS and failed ADDs (pure)
    moves              detects when a network moves to another configuration file
    node_state         what a reconciliation reports of the node (pure)
    state_file         keeps what the next agent has to know
    problem_file       leaves problems of node and networks for ``genie doctor``
    label_policy       which labels this node should have (pure)
    node_labels        writes the labels and the annotation of our own Node
    network_status     writes onto each pod to which networks it is attached
    definition_copier  follows the cluster's NetworkAttachmentDefinitions
    definition_copies  keeps their copies on the node's disk
    annotation_server  answers the plugin where the runtime passes no annotations
    journal_reader     reads the plugin's journal, for metrics and Events
    events             emits Events about this node and its pods
    event_series       one Event and its repetitions (pure)
    metrics            the agent's metrics
    http_endpoints     serves ``/healthz``, ``/readyz`` and ``/metrics``
    inotify            wakes the agent when a file changes

Imports neither :mod:`dispatcher.reaper` nor the plugin.
"""
