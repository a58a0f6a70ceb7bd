"""The admission webhook: every mistake about networks is caught at ``kubectl apply``.

How it works: bytes from the API server become a :class:`webhook.review.Review`; a pure
function judges it against a snapshot of namespaces and networks and returns a
:class:`webhook.decision.Decision`; that becomes bytes again.

    review, decision, snapshot      the values that pass through
    value, pods, bindings, ignored,
    namespaces, templates, affinity what is right, as functions of values: no I/O, no clock
    caches, desk, lookups, labels   what asks the API server, and keeps labels right there
    connections, server, intake,
    app, probes                     TLS and HTTP
    settings, metrics, service,
    __main__                        what runs it

Rules: the first two rows have no effects. A pod that names no network, in a namespace
without a default, is never ours to judge, whatever state we are in.
"""
