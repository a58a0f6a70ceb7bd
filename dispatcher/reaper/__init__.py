"""The container of the DaemonSet that has privilege: frees what no runtime will ask for again.

``python -m dispatcher.reaper`` starts it. It has no token and no port, and never imports the
API client. What a person must know it leaves in files for the agent.

    __main__      settings in, one thread that frees, until SIGTERM
    reaper        which records nobody else will ever free
    cri           asks the container runtime which sandboxes it has
    plugin_del    runs the installed plugin's DEL for a record
    host_paths    the host's files, seen from the container
    old_versions  removes versions of the plugin that nothing uses any more
    handover      hands what pods keep to the runtime, when Genie leaves a node
    give_up       leaves behind what cannot be freed

Imports neither :mod:`dispatcher.agent` nor the plugin, which it runs as a program.
"""
