"""Benchmarks: figures and charts for docs/performance.md, by ``make bench``.

What is where:

    __main__       measure the plugin, write its part of the page
    plugin         ADD and DEL: delegates called directly, and through Genie
    peers          a pod with a definition, through Genie and through Multus
    kube_api       answers Multus as the API server would
    thick          Multus with its daemon, for node_boot
    plugin_report  the plugin's figures as tables and a chart
    node_boot      all pods of a node at one moment, by Genie, Multus and directly
    startup        what starting the plugin costs
    agent          what agent and reaper cost an idle node
    definitions    a node of a cluster with many NetworkAttachmentDefinitions
    churn          pods that come and go on a real node
    churn_peers    the same pods without Genie, with Genie, and with Multus
    churn_report   its figures as a table
    cni_setups     switches a node between these ways
    floors         the least that a plugin in Python costs, for it and node_boot
    minimal_plugin  the program of one of them
    ended_sandboxes  removes the sandboxes of ended pods, as the kubelet does
    pod_loop       creates and deletes pods, and takes their times
    creation       what each policy and the webhook add to the creation of a pod
    api_profile    which work of the API server it is, from the server's own profile
    webhook        what one answer of the webhook costs, beside a webhook in Go
    webhook_server  our servers, which it measures
    webhook_processes  runs them, and the one in Go
    webhook_client  sends them reviews
    debian_python  Python of the image's version, for them and the plugin
    reviews        the reviews
    client_command  how long kubectl genie takes
    cluster        the cluster of the benchmarks that need a node
    scale          the webhook against the number of nodes, which are simulated
    scale_report   its figures as a table and a chart
    agents         what agents cost the API server
    agent_process  a real agent of a simulated node
    api_observer   what agents ask the API server, and what others wait for
    process_cost   processor time and memory of a process
    repetitions    the tests marked repeats, in full length
    soak           an hour of pods while everything is killed at random
    svg            draw the charts
    page           write a benchmark's part of docs/performance.md
    summary        the text and the chart at its top
"""
