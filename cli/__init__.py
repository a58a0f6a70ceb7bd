"""``kubectl genie``: what admins and developers ask about networks, with a kubeconfig alone.

A top-level package of its own, because it runs on people's machines (Linux, macOS, Windows), not
in the cluster. Pure, from JSON to values:

    facts        nodes, namespaces, pods and workloads, as read from the API server's objects
    networks     which network is on which nodes, and where it is missing
    pods         what pods asked for and what they got
    status       the checks that tell whether Genie works
    attaching_nodes  which nodes are not ready for NetworkAttachmentDefinitions
    certificates  whether API server and webhook trust each other, and until when
    versions     the versions of all parts, and which do not go together
    preflight    the checks before an upgrade: versions that do not go together
    explain      what a pod would be attached to, and which nodes can do it
    migrate      what objects of CNI-Genie and Multus need
    pod_migration  what their annotations on a pod become
    logical_networks  the conversion of CNI-Genie's logical networks
    merge_patch  the patch of a pod's or a template's annotations
    documents    YAML and JSON manifests, with the place of each field
    scalar_places  where a character of a field stands in its file
    pod_selections  what a pod selects by the annotations of Multus, which Genie ignores
    lint         manifests against the rules of the webhook
    lint_report  the findings of ``lint`` as text, JSON, YAML, for GitHub, and as SARIF

    formats      the forms of output
    checks       one check of a cluster, how it ended, and what to do
    rows         the columns and rows of tables
    table        the layout of a table, for a terminal of any width
    redact       removes what may be a secret from a support archive
    bundle       the support archive, from its parts
    on_node      which pod runs a node's own ``genie``, and with which command

Effects:

    reader       lists from the API server, and the rights that are missing
    session      one run of a command: what several commands read
    probe        asks the API server whether a pod would be admitted, and nodes whether it could run
    bundle_parts  reads the parts of the support archive
    node_reports  runs a node's own command, and prints what it says, or its logs
    migration_output  prints what ``migrate`` found, and writes the converted networks
    installation  reads what the checks of ``status`` are about
    manifest_input  reads the files of ``--file``
    kubectl      running a command in a container, by the kubernetes library
    output       tables, JSON and YAML on standard output
    options      the options that commands share
    commands     the commands
    app          the command line: which commands there are, and exit codes
    cluster_names  the names of nodes, networks, namespaces and pods that completion offers
    completion   the program that kubectl runs for completion
    __main__     ``python -m cli``

Rules: a command reads and never writes unless its name says so; where rights are missing it
prints what it could read, and names on standard error what it could not.
"""
