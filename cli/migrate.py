"""What differs for objects of CNI-Genie and Multus, and the patch for each (pure).

Verdicts are those of docs/migration.md: "same" needs nothing, "changed" differs but needs no
action, "check" may need an action before the migration, "gone" does not exist in Genie. Patched
values are validated by the rules of the webhook, limits and combinations of plugins included.
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.lint import ERROR, LintContext, lint, pod_of
from cli.logical_networks import (
    NAD_KIND,
    as_conflist,
    conflist_of,
    definition,
    is_subnet,
    resolve,
)
from cli.merge_patch import merge_patch, merged, patch_command
from dispatcher import keys
from dispatcher.annotation import BLANKS, NETWORK_RULE, is_network_name, quote
from dispatcher.nad.definition import read as read_definition
from dispatcher.nad.faults import InvalidSelectionsError
from dispatcher.nad.grammar import parse
from dispatcher.nad.selection import requests
from dispatcher.nad.validation import check
from webhook.snapshot import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cli.documents import Document, Place
    from cli.logical_networks import LogicalNetwork
    from cli.merge_patch import Changes


LOGICAL, MULTI_IP = "networks", "multi-ip-preferences"
POLICY = "genieNetworkpolicy"
"""On a NetworkPolicy: rules between logical networks, for CNI-Genie's own controller."""

OLD_PROGRAMS = ("genie-plugin", "genie-network-", "genie-policy-", "kube-multus", "multus")
"""How the names of CNI-Genie's and Multus' own workloads begin."""

GENIE_D = "/etc/cni/genie.d"


class Verdict(enum.StrEnum):
    """What an object needs."""

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
        if not {keys.ANNOTATION, LOGICAL, MULTI_IP, *keys.SELECTION_KEYS} & annotations.keys():
            return
        changes: Changes = {}
        problems: list[tuple[Verdict, str]] = []
        namespace = self._namespace_name(document)
        for verdict, text in self._translate(annotations, namespace, changes):
            problems.append((verdict, text))

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

    def _translate(
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
                yield Verdict.GONE, "networks: is not read, and was not beside a value of cni"
        if annotations.keys() & _MULTUS and not self.context.attaches_definitions:
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
            logical = self.logical.get((namespace, name))
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
        facts = self.context.rules.namespaces.get(namespace, Namespace(name=namespace))
        try:
            selections = parse(annotations.get(keys.NETWORKS, ""))
            defaults = parse(annotations.get(keys.DEFAULT_NETWORK, ""))
        except InvalidSelectionsError as error:
            return Verdict.CHECK, f"{shown}: cannot be translated: {error}"
        if more := sorted({key for each in (*selections, *defaults) for key in requests(each)}):
            return Verdict.CHECK, f"{shown}: nothing here does what {', '.join(more)} asks for"
        first = annotations.get(keys.ANNOTATION, "").strip(BLANKS)
        first = first or ",".join(each.name for each in defaults)
        first = first or facts.default or self.context.default_network
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


_MULTUS = frozenset(keys.SELECTION_KEYS)
_SELECTING = (keys.ANNOTATION, *keys.SELECTION_KEYS)


def _finding(document: Document, verdict: Verdict, message: str) -> MigrationFinding:
    where = f"{document.namespace}/" if document.namespace else ""
    subject = f"{document.kind} {where}{document.name}"
    return MigrationFinding(document.place(""), subject, verdict, message)


def _annotations(value: Mapping[str, Any]) -> dict[str, str]:
    metadata = value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    items = annotations.items() if isinstance(annotations, dict) else ()
    return {key: each for key, each in items if isinstance(each, str)}
