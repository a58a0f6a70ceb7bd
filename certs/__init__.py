"""The serving certificate of the webhook, and the caBundle by which the API server trusts it.

One Secret holds the CA; each replica signs a leaf for itself, in memory. The CA is replaced every
20 days without a failed call (``docs/certificates.md``). Instead of a CA in a Secret, certificates
may come from mounted files, of cert-manager for example.

Pure:

    settings         names, and times in seconds
    authority        issue and load CAs and leaves
    bundle           caBundle: merge it, and verify a leaf against it
    webhook_configs  our webhook configurations, as last read
    ca_secret        parse and render the Secret with the CAs
    transitions      the rotation as a table: phase, condition, next phase
    rotation         decide on the next step of the rotation
    leaf             when to replace the leaf of this replica, and how to issue one
    write_backoff    back off from bundles that another program also writes
    status           the status of the certificates, as a table or as JSON

Effects:

    kube_store       read and write the Secret and the caBundles
    source           certificates from a CA in a Secret, and the protocol of sources
    file_source      certificates from mounted files
    tls_context      the TLS context of the listener
    selfcheck        check whether the API server would accept the certificate
    server_clock     the API server's time
    manager          the thread that reconciles certificate, bundles and Secret
    metrics          the metrics of this package
    commands         the commands of ``python -m certs``
    __main__         its command line

Rights of the ServiceAccount that runs this:

=====================================  ========================================================
in namespace ``genie-system``          Secret ``genie-webhook-ca`` (by resourceNames): get, list,
                                       watch, update; Secrets: create (RBAC takes no name there)
in the cluster                         mutatingwebhookconfigurations and
                                       validatingwebhookconfigurations: list, watch (RBAC takes no
                                       label); patch, by resourceNames of those labelled
                                       ``cni-genie.io/webhook: "true"``
=====================================  ========================================================

With mounted files (``GENIE_CERTS_DIRECTORY``) it needs no right on Secrets, and with
``GENIE_CERTS_WRITE_BUNDLES=false`` no ``patch``.
"""

from certs.authority import CertificateError
from certs.manager import CertificateManager
from certs.settings import CertificateSettings

__all__ = ["CertificateError", "CertificateManager", "CertificateSettings"]
