"""Genie on the node, and the vocabulary that the webhook and the node share.

The modules at this level are pure and cheap to import: the plugin, which the container
runtime starts for every pod, loads them too.
"""
