"""The admission webhook: validates the networks of pods, workloads and namespaces.

A body from the API server is parsed to a :class:`webhook.review.Review`. A pure function applies
the rules, with what the informer caches know, and returns a :class:`webhook.decision.Decision`,
which is encoded as the response.

Values:

    review              AdmissionReview, as values and as a response
    review_parser       parses it: of its fields only those that the rules read
    decision            the decision on one review
    objects             what the rules need of a pod or a workload
    snapshot            one namespace, and the networks of the cluster
    node_index          the networks of all nodes, counted change by change
    definition_snapshot  what decisions need of NetworkAttachmentDefinitions

Rules, as pure functions:

    annotation_check    validates a value of ``cni``: well formed, known and allowed
    limits              how many attachments a pod may have
    combinations        networks that known plugins cannot attach to the same pod
    pods                pods: normalises the value, fills in the default, adds affinity
    affinity            node affinity for the nodes that have a pod's networks
    templates           the pod templates of Deployments and other workloads
    bindings            removes Genie's keys from Bindings
    namespaces          the default and the allow-list of a namespace
    network_choice      chooses a network for a pod from its namespace's list
    pod_definitions     pods that select definitions: refusals, and what is written into the pod
    definition_check    validates the definitions that a pod selects
    definitions         NetworkAttachmentDefinitions themselves: refusals and warnings
    selections          reads the annotations that select NetworkAttachmentDefinitions
    ignored_keys        warnings of annotations that Genie ignores
    network_objects     what the objects ``networks.cni-genie.io`` should say

Access to the API server:

    informer_caches     namespaces and nodes, from list-and-watch caches
    definition_cache    NetworkAttachmentDefinitions, from a list-and-watch cache
    lookups             live look-ups of namespaces and definitions, under limits
    definition_finder   the definitions that a pod selects, from cache or look-up
    equal_pods          decisions on equal pods, made only twice
    handlers            one method for each endpoint: which rules apply
    label_reconciler    corrects the label ``cni-genie.io/defaulted`` of namespaces
    network_reconciler  writes the objects ``networks.cni-genie.io``
    reconcile_loop      the thread of both reconcilers

TLS and HTTP:

    server              the two servers: they listen, and stop
    tls_connection      TLS of one connection
    http_connection     HTTP/1.1 of one connection
    http_exchange       one request and its response, for the application
    connection_limits   which connections wait for what, and the limit of their number
    deadlines           deadlines of many things, with one timer
    body_reader         request bodies, read under limits
    app                 the FastAPI application
    probes              health checks and metrics

The program:

    settings            the webhook's settings
    metrics             its metrics
    service             wires the parts together
    __main__            ``python -m webhook``

The first two groups have no side effects. The API server calls the webhook only for a pod that has
a key of Genie, a key that its author may have mistaken for one, or a namespace that is labelled to
have a default. Every other pod is created whatever state the webhook is in.
"""
