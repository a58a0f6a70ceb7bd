"""The plugin as the agent installs it, with its own interpreter. Needs root.

What is where:

    image  what the image carries for a node, made without an image
    bare   a host with nothing on it
"""
