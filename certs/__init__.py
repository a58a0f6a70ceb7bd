"""The serving certificate of the webhook, and the caBundle by which the API server trusts it.

One Secret holds the CA; each replica signs a leaf for itself, in memory. The CA is replaced every
20 days without a failed call: the state machine is in :mod:`certs.rotation`, the thread that runs
it in :mod:`certs.manager`, what a person does with it in ``docs/certificates.md``. Certificates
from mounted files, cert-manager's for example, take its place if a setting says so.

Pure:

    settings         names, and times in seconds
    authority        a CA that can sign for one Service only, and its leaves
    bundle           caBundle: the certificates that the API server trusts, as PEM
    webhook_configs  the webhook configurations that are ours, as last read
    ca_secret        the Secret: which CAs there are, and what each is for
    rotation         the life of the CA, as a state machine
    leaf             the leaf of this replica, and when to replace it
    write_backoff    configurations that another program writes as often as we do
    status           how the certificates stand, as a table or as JSON

Effects:

    kube_store       the API server: Secret and caBundles
    source           where certificates come from: a CA in a Secret
    file_source      the same from mounted files
    tls_context      the live TLS context of the listener
    selfcheck        whether the API server would accept what this replica presents
    server_clock     the API server's time
    manager          the threads that keep the certificate right
    metrics          the metrics of this package
    __main__         ``python -m certs``

What the ServiceAccount that runs this needs, and nothing more:

=====================================  ========================================================
in namespace ``genie-system``          Secret ``genie-webhook-ca`` (by resourceNames): get, list,
                                       watch, update; Secrets: create (a name cannot be given)
in the cluster                         mutatingwebhookconfigurations and
                                       validatingwebhookconfigurations: list, watch (a label cannot
                                       be given); patch, by resourceNames of those labelled
                                       ``cni-genie.io/webhook: "true"``
=====================================  ========================================================

With mounted files (``GENIE_CERTS_DIRECTORY``) no right on Secrets is needed, and with
``GENIE_CERTS_WRITE_BUNDLES=false`` no ``patch``.
"""

from certs.authority import CertificateError
from certs.manager import CertificateManager
from certs.settings import CertificateSettings

__all__ = ["CertificateError", "CertificateManager", "CertificateSettings"]
