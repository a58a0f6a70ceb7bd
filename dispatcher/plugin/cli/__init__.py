"""The command line for people: the same executable, without CNI_COMMAND.

``main`` reads arguments and prints, ``views`` and ``doctor`` look at the node through the
plugin's own code, ``podfile`` reads manifests, ``own`` Genie's conflist. Nothing of this
package is loaded when the container runtime calls.
"""
