"""What differs for objects of CNI-Genie and Multus, and the patch for each (pure).

Verdicts are those of docs/migration.md: "same" needs nothing, "changed" differs but needs no
action, "check" may need an action before the migration, "gone" does not exist in Genie. Patched
values are validated by the rules of the webhook, limits and combinations of plugins included.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.lint import ERROR, lint, pod_of
from cli.logical_networks import (
    NAD_KIND,
    as_conflist,
    conflist_of,
    definition,
    is_subnet,
    resolve,
)
from cli.merge_patch import merge_patch, merged, patch_command
from cli.pod_migration import TRANSLATED, MigrationContext, PodMigration, Verdict
from dispatcher import keys
from dispatcher.annotation import NETWORK_RULE, is_network_name, quote
from dispatcher.nad.definition import read as read_definition
from dispatcher.nad.validation import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cli.documents import Document, Place
    from cli.logical_networks import LogicalNetwork
    from cli.merge_patch import Changes


POLICY = "genieNetworkpolicy"
"""On a NetworkPolicy: rules between logical networks, for CNI-Genie's own controller."""

OLD_PROGRAMS = ("genie-plugin", "genie-network-", "genie-policy-", "kube-multus", "multus")
"""How the names of CNI-Genie's and Multus' own workloads begin."""

GENIE_D = "/etc/cni/genie.d"
_SELECTING = (keys.ANNOTATION, *keys.SELECTION_KEYS)


class MigrationFinding(NamedTuple):
    """What one object needs."""

    place: Place
    subject: str
    verdict: Verdict
    message: str
    patch: Mapping[str, Any] | None = None
    """A JSON merge patch of the object."""
    command: str = ""
    """The patch as a command; empty for files, and for pods, which must be created anew."""


class NodeFile(NamedTuple):
    """A configuration for the nodes."""

    path: str
    conflist: Mapping[str, Any]


class Migration(NamedTuple):
    """What a migration needs: findings, files for nodes, and NetworkAttachmentDefinitions."""

    findings: Sequence[MigrationFinding]
    files: Sequence[NodeFile]
    definitions: Sequence[Mapping[str, Any]]

    @property
    def needs_change(self) -> bool:
        """Whether some object cannot stay as it is."""
        return any(each.verdict in {Verdict.CHECK, Verdict.GONE} for each in self.findings)


def migrate(documents: Iterable[Document], context: MigrationContext) -> Migration:
    """Return what *documents* need, in their order."""
    documents = list(documents)
    logical = resolve(documents)
    scan = _Scan(context, logical, (each.name for each in documents if each.kind == NAD_KIND))
    findings = [finding for each in documents for finding in scan.findings(each)]

    complete = {
        key: conflist
        for key, each in logical.items()
        if not scan.logical_fault(each) and (conflist := conflist_of(each, context.confs))
    }
    conflists = [*complete.values()]
    if not context.attaches_definitions:  # a tenant's config would become the nodes' own
        conflists += filter(None, map(_definition_conflist, documents))
    files = {each["name"]: _node_file(each) for each in reversed(conflists)}
    definitions = [definition(namespace, each) for (namespace, _), each in complete.items()]
    return Migration(findings, [*files.values()], definitions)


def _node_file(conflist: Mapping[str, Any]) -> NodeFile:
    return NodeFile(f"{GENIE_D}/{conflist['name']}.conflist", conflist)


def _definition_conflist(document: Document) -> dict[str, Any] | None:
    """Return the configuration of a NetworkAttachmentDefinition; None if it has no valid one."""
    if document.kind != NAD_KIND:
        return None
    value = read_definition(document.value)
    # Before json reads it: the text is a tenant's, and may be nested deeper than Python can read.
    if check(value).configuration is None:
        return None
    try:
        return as_conflist(json.loads(value.config), document.name)
    except ValueError:  # a number of more digits than Python reads
        return None


