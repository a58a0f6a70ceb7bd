"""The commands, by what they are about.

Each module has a group of commands; :mod:`cli.app` imports the one whose command is run:

    cluster    networks, pods, status, version
    manifests  lint, explain
    upgrade    migrate, preflight
    nodes      doctor, attachments, logs
    support    bundle
    removal    uninstall
"""
