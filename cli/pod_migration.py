"""What the annotations of CNI-Genie and Multus on one pod become (pure).

The values are those that the pod has in Genie; :mod:`cli.migrate` makes patches of them, and
validates these by the rules of the webhook.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.lint import LintContext
from dispatcher import keys
from dispatcher.annotation import BLANKS, is_network_name, quote
from dispatcher.nad.faults import InvalidSelectionsError
from dispatcher.nad.grammar import parse
from dispatcher.nad.selection import requests
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cli.logical_networks import LogicalNetwork
    from cli.merge_patch import Changes

LOGICAL, MULTI_IP = "networks", "multi-ip-preferences"
_MULTUS = frozenset(keys.SELECTION_KEYS)
TRANSLATED = {keys.ANNOTATION, LOGICAL, MULTI_IP, *_MULTUS}
"""The annotations of pods that differ, or may differ, in Genie."""


class Verdict(enum.StrEnum):
    """What an object needs; see docs/migration.md."""

    SAME = "same"
    CHANGED = "changed"
    CHECK = "check"
    GONE = "gone"


class MigrationContext(NamedTuple):
    """What the rules need besides the objects."""

    rules: LintContext = LintContext()
    default_network: str = ""
    """The network on ``eth0`` of pods that name none now; empty: not known."""
    confs: Mapping[str, Mapping[str, Any]] = {}
    """CNI configurations of a node, by name."""

    @property
    def attaches_definitions(self) -> bool:
        """Whether the cluster attaches pods to definitions, which then need no translation."""
        return self.rules.definitions.is_enforced


class PodMigration:
    """Translates annotations of pods; *logical* are the logical networks of all documents."""

    def __init__(
        self, context: MigrationContext, logical: Mapping[tuple[str, str], LogicalNetwork]
    ) -> None:
        self._context = context
        self._logical = logical

    def translate(
        self, annotations: Mapping[str, str], namespace: str, changes: Changes
    ) -> Iterator[tuple[Verdict, str]]:
        """Yield what the annotations of a pod become; write that into *changes*."""
        value = annotations.get(keys.ANNOTATION)
        is_blank = value is not None and not value.strip(BLANKS)
        if value is not None and value.strip(BLANKS) == keys.PLUGIN_TYPE:
            changes[keys.ANNOTATION] = ""
            yield Verdict.CHECK, 'cni: "genie" is no network here; "" leaves the choice to defaults'
        elif is_blank and LOGICAL not in annotations and not annotations.keys() & _MULTUS:
            yield Verdict.CHECK, "cni: blank gives the default network, not the one with least load"

        if LOGICAL in annotations:
            changes[LOGICAL] = None
            if is_blank:
                yield self._logical_networks(annotations[LOGICAL], namespace, changes)
            else:
                text = (
                    'networks: is not read; CNI-Genie read it only beside an empty "cni"; remove it'
                )
                yield Verdict.GONE, text
        if annotations.keys() & _MULTUS and not self._context.attaches_definitions:
            yield self._multus(annotations, namespace, changes)
        if MULTI_IP in annotations:
            changes[MULTI_IP] = None
            text = f"{MULTI_IP}: the addresses are in {quote(keys.NETWORK_STATUS)}"
            yield Verdict.CHECK, text

    def _logical_networks(
        self, value: str, namespace: str, changes: Changes
    ) -> tuple[Verdict, str]:
        """Return what the annotation ``networks`` becomes."""
        items = []
        for item in value.split(","):
            name, at, interface = (part.strip(BLANKS) for part in item.partition("@"))
            logical = self._logical.get((namespace, name))
            if logical is None or not logical.network:
                changes.pop(LOGICAL)
                problem = "does not exist" if logical is None else "names no plugin"
                return Verdict.CHECK, f"networks: the logical network {quote(name)} {problem}"
            items.append(f"{logical.network}{at}{interface}")
        changes[keys.ANNOTATION] = ",".join(items)
        return Verdict.CHECK, f"networks: becomes cni: {quote(changes[keys.ANNOTATION] or '')}"

    def _multus(
        self, annotations: Mapping[str, str], namespace: str, changes: Changes
    ) -> tuple[Verdict, str]:
        """Return what the annotations of Multus become."""
        shown = " and ".join(sorted(annotations.keys() & _MULTUS))
        facts = self._context.rules.namespaces.get(namespace, Namespace(name=namespace))
        try:
            selections = parse(annotations.get(keys.NETWORKS, ""))
            defaults = parse(annotations.get(keys.DEFAULT_NETWORK, ""))
        except InvalidSelectionsError as error:
            return Verdict.CHECK, f"{shown}: cannot be translated: {error}"
        if more := sorted({key for each in (*selections, *defaults) for key in requests(each)}):
            return Verdict.CHECK, f"{shown}: nothing here does what {', '.join(more)} asks for"
        first = annotations.get(keys.ANNOTATION, "").strip(BLANKS)
        first = first or ",".join(each.name for each in defaults)
        first = first or facts.default or self._context.default_network
        if not first:
            return Verdict.CHECK, f"{shown}: name the network on eth0 with --default-network"
        if any(each.interface == keys.PRIMARY_INTERFACE for each in selections):
            return Verdict.CHECK, f"{shown}: eth0 is the interface of the network {quote(first)}"
        names = [each.name for each in selections]
        if invalid := [name for name in names if not is_network_name(name)]:
            return Verdict.CHECK, f"{shown}: {quote(invalid[0])} is no name of a network here"
        changes.update(dict.fromkeys(annotations.keys() & _MULTUS))
        interfaces = [each.interface or f"net{n}" for n, each in enumerate(selections, 1)]
        items = [first, *map("{}@{}".format, names, interfaces)]
        changes[keys.ANNOTATION] = ",".join(items)
        return Verdict.CHECK, f"{shown}: becomes cni: {quote(','.join(items))}"
