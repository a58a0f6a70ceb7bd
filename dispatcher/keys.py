"""Every key, label and name of networks by which Genie is known to Kubernetes and to the node.

No other module of dispatcher/ and webhook/ spells one; a test holds the manifests against this
one. What only certs/ knows (its label, its annotation, its Secret) is spelled there.
"""

ANNOTATION = "cni"
"""On pods and pod templates: the networks. On a namespace: the default for its pods."""

ATTACHMENTS = "cni-genie.io/attachments"
"""On a pod: its validated NetworkAttachmentDefinitions. Reserved: nothing reads it yet."""

POD_KEYS = (ANNOTATION, ATTACHMENTS)
"""On pods, decided when a pod is created: no Binding may bring one of these."""

ALLOWED = "cni-genie.io/allowed"
"""On a namespace: comma list of the only networks that its pods may name."""

DEFAULTED = "cni-genie.io/defaulted"
"""Label on a namespace that has a default: only there does the API server ask for it to be filled
in. No pod gets a wrong network for want of it; the policies read the annotation."""

SCHEDULING = "cni-genie.io/scheduling"
"""On a namespace: ``required``, ``preferred`` or ``off``, over the webhook's own setting."""

MAX_ATTACHMENTS = "cni-genie.io/max-attachments"
"""On a namespace: how many networks a pod may have, over the cluster's setting of that name."""

MAX_PER_NETWORK = "cni-genie.io/max-per-network"
"""On a namespace: how often a pod may name one network, over the cluster's setting."""

LIMIT_KEYS = (MAX_ATTACHMENTS, MAX_PER_NETWORK)
"""On namespaces: the limits of a pod."""

NAMESPACE_KEYS = (ANNOTATION, ALLOWED, SCHEDULING, *LIMIT_KEYS)
"""On namespaces: our annotations. Policies, matchConditions and warnings have this list."""

NETWORK_LABEL = "network.cni-genie.io/"
"""Prefix of the node labels; the rest of the key is the network's name."""

PLUGIN_TYPES = "cni-genie.io/plugin-types"
"""On a node: the plugin types of its networks, in the form of :mod:`dispatcher.plugin_types`."""

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
"""On a pod: what was attached, in the format of the NPWG's specification, v1.3."""

POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
"""The capability, and key of ``runtimeConfig``, under which a runtime hands over annotations."""

MIRROR = "kubernetes.io/config.mirror"
"""On a pod: the API server's image of a static pod. Never judged."""

CONFIG_SOURCE = "kubernetes.io/config.source"
"""On every pod that kubelet hands to the runtime, written by kubelet alone: where it has the pod
from. ``api``, or of a static pod ``file`` or ``http``."""

CONF_ARGS = "cni-genie.io"
"""In ``args`` of our conflist: options that a plugin which does not know them ignores."""

PLUGIN_TYPE = "genie"
"""The ``type`` of our plugin, and the name of its executable."""

CONFLIST = "00-genie.conflist"
"""The file name of our conflist: first in lexical order, so that the runtime loads it."""

LIBCNI_CACHE_KIND = "cniCacheV1"
"""What libcni calls the form of its notes: one file for each attachment that it made."""

PRIMARY_INTERFACE = "eth0"
"""In an annotation: the interface that the runtime asked for (CNI_IFNAME), whatever its name."""


def network_label(network: str) -> str:
    """Return the key of the node label that stands for *network*."""
    return NETWORK_LABEL + network
