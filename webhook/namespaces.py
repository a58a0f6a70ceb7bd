"""Namespaces: validate Genie's annotations when they are written: default, allow-list, limits, ….

A value that can never be valid is refused. An unknown network is a warning, because namespaces are
often applied before the nodes exist. On UPDATE only the keys whose value has changed are validated,
and a namespace that is being deleted is never refused. The label for the webhook's selectors
follows the default and the list to choose from.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.annotation import (
    BLANKS,
    EMPTY_ITEM,
    INVALID,
    NETWORK_RULE,
    TOO_LONG,
    UNSUPPORTED,
    Fault,
    InvalidAnnotationError,
    is_network_name,
    parse,
    quote,
)
from dispatcher.kube import json_patch
from dispatcher.nad.names import is_label, is_object_name
from webhook.annotation_check import SHOWN, combination_of, format_names, networks_of, suggestion
from webhook.decision import ALLOWED, Cause, Decision, deny, warning
from webhook.ignored_keys import namespace_warnings
from webhook.limits import CLUSTER, default_faults, limit_faults
from webhook.network_choice import choice_conflicts, choice_faults
from webhook.review import child, string_map
from webhook.snapshot import HOST_PORTS_MODES, SCHEDULING_MODES, parse_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dispatcher.kube.json_patch import Patch
    from webhook.limits import Limits
    from webhook.review import Review
    from webhook.settings import DefinitionsMode
    from webhook.snapshot import ClusterNetworks, Namespace

_LABELS = json_patch.pointer("metadata", "labels")
_LABEL = json_patch.pointer("metadata", "labels", keys.DEFAULTED)

_WORDS = {keys.SCHEDULING: SCHEDULING_MODES, keys.HOST_PORTS: HOST_PORTS_MODES}
"""The keys whose value is one of a few words."""

MAX_ALLOWED = 8192
"""Limit of an allow-list, in bytes. The policies, which read it for each pod, have the same."""


def admit_namespace(
    review: Review,
    networks: ClusterNetworks,
    limits: Limits = CLUSTER,
    *,
    definitions: DefinitionsMode = "off",
) -> Decision:
    """Return the decision on a Namespace; *limits* are the cluster's.

    An allow-list may name definitions unless the mode *definitions* is ``off``.
    """
    if review.subresource or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    metadata = child(review.object, "metadata")
    new, labels = string_map(metadata, "annotations"), string_map(metadata, "labels")
    namespace = parse_namespace(review.object)
    if namespace.terminating:
        return ALLOWED

    old_metadata = child(review.old_object, "metadata")
    old = string_map(old_metadata, "annotations")
    changed = {key for key in keys.NAMESPACE_KEYS if new.get(key) != old.get(key)}
    rule = is_network_name if definitions == "off" else _is_allowed_item
    causes = [*_causes(new, namespace, changed, rule), *limit_faults(new, changed)]
    over_limit = list(default_faults(new, namespace, limits, changed))
    if limits.are_enforced:
        causes += over_limit
    if causes:
        return deny(causes)

    patch = _label_patch(labels, namespace)
    ignored = islice(namespace_warnings(metadata, old_metadata), SHOWN)
    return Decision(
        reason="labelled" if patch else "valid",
        patch=patch,
        warnings=(
            *ignored,
            *map(warning, _warnings(namespace, networks, changed)),
            *(warning(f"{cause.field}: {cause.message}") for cause in over_limit),
        ),
    )


def _field(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _causes(
    new: Mapping[str, str],
    namespace: Namespace,
    changed: set[str],
    is_valid_item: Callable[[str], bool],
) -> Iterator[Cause]:
    if keys.ANNOTATION in changed and namespace.default:
        yield from _default_faults(namespace.default)
    if keys.ALLOWED in changed and namespace.allowed is not None:
        yield from _allowed_faults(new[keys.ALLOWED], is_valid_item)
    if changed & {keys.ANNOTATION, keys.ALLOWED}:
        yield from _conflicts(new, namespace, changed)
    if keys.CHOOSE in changed:
        yield from choice_faults(namespace)
    if changed & {keys.CHOOSE, keys.ALLOWED} and len(new.get(keys.ALLOWED, "")) <= MAX_ALLOWED:
        yield from choice_conflicts(
            namespace, keys.CHOOSE if keys.CHOOSE in changed else keys.ALLOWED
        )
    for key, words in _WORDS.items():
        word = new.get(key, "").strip(BLANKS)
        if key in changed and word and word not in words:
            message = f"Unsupported value: {quote(word)}: supported values: {format_names(words)}"
            yield Cause(UNSUPPORTED, message, _field(key))


def _default_faults(default: str) -> Iterator[Cause]:
    try:
        parse(default)
    except InvalidAnnotationError as error:
        for fault in error.faults:
            yield Cause(fault.reason, str(fault), _field(keys.ANNOTATION))


def _allowed_faults(value: str, is_valid_item: Callable[[str], bool]) -> Iterator[Cause]:
    """Yield the faults of an allow-list; of thousands, the first ten."""
    size = len(value.encode())
    if size > MAX_ALLOWED:
        message = f"Too long: may not be more than {MAX_ALLOWED} bytes (has {size})"
        yield Cause(TOO_LONG, message, _field(keys.ALLOWED))
        return
    yield from islice(_item_faults(value, is_valid_item), SHOWN)


def _item_faults(value: str, is_valid_item: Callable[[str], bool]) -> Iterator[Cause]:
    """Yield the faults of the items of an allow-list; a blank list has none."""
    for position, item in enumerate(value.split(",") if value.strip(BLANKS) else (), 1):
        name = item.strip(BLANKS)
        if not name:
            yield _allowed_fault(position, name, EMPTY_ITEM)
        elif not is_valid_item(name):
            yield _allowed_fault(position, name, NETWORK_RULE)


def _allowed_fault(position: int, name: str, rule: str) -> Cause:
    return Cause(INVALID, str(Fault(INVALID, position, name, rule)), _field(keys.ALLOWED))


def _conflicts(new: Mapping[str, str], namespace: Namespace, changed: set[str]) -> Iterator[Cause]:
    """Yield a cause for each default network that the allow-list lacks.

    The cause is at the annotation that was changed. A list that is too long is not searched: its
    size is reported.
    """
    if namespace.allowed is None or len(new[keys.ALLOWED]) > MAX_ALLOWED:
        return
    field = _field(keys.ANNOTATION if keys.ANNOTATION in changed else keys.ALLOWED)
    for name in networks_of(namespace.default):
        if name not in namespace.allowed:
            message = (
                f"Invalid value: the default network {quote(name)} is not in the list "
                f"{quote(keys.ALLOWED)} ({format_names(namespace.allowed)}); "
                "add it there, or choose another default"
            )
            yield Cause(INVALID, message, field)


def _warnings(namespace: Namespace, networks: ClusterNetworks, changed: set[str]) -> Iterator[str]:
    written = {
        keys.ANNOTATION: networks_of(namespace.default),
        keys.ALLOWED: [name for name in namespace.allowed or () if "/" not in name],
        keys.CHOOSE: namespace.choices,
    }
    for key, names in written.items():
        if key in changed and networks.known:
            yield from _unknown(names, networks.known, _field(key))
    if keys.ANNOTATION in changed:
        yield from _combination_warnings(namespace.default, networks)
    if changed & {keys.ANNOTATION, keys.ALLOWED} and namespace.allowed is not None:
        field = _field(keys.ALLOWED)
        if not namespace.allowed:
            yield f"{field}: the list is empty: pods in this namespace may not name any network"
        if not namespace.fills_in:
            yield (
                f"{field}: the namespace has no default: "
                f"pods without {quote(keys.ANNOTATION)} get the cluster's default network, "
                "even if this list does not contain it"
            )


def _unknown(names: Iterable[str], known: frozenset[str], field: str) -> Iterator[str]:
    """Yield a warning for each unknown name: of thousands, for the first ten."""
    unknown = [name for name in names if name not in known]
    for name in unknown[:SHOWN]:
        hint = suggestion(name, known)
        yield f"{field}: unknown network {quote(name)}{hint}; pods that name it will be refused"
    if len(unknown) > SHOWN:
        yield f"{field}: {len(unknown) - SHOWN} more unknown networks"


def _combination_warnings(default: str, networks: ClusterNetworks) -> Iterator[str]:
    """Yield a warning for each conflict between the default's networks; nodes may change."""
    combination = combination_of(default, networks)
    field = _field(keys.ANNOTATION)
    for brief in combination.briefs:
        yield f"{field}: pods will be refused: {brief}"
    for each in combination.warnings:
        yield f"{field}: {each}"


def _label_patch(labels: Mapping[str, str], namespace: Namespace) -> Patch:
    """Return the patch that makes the label say whether pods are given networks."""
    if not namespace.fills_in:
        return [json_patch.remove(_LABEL)] if keys.DEFAULTED in labels else []
    if namespace.labelled:
        return []
    if not labels:
        return [json_patch.add(_LABELS, {keys.DEFAULTED: "true"})]
    return [json_patch.add(_LABEL, "true")]


def _is_allowed_item(item: str) -> bool:
    """Tell whether *item* is a network, ``namespace/name`` or ``namespace/*``."""
    namespace, slash, name = item.partition("/")
    names_definitions = is_label(namespace) and (name == "*" or is_object_name(name))
    return names_definitions if slash else is_network_name(item)
