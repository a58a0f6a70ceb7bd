"""Every annotation, label and name that Kubernetes or the node knows of Genie.

No other module of dispatcher/ and webhook/ spells one, and a test compares the manifests with this
module. Names that only certs/ uses (its label, annotation and Secret) are spelled there.
"""

ANNOTATION = "cni"
"""On pods and pod templates: the networks. On a namespace: the default for its pods."""

ATTACHMENTS = "cni-genie.io/attachments"
"""On a pod: the NetworkAttachmentDefinitions that admission permitted, in the form of
:mod:`dispatcher.nad.attachments`. The webhook writes it, the plugin compares it. In the mode
``enforce`` it is empty on a pod whose definitions Multus attaches: Genie itself attaches none."""

POD_KEYS = (ANNOTATION, ATTACHMENTS)
"""On pods, fixed at creation: a Binding may not contain one of these. In the mode ``enforce`` that
is also true for :data:`SELECTION_KEYS`."""

ALLOWED = "cni-genie.io/allowed"
"""On a namespace: comma list of the only networks that its pods may name."""

CHOOSE = "cni-genie.io/choose"
"""On a namespace: ordered list of networks. A pod without a choice gets the first that enough nodes
can attach."""

DEFAULTED = "cni-genie.io/defaulted"
"""Label on a namespace that has a default, or a list to choose from: only there does the API server
call the webhook for pods without a choice. A missing label gives no pod a wrong network: the
policies read the annotations."""

SCHEDULING = "cni-genie.io/scheduling"
"""On a namespace: ``required``, ``preferred`` or ``off``, over the webhook's own setting."""

MAX_ATTACHMENTS = "cni-genie.io/max-attachments"
"""On a namespace: how many networks a pod may have, over the cluster's setting of that name."""

MAX_PER_NETWORK = "cni-genie.io/max-per-network"
"""On a namespace: how often a pod may name one network, over the cluster's setting."""

HOST_PORTS = "cni-genie.io/host-ports"
"""On a namespace: ``allow`` lets its pods ask for port mappings of a NetworkAttachmentDefinition,
which take ports of the node. ``deny``, and a missing annotation, do not."""

LIMIT_KEYS = (MAX_ATTACHMENTS, MAX_PER_NETWORK)
"""On namespaces: the limits of a pod."""

NAMESPACE_KEYS = (ANNOTATION, ALLOWED, CHOOSE, SCHEDULING, *LIMIT_KEYS, HOST_PORTS)
"""On namespaces: Genie's annotations, as in policies, matchConditions and warnings."""

NETWORK_LABEL = "network.cni-genie.io/"
"""Prefix of the node labels; the rest of the key is the network's name."""

ATTACHMENTS_LABEL = "node.cni-genie.io/attachments"
"""Label on a node: ``true`` once all NetworkAttachmentDefinitions were copied there."""

PLUGIN_TYPES = "cni-genie.io/plugin-types"
"""On a node: the plugin types of its networks, in the form of :mod:`dispatcher.plugin_types`."""

REMOVAL = "cni-genie.io/removal"
"""On a node: its steps on the way out, in the form of :mod:`dispatcher.kube.removal_report`."""

NODE_ANNOTATIONS = (PLUGIN_TYPES, REMOVAL)
"""On a node: what the agent writes beside its labels."""

CONFIRM_REMOVE = "cni-genie.io/confirm-remove"
"""On a node: with the value :data:`CONFIRM_FORCE`, this node may apply the mode "remove --force".
A person or ``kubectl genie uninstall`` writes it; the policy of the agent's token lets no agent."""

CONFIRM_FORCE = "force"
"""The value of :data:`CONFIRM_REMOVE` that confirms."""

NETWORKS_GROUP = "cni-genie.io"
NETWORKS_VERSION = "v1alpha1"
NETWORKS_RESOURCE = f"networks.{NETWORKS_GROUP}"
"""The custom resource by which people see the networks, as kubectl names it."""

NETWORKS = "k8s.v1.cni.cncf.io/networks"
"""On a pod: NetworkAttachmentDefinitions, in the format of the NPWG's specification, v1.3."""

DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
"""On a pod: the NetworkAttachmentDefinition on its primary interface, in the same format."""

MULTUS_NAMESPACE = "kube-system"
"""The namespace of what :data:`DEFAULT_NETWORK` names without one, unless a setting says another;
``multusNamespace`` in Multus' configuration, with the same default."""

SELECTION_KEYS = (NETWORKS, DEFAULT_NETWORK)
"""On a pod: the annotations that select NetworkAttachmentDefinitions."""

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
"""On a pod: what was attached, in the format of the NPWG's specification, v1.3."""

POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
"""The capability, and key of ``runtimeConfig``, under which a runtime hands over annotations."""

MIRROR = "kubernetes.io/config.mirror"
"""On a pod: it is the mirror of a static pod in the API server, and is not validated."""

CONFIG_SOURCE = "kubernetes.io/config.source"
"""On every pod that the kubelet passes to the runtime: the pod's source, written by the kubelet.
``api``, or for a static pod ``file`` or ``http``."""

CONF_ARGS = "cni-genie.io"
"""In ``args`` of our conflist: options that older versions of the plugin ignore."""

PLUGIN_TYPE = "genie"
"""The ``type`` of our plugin, and the name of its executable."""

CONFLIST = "00-genie.conflist"
"""The file name of our conflist: first in lexical order, so that the runtime loads it."""

MODE_BEFORE = "cni-genie.io/mode-before-uninstall"
"""On the ConfigMap ``genie`` during an uninstall: the mode to restore if it cannot be completed.
Ignored once anyone else has changed the mode."""

LIBCNI_CACHE = "/var/lib/cni/results"
"""The libcni cache of every host: one file for each attachment, until its DEL."""

LIBCNI_CACHE_KIND = "cniCacheV1"
"""The ``kind`` of a file in the libcni cache."""

PRIMARY_INTERFACE = "eth0"
"""In an annotation: the interface that the runtime asked for (CNI_IFNAME), whatever its name."""


def network_label(network: str) -> str:
    """Return the key of the node label that stands for *network*."""
    return NETWORK_LABEL + network
