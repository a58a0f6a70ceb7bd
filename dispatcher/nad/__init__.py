"""NetworkAttachmentDefinitions: what is valid in one, who may define one, and what selects one.

All of it is pure, and shared by agent, webhook, plugin and command line. Plugins load none of it
for a pod without definitions.

The objects:

    definition        a NetworkAttachmentDefinition as a value
    configuration     the validator of its ``spec.config``
    node_selector     the label of the nodes that have it
    tenant_templates  templates for the definitions of tenants
    template_rules    what no such template may permit
    tenants           who may define which network
    validation        the decision on a definition
    definition_copy   the file that has the copy of a definition on a node

Both:

    names             names of namespaces and definitions

The annotations of a pod that select them:

    grammar           parses these annotations, in both forms
    plan              all attachments of a pod, from its annotations
    attachments       the annotation that says what admission permitted
    elements          one object of the JSON form: its keys, and what each may contain
    selection         a selected definition as a value, and its text
    addresses         IP and hardware addresses as text
    faults            a fault of such an annotation, with its place
    report            collects the faults of a JSON value
    json_places       reads JSON with the place of each value
"""
