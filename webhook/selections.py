"""Read the annotations that select NetworkAttachmentDefinitions (NADs): one value for all rules.

The rules apply to the whole plan of the pod: the networks of ``cni`` or of the namespace's default,
and the definitions (:mod:`dispatcher.nad.plan`). Finder, checks, patches and the command line all
use the :class:`PodSelections` that is read here once. On a network of Multus, which reads the
annotations itself, Genie attaches no definition.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS, Selection
from dispatcher.nad import grammar
from dispatcher.nad.faults import InvalidSelectionsError, SelectionFault
from dispatcher.nad.plan import InvalidPlanError, namespace_of, plan_pod
from webhook.annotation_check import networks_of
from webhook.limits import is_default

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dispatcher.nad.plan import PlannedAttachment
    from dispatcher.nad.selection import NetworkSelection
    from webhook.snapshot import ClusterNetworks, Namespace


class SelectedItem(NamedTuple):
    """A definition in a plan: the annotation that selects it, and its number there, from 1."""

    source: str
    position: int
    namespace: str
    selection: NetworkSelection
    interface: str = ""

    @property
    def full_name(self) -> str:
        """The name as ``namespace/name``."""
        return f"{self.namespace}/{self.selection.name}"


class SelectionFinding(NamedTuple):
    """What to report of one of the annotations, ``key``.

    ``reason`` is a Kubernetes cause type, empty for a finding that is always a warning. ``message``
    is for a refusal; ``brief`` is for a warning, where the two differ. A doubtful finding depends
    on the cluster, and may disappear. ``fault`` has the position in the value.
    """

    key: str
    message: str
    reason: str = ""
    is_doubtful: bool = False
    brief: str = ""
    fault: SelectionFault | None = None

    @property
    def warning(self) -> str:
        """The words of a warning."""
        return self.brief or self.message


class PodSelections(NamedTuple):
    """What the annotations of a pod select.

    ``plan`` has all attachments, ``items`` those that are definitions. Both are empty if the
    annotations give no plan; ``findings`` says why. ``has_default``: the networks of ``cni`` are
    those of a default, also of one that is filled in already. ``is_multus``: Multus reads the
    annotations.
    """

    plan: tuple[PlannedAttachment, ...] = ()
    items: tuple[SelectedItem, ...] = ()
    findings: tuple[SelectionFinding, ...] = ()
    has_default: bool = False
    is_multus: bool = False


NO_SELECTIONS = PodSelections()

_NOTHING = re.compile(r"[ \t\r\n]*(\[[ \t\r\n]*\][ \t\r\n]*)?")
"""As in the policy cni-genie-pod-attachments."""


def read_selections(
    annotations: Mapping[str, str],
    namespace: Namespace,
    networks: ClusterNetworks,
    *,
    cluster_default: str = "",
    multus_namespace: str = keys.MULTUS_NAMESPACE,
) -> PodSelections:
    """Return what a pod of *namespace* with these annotations selects.

    *cluster_default* is the network of pods that choose none, if its plugin matters.
    *multus_namespace* is that of a default network that is named without one.
    """
    selecting = {key: annotations[key] for key in keys.SELECTION_KEYS if key in annotations}
    if not any(map(_is_selecting, selecting.values())):
        return NO_SELECTIONS
    others = tuple(_npwg_findings(selecting))
    if _is_multus(annotations, namespace.default or cluster_default, networks):
        # The value of "cni" does not count there, nor does one annotation for the other.
        alone = [
            finding._replace(reason="")
            for key, value in selecting.items()
            for finding in _plan({key: value}, "")[1]
        ]
        return PodSelections((), (), (*alone, *others), is_multus=True)

    written = annotations.get(keys.ANNOTATION, "")
    validated = annotations.get(keys.ATTACHMENTS, "")
    own = {**selecting, keys.ANNOTATION: written, keys.ATTACHMENTS: validated}
    plan, faults = _plan(own, namespace.default)
    return PodSelections(
        tuple(plan),
        tuple(_items(plan, namespace.name, multus_namespace)),
        (*faults, *others),
        has_default=not written.strip(BLANKS) or is_default(written, namespace),
    )


def chooses_primary(annotations: Mapping[str, str]) -> bool:
    """Tell whether a definition is the primary. It takes the place of the namespace's default."""
    return _is_selecting(annotations.get(keys.DEFAULT_NETWORK, ""))


def _is_selecting(value: str) -> bool:
    """Tell whether *value*, of one of the annotations, is not blank and no empty list."""
    return _NOTHING.fullmatch(value) is None


def _is_multus(annotations: Mapping[str, str], default: str, networks: ClusterNetworks) -> bool:
    written = annotations.get(keys.ANNOTATION, "")
    return networks.have_multus(networks_of(written if written.strip(BLANKS) else default))


def _plan(
    pod: Mapping[str, str], default: str
) -> tuple[Sequence[PlannedAttachment], Sequence[SelectionFinding]]:
    try:
        return plan_pod(pod, default), ()
    except InvalidPlanError as error:
        return (), [
            SelectionFinding(key, str(fault), fault.reason, fault=fault)
            for key, fault in error.faults
            if isinstance(fault, SelectionFault)  # webhook.annotation_check reports those of "cni"
        ]


def _items(
    plan: Sequence[PlannedAttachment], own: str, multus_namespace: str
) -> Iterator[SelectedItem]:
    positions = dict.fromkeys(keys.SELECTION_KEYS, 0)
    for each in plan:
        if not isinstance(each.selection, Selection):
            positions[each.source] += 1
            position = positions[each.source]
            namespace = namespace_of(each, own, multus_namespace)
            yield SelectedItem(each.source, position, namespace, each.selection, each.interface)


def _npwg_findings(selecting: Mapping[str, str]) -> Iterator[SelectionFinding]:
    """Yield what other programs may refuse."""
    for key, value in selecting.items():
        try:
            text = grammar.npwg_warning(value, grammar.parse(value))
        except InvalidSelectionsError:
            continue
        if text:
            yield SelectionFinding(key, text)