class _Scan:
    """The findings of documents, one by one; *logical* and *definitions* are those of all."""

    def __init__(
        self,
        context: MigrationContext,
        logical: Mapping[tuple[str, str], LogicalNetwork],
        definitions: Iterable[str],
    ) -> None:
        self.context = context
        self.logical = logical
        self.definitions = Counter(definitions)
        self._pods = PodMigration(context, logical)

    def findings(self, document: Document) -> Iterator[MigrationFinding]:
        """Yield what *document* needs; nothing if it has nothing to do with networks."""
        kind = document.kind.lower()
        if document.name.startswith(OLD_PROGRAMS) and kind in {"daemonset", "deployment"}:
            text = "attaches pods now: remove it in the order of docs/migration.md"
            yield _finding(document, Verdict.GONE, text)
        elif document.kind == NAD_KIND:
            yield self._definition(document)
        elif kind == "logicalnetwork":
            yield self._logical(document)
        elif kind == "physicalnetwork":
            text = "is not read; what names it has its plugin and subnet"
            yield _finding(document, Verdict.GONE, text)
        elif POLICY in _annotations(document.value):
            text = f"{POLICY}: is not read; use a policy of the network itself"
            yield _finding(document, Verdict.GONE, text)
        elif self._namespace_name(document) not in self.context.rules.excluded:
            yield from self._pod(document)

    def _namespace_name(self, document: Document) -> str:
        return document.namespace or self.context.rules.default_namespace

    def _definition(self, document: Document) -> MigrationFinding:
        name = document.name
        tenants = self.context.rules.definitions.tenants
        if refused := check(read_definition(document.value), tenants).refused:
            return _finding(document, Verdict.CHECK, f"cannot be attached: {refused}")
        if self.context.attaches_definitions:
            return _finding(document, Verdict.SAME, "pods select it as before")
        if _definition_conflist(document) is None:
            text = f"is not read; pods name the node's network {name} in {quote(keys.ANNOTATION)}"
        else:
            text = f"is not read: put its configuration on the nodes as {GENIE_D}/{name}.conflist"
        if self.definitions[name] > 1:
            text += "; a node has one network of a name, so rename those of other namespaces"
        return _finding(document, Verdict.CHECK, text)

    def _logical(self, document: Document) -> MigrationFinding:
        logical = self.logical[document.namespace or "default", document.name]
        if logical.plugin and not logical.subnet:
            text = f"is the network {logical.plugin}, which pods name instead"
            return _finding(document, Verdict.GONE, text)
        if fault := self.logical_fault(logical):
            return _finding(document, Verdict.CHECK, fault)
        text = f"becomes the network {logical.network}: {GENIE_D}/{logical.network}.conflist"
        return _finding(document, Verdict.CHECK, text)

    def logical_fault(self, logical: LogicalNetwork) -> str:
        """Return why *logical*, which has a subnet, cannot be converted; "" if it can."""
        if not logical.plugin:
            return "names no plugin, and its physical network names none either"
        if not is_subnet(logical.subnet):
            return f"has the subnet {quote(logical.subnet)}: write a range such as 10.1.0.0/16"
        if not is_network_name(logical.network):
            return f"would be the network {quote(logical.network)}, but {NETWORK_RULE}"
        conflist = conflist_of(logical, self.context.confs)
        if conflist is None:
            return (
                f"is {logical.plugin} with the subnet {logical.subnet}: to convert it, "
                "give a node's configurations with --cni-conf"
            )
        refused = check(read_definition(definition(logical.namespace, conflist))).refused
        return f"is {logical.plugin}, whose configuration is invalid: {refused}" if refused else ""

    def _pod(self, document: Document) -> Iterator[MigrationFinding]:
        """Yield what a pod or a pod template needs."""
        pod = pod_of(document)
        annotations = _annotations(pod) if pod is not None else {}
        if not TRANSLATED & annotations.keys():
            return
        changes: Changes = {}
        namespace = self._namespace_name(document)
        problems = [*self._pods.translate(annotations, namespace, changes)]

        patch = merge_patch(document, changes)
        problems += self._faults(document, patch)
        command = patch_command(document, namespace, patch)
        if not problems:
            key = next(each for each in _SELECTING if each in annotations)
            text = f"{key}: {quote(annotations[key])} means the same"
            yield _finding(document, Verdict.SAME, text)
        for number, (verdict, text) in enumerate(problems):
            first = number == 0  # the patch is one for all of them
            finding = _finding(document, verdict, text)
            yield finding._replace(patch=patch, command=command) if first else finding

    def _faults(
        self, document: Document, patch: Mapping[str, Any] | None
    ) -> Iterator[tuple[Verdict, str]]:
        """Yield what the webhook would say to the object after *patch*."""
        after = document.value if patch is None else merged(document.value, patch)
        for each in lint([type(document)(document.file, after)], self.context.rules):
            field = each.field.rpartition(".annotations[")[2].removesuffix("]")
            if each.severity == ERROR or field == keys.ANNOTATION:
                yield Verdict.CHECK, f"{field}: {each.message}"


def _finding(document: Document, verdict: Verdict, message: str) -> MigrationFinding:
    where = f"{document.namespace}/" if document.namespace else ""
    subject = f"{document.kind} {where}{document.name}"
    return MigrationFinding(document.place(""), subject, verdict, message)


def _annotations(value: Mapping[str, Any]) -> dict[str, str]:
    metadata = value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    items = annotations.items() if isinstance(annotations, dict) else ()
    return {key: each for key, each in items if isinstance(each, str)}
