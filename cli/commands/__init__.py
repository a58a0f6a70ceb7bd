"""The commands, by what they are about.

Each module has a group of commands, which :mod:`cli.app` joins:

    cluster    networks, pods, status, version
    manifests  lint, explain, preflight
    nodes      doctor, attachments, logs
    support    bundle
    removal    uninstall
"""
