"""What agent and reaper share: two containers on one node, with one set of settings.

    settings         their settings
    mode             the steps of installing and uninstalling, one of the settings
    settings_loader  reads and checks them in a process of its own, which saves memory
    startup          settings, logs and signals of a program that starts
    loop             a thread that repeats one step
    record_cache     the plugin's records, read only when they have changed
    atomic_file      writes files so that nobody ever reads half of one
    plugin_layout    how the installed plugin lies on a node
    conf_dir         the runtime's configuration directory
    removal          which pods would lose something if Genie left the node
    reaper_problem   the reaper's last error, for the agent
    gone_containers  the containers that the runtime no longer has, for the agent

Nothing here needs a token or the host's privilege.
"""
