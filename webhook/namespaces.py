"""Namespaces: the default and the allow-list are judged when they are written.

What can never become right is refused; a network that is not known (yet) is a warning, since
namespaces are often applied before the nodes exist. On UPDATE a key is judged only if its
value changed, and a namespace that is being deleted is never held up. The label that the
webhook's selectors read is kept in step with the default.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.annotation import (
    BLANKS,
    INVALID,
    TOO_LONG,
    UNSUPPORTED,
    InvalidAnnotationError,
    is_network_name,
    parse,
    quote,
)
from dispatcher.kube import json_patch
from webhook.annotation_check import SHOWN, combination_of, format_names, networks_of, suggestion
from webhook.decision import ALLOWED, Cause, Decision, deny, warning
from webhook.ignored_keys import namespace_warnings
from webhook.limits import CLUSTER, default_faults, limit_faults
from webhook.review import child, string_map
from webhook.snapshot import SCHEDULING_MODES, parse_namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dispatcher.kube.json_patch import Patch
    from webhook.limits import Limits
    from webhook.review import Review
    from webhook.snapshot import ClusterNetworks, Namespace

_LABELS = json_patch.pointer("metadata", "labels")
_LABEL = json_patch.pointer("metadata", "labels", keys.DEFAULTED)

MAX_ALLOWED = 8192
"""Bytes of an allow-list. The policies, which read it for every pod, have the same limit."""


def admit_namespace(
    review: Review, networks: ClusterNetworks, limits: Limits = CLUSTER
) -> Decision:
    """Return the decision on a Namespace; *limits* are the cluster's."""
    if review.subresource or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    metadata = child(review.object, "metadata")
    new, labels = string_map(metadata, "annotations"), string_map(metadata, "labels")
    facts = parse_namespace(review.object)
    if facts.terminating:
        return ALLOWED
    old_metadata = child(review.old_object, "metadata")
    old = string_map(old_metadata, "annotations")
    changed = {key for key in keys.NAMESPACE_KEYS if new.get(key) != old.get(key)}
    causes = [*_causes(new, facts, changed), *limit_faults(new, changed)]
    over = list(default_faults(new, facts, limits, changed))
    causes += over if limits.are_enforced else ()
    if causes:
        return deny(causes)
    patch = _label_patch(labels, facts)
    ignored = islice(namespace_warnings(metadata, old_metadata), SHOWN)
    return Decision(
        reason="labelled" if patch else "valid",
        patch=patch,
        warnings=(
            *ignored,
            *map(warning, _warnings(facts, networks, changed)),
            *(warning(f"{cause.field}: {cause.message}") for cause in over),
        ),
    )


def _field(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _causes(new: Mapping[str, str], facts: Namespace, changed: set[str]) -> Iterator[Cause]:
    if keys.ANNOTATION in changed and facts.default:
        yield from _default_faults(facts.default)
    if keys.ALLOWED in changed and facts.allowed is not None:
        yield from _allowed_faults(new[keys.ALLOWED])
    if changed & {keys.ANNOTATION, keys.ALLOWED}:
        yield from _disagreement(new, facts, changed)
    modes = SCHEDULING_MODES
    if keys.SCHEDULING in changed and facts.scheduling and facts.scheduling not in modes:
        message = (
            f"Unsupported value: {quote(facts.scheduling)}: supported values: {format_names(modes)}"
        )
        yield Cause(UNSUPPORTED, message, _field(keys.SCHEDULING))


def _default_faults(default: str) -> Iterator[Cause]:
    try:
        parse(default)
    except InvalidAnnotationError as error:
        for fault in error.faults:
            yield Cause(fault.reason, str(fault), _field(keys.ANNOTATION))


def _allowed_faults(value: str) -> Iterator[Cause]:
    """Yield what is wrong with an allow-list: of thousands of faults the first ten."""
    size = len(value.encode())
    if size > MAX_ALLOWED:
        message = f"Too long: may not be more than {MAX_ALLOWED} bytes (has {size})"
        yield Cause(TOO_LONG, message, _field(keys.ALLOWED))
        return
    yield from islice(_item_faults(value), SHOWN)


def _item_faults(value: str) -> Iterator[Cause]:
    """Yield what is wrong with the items of an allow-list; a blank list has none."""
    for position, item in enumerate(value.split(",") if value.strip(BLANKS) else (), 1):
        name = item.strip(BLANKS)
        if not name:
            message = f'Invalid value: "": item {position} is empty (a comma too many)'
            yield Cause(INVALID, message, _field(keys.ALLOWED))
        elif not is_network_name(name):
            message = f"Invalid value: {quote(name)}: item {position} is not the name of a network"
            yield Cause(INVALID, message, _field(keys.ALLOWED))


def _disagreement(new: Mapping[str, str], facts: Namespace, changed: set[str]) -> Iterator[Cause]:
    """Yield what is wrong between the default and the list, at the one that was changed.

    A list that is too long is not looked through: its size is what is wrong with it.
    """
    if facts.allowed is None or len(new[keys.ALLOWED]) > MAX_ALLOWED:
        return
    field = _field(keys.ANNOTATION if keys.ANNOTATION in changed else keys.ALLOWED)
    for name in networks_of(facts.default):
        if name not in facts.allowed:
            message = (
                f"Invalid value: the default network {quote(name)} must be among those that "
                f"{quote(keys.ALLOWED)} allows ({format_names(facts.allowed)})"
            )
            yield Cause(INVALID, message, field)


def _warnings(facts: Namespace, networks: ClusterNetworks, changed: set[str]) -> Iterator[str]:
    written = {
        keys.ANNOTATION: networks_of(facts.default),
        keys.ALLOWED: list(facts.allowed or ()),
    }
    for key in (keys.ANNOTATION, keys.ALLOWED):
        if key in changed and networks.known:
            yield from _unknown(written[key], networks.known, _field(key))
    if keys.ANNOTATION in changed:
        yield from _combination_warnings(facts.default, networks)
    if changed & {keys.ANNOTATION, keys.ALLOWED} and facts.allowed is not None:
        field = _field(keys.ALLOWED)
        if not facts.allowed:
            yield f"{field}: is empty: pods here may name no network"
        if not facts.default:
            yield f"{field}: there is no default: pods without cni use the node's"


def _unknown(names: Iterable[str], known: frozenset[str], field: str) -> Iterator[str]:
    """Yield a warning for each unknown name: of thousands, for the first ten."""
    unknown = [name for name in names if name not in known]
    for name in unknown[:SHOWN]:
        hint = suggestion(name, known)
        yield f"{field}: network {quote(name)} is not known at present{hint}"
    if len(unknown) > SHOWN:
        yield f"{field}: {len(unknown) - SHOWN} more networks are not known at present"


def _combination_warnings(default: str, networks: ClusterNetworks) -> Iterator[str]:
    """Yield what keeps the default's networks from one pod; the nodes may change that."""
    combination = combination_of(default, networks)
    field = _field(keys.ANNOTATION)
    for brief in combination.briefs:
        yield f"{field}: pods will be refused: {brief}"
    for each in combination.warnings:
        yield f"{field}: {each}"


def _label_patch(labels: Mapping[str, str], facts: Namespace) -> Patch:
    """Return the patch that makes the label say whether there is a default."""
    if not facts.default:
        return [json_patch.remove(_LABEL)] if keys.DEFAULTED in labels else []
    if facts.labelled:
        return []
    if not labels:
        return [json_patch.add(_LABELS, {keys.DEFAULTED: "true"})]
    return [json_patch.add(_LABEL, "true")]
