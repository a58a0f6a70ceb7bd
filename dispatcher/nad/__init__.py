"""NetworkAttachmentDefinitions: what is valid in one, and who may define which network.

All of it is pure, and shared by agent, webhook and command line. Plugins load none of it for a pod
without definitions.

    definition        a NetworkAttachmentDefinition as a value
    configuration     the validator of its ``spec.config``
    tenant_templates  templates for the definitions of tenants
    tenants           who may define which network
    validation        the decision on a definition
"""
