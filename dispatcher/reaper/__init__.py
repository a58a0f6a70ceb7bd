"""The container of the DaemonSet that has privilege: releases what no runtime will ask for again.

It also asks the networks for their STATUS, since only it may run plugins.

``python -m dispatcher.reaper`` starts it. It has no token and no port, and never imports the API
client. What a person must know it writes to files for the agent.

    __main__         starts the reaper's threads: one makes a pass a minute, one asks for STATUS
    reaper           one pass: which records are released, and why others wait
    settings_reader  reads the settings that the agent has accepted
    history          what the reaper remembers between passes: absences, failed DELs
    cri              asks the container runtime for its sandboxes
    plugin_del       runs the installed plugin's DEL for a record
    status_poll      asks the networks of the node for their STATUS
    plugin_status    runs STATUS of one network's plugins
    host_paths       paths and network namespaces of the host, seen from the container
    host_state       processes of the host, holders of locks
    old_versions     removes versions of the plugin that are no longer used
    handover         hands running pods over to the runtime when Genie leaves a node
    cache_entries    writes and removes entries of libcni's cache
    give_up          keeps a record that cannot be released as ``.json.left``

Imports neither :mod:`dispatcher.agent` nor the plugin, which it runs as a program.
"""
