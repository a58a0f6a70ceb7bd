"""What the DaemonSet runs on every node: it installs the plugin and tells the truth about it.

``python -m dispatcher.agent`` starts it. Nothing here is on the path of an ADD or DEL: pods
come and go while the agent is away.
"""
