"""The container of the DaemonSet that has an API token: installs Genie, and reports on the node.

``python -m dispatcher.agent`` starts it. Nothing here is on the path of an ADD or DEL: pods
come and go while the agent is away.

    __main__           settings in, threads out, until SIGTERM
    agent              the agent's parts and threads
    reconciler         brings the node to what the settings say
    installer          puts the plugin in place, and keeps it there
    conflist           the file that makes the container runtime call Genie
    moves              notices when a network moves to another configuration file
    label_policy       which labels this node should have (pure)
    node_labels        the labels of our own Node, brought to that
    network_status     writes onto each pod what it was attached to
    annotation_server  answers the plugin where the runtime passes no annotations
    journal_reader     reads the plugin's journal, for metrics and Events
    events             Events about this node and its pods
    metrics            the agent's metrics
    http_endpoints     ``/healthz``, ``/readyz`` and ``/metrics``
    inotify            notices at once when a file of interest changes

Imports neither :mod:`dispatcher.reaper` nor the plugin.
"""
