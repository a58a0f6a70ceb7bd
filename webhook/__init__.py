"""The admission webhook: every mistake about networks is caught at ``kubectl apply``.

How it works: bytes from the API server become a :class:`webhook.review.Review`; a pure
function judges it against a snapshot of namespaces and networks and returns a
:class:`webhook.decision.Decision`; that becomes bytes again.

    review, decision, snapshot      the values that pass through
    value, combinations, limits,
    pods, namespaces, templates,
    bindings, affinity, ignored     what is right, as functions of values: no I/O, no clock
    caches, desk, lookups, labels   what asks the API server, and keeps labels right there
    connections, server, intake,
    app, probes                     TLS and HTTP
    settings, metrics, service,
    __main__                        what runs it

Rules: the first two rows have no effects. The API server sends a new pod only if it has a key of
ours, one that its author may have meant for ours, or a namespace that is labelled as having a
default; every other pod is created whatever state the webhook is in.
"""
