"""Attach pods to NetworkAttachmentDefinitions, which their authors select by annotation.

Loaded only for a pod with such an annotation, on a node whose conflist says
``"attachmentDefinitions": "enforce"``. In the order in which ADD goes through them:

    pod_plan          all attachments of the pod: of the annotation ``cni``, and of definitions
    permission        compares the annotations with what admission permitted (pure)
    copies            reads the copies of definitions on this node, and waits for a new one
    delegate_input    what the pod asks of an attachment, as its plugins get it (pure)
    default_gateways  the routes of ``default-route``, after the last attachment

DEL, CHECK and GC load none of this: the record has all that they need. Only a record that became
unreadable is rebuilt from the annotations and the copies.
"""
