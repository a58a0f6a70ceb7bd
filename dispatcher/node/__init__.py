"""What agent and reaper share: two containers of one pod, with one set of settings.

    settings         their settings, with types, defaults and help
    settings_loader  reads the settings from command line and environment
    setting_types    the types of settings: from a text to a value
    settings_dir     reads the settings that may change from the mounted ConfigMap
    accepted_settings  the settings that the agent has accepted, for the reaper
    mode             the setting ``mode``: the steps of installing and uninstalling
    startup          settings, logs and signals of a program that starts
    loop             repeats one step in a thread
    record_cache     the records, read again only when they have changed
    atomic_file      writes files so that no reader sees half of one
    plugin_layout    the layout of the installed plugin on a node
    conf_dir         the runtime's configuration directory
    removal          what becomes of each record when Genie leaves the node
    reaper_problem   passes the reaper's last error to the agent
    status_answers   passes the networks' answers to STATUS from the reaper to the agent
    ended_list       passes the ids of containers that no longer exist to the agent

Nothing here needs a token or the host's privilege.
"""
