"""The serving certificate of the webhook, and the caBundle by which the API server trusts it.

One Secret holds the CA; each replica signs a leaf for itself, in memory. The CA is replaced every
20 days without a failed call: the state machine is in :mod:`certs.rotation`, the thread that runs
it in :mod:`certs.manager`, what a person does with it in ``docs/certificates.md``. Certificates
from mounted files, cert-manager's for example, take its place if a setting says so.

Pure: settings, authority, bundle, observed, stored, rotation, and the choice of a leaf in serving.
Effects: cluster (the API server), files, serving (TLS), selfcheck (a dial), clock, manager.

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

from certs.authority import UnusableError
from certs.manager import CertificateManager
from certs.settings import CertificateSettings

__all__ = ["CertificateManager", "CertificateSettings", "UnusableError"]
