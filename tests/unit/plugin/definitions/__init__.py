"""Pods that select NetworkAttachmentDefinitions, on the node of a model."""
