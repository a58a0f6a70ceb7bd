"""Builders, observers and helpers that several tests on a cluster use.

What is where:

    names            the names of the clusters that tests start
    pods             pods: their manifests, their addresses, waiting for them
    observe          a pod's interfaces and routes, read from inside it
    agents           the agents: settings, modes, labels, Events, metrics
    node_networks    further networks of a node, which go with their labels
    definitions      the custom resource of NetworkAttachmentDefinitions, and objects of it
    plugin_calls     calls of the installed plugin, as of a container runtime
    control_plane    an API server that is away, and etcd restored from a backup
    admission        namespaces, reviews and webhook configurations for tests of admission
    attachments      pods with forged attachments, and the ways to write them
    outside_webhook  the webhook as a process of the machine, for clusters without nodes
    chart_values     values of the chart that make sense together
    certs_manager    a certificate manager as a process
    certs_replica    a replica of the webhook for tests of certificates
    certs_site       several replicas and a strict client, for tests of certificates
    churn            pods that come and go, disruption of Genie's pods, leftovers on a node
    alert_cases      series that make each alert fire, and series that do not
    record_metrics   records the metrics of a cluster, for the tests of alerts
    load             clients that create pods without pause
    other_kinds      kinds of cert-manager and of the Prometheus operator, as names only
    release          a release of the chart, by the real Helm, and what an uninstall leaves
    sandboxes        pod sandboxes made through CRI, without the kubelet
    transcript       commands with their output, kept in Markdown and replayed
"""
