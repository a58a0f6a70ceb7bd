"""The admission webhook: every mistake about networks is caught at ``kubectl apply``.

How it works: bytes from the API server become a :class:`webhook.review.Review`; a pure
function handlers it against a snapshot of namespaces and networks and returns a
:class:`webhook.decision.Decision`; that becomes bytes again.

Values that pass through:

    review             AdmissionReview, bytes to values and back
    decision           what was decided about one review
    objects            what the rules need of a pod or a workload
    snapshot           the facts of one namespace and the networks of the cluster

Validation, as functions of values, without I/O and without a clock:

    annotation_check   whether a value of ``cni`` is well formed, known and allowed
    limits             how many attachments a pod may have
    combinations       networks that known plugins cannot attach to one pod
    pods               pods: the value normalised, the default filled in, affinity added
    affinity           a pod goes only to nodes that have its networks
    templates          the pods of a Deployment and of other workloads
    bindings           removes our keys from Bindings
    namespaces         the default and the allow-list of a namespace
    ignored_keys       annotations that Genie ignores, each with a warning

What asks the API server, and keeps labels right there:

    informer_caches    namespaces and nodes, from list-and-watch caches
    lookups            live look-ups of namespaces
    handlers           one method for each endpoint: which rules apply, with what knowledge
    label_reconciler   keeps the label ``cni-genie.io/defaulted`` right

TLS and HTTP:

    connection_limits  deadlines of connections, and how many there may be
    server             the two servers
    body_reader        bodies of requests, read under limits
    app                the FastAPI application
    probes             what kubelet and Prometheus ask

What runs it:

    settings           the webhook's settings
    metrics            its metrics
    service            its parts wired together
    __main__           ``python -m webhook``

Rules: the first two groups have no effects. The API server sends a new pod only if it has a key of
ours, one that its author may have meant for ours, or a namespace that is labelled as having a
default; every other pod is created whatever state the webhook is in.
"""
