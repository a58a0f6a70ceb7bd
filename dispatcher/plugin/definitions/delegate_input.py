"""What a pod asks of an attachment, in the form in which its plugins get it.

    ips, mac, infiniband-guid, portMappings, bandwidth    capability arguments (runtimeConfig)
    cni-args                                              ``args.cni`` of every plugin

A capability argument reaches only a plugin that declares it, so at least one of the chain must.
Otherwise the attachment is refused: the pod would have another address than it asked for. Where the
option ``missingCapability`` says so, ``ips`` and ``mac`` that no plugin declares become ``IP`` and
``MAC`` of CNI_ARGS instead, as Multus passes them.

Of a tenant's definition, a pod may use only what a tenant template permits: plugins read
``args.cni`` over their configuration, so a key there would change what the template fixes.

Rules of this file: pure. No configuration that it gets is changed.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.cni_errors import BROKEN_NETWORK, INVALID_ANNOTATION, CNIError
from dispatcher.nad.selection import (
    CAPABILITIES,
    CNI_ARGS,
    as_element,
    missing_capabilities,
    requests_beyond,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dispatcher.conf import Conf
    from dispatcher.nad.selection import NetworkSelection
    from dispatcher.plugin.definitions.copies import LocalDefinition

UNLIMITED_BURST = (1 << 32) - 1
"""The burst of a rate without one, in bits: the plugin ``bandwidth`` refuses to have none."""

_MAX_LISTED = 512


def check_request(selection: NetworkSelection, definition: LocalDefinition, sentence: str) -> None:
    """Check what *selection* asks of a tenant's *definition*, which *sentence* names.

    Raises :class:`CNIError` with code 100 for what no tenant template permits.
    """
    refused = requests_beyond(selection, definition.cni_args, is_reference=definition.is_reference)
    if refused:
        raise CNIError(
            INVALID_ANNOTATION,
            f"{sentence} cannot be attached as the pod asks: the tenant templates of its namespace "
            f"do not permit {', '.join(refused)[:_MAX_LISTED]}",
            "do not ask for it, or ask a cluster administrator to permit it",
        )


def requested_args(
    selection: NetworkSelection, conf: Conf, sentence: str, *, allows_cni_args: bool
) -> tuple[dict[str, Any], str]:
    """Return what *selection* asks of the plugins of *conf*: capability arguments, and CNI_ARGS.

    *sentence* names the definition. *allows_cni_args* tells whether a capability that no plugin
    declares may go into CNI_ARGS. Raises :class:`CNIError` with code 100 for one that may not.
    """
    element = as_element(selection)
    args = {name: element[key] for key, name in CAPABILITIES.items() if key in element}
    missing = missing_capabilities(selection, conf.capabilities)
    variables = ""
    if allows_cni_args and CNI_ARGS.keys() >= set(missing):
        pairs = ((CNI_ARGS[name], args.pop(name)) for name in missing)
        variables = ";".join(f"{key}={_text(value)}" for key, value in pairs)
        missing = []

    if missing:
        listed = ", ".join(map(quote, missing))
        raise CNIError(
            INVALID_ANNOTATION,
            f"{sentence} cannot be attached as the pod asks: no plugin of its configuration "
            f"declares the capability {listed}",
            'add it to "capabilities" of a plugin that has it, or do not ask for it',
        )
    if "bandwidth" in args:
        args["bandwidth"] = _with_bursts(args["bandwidth"])
    return args, variables


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _with_bursts(limits: dict[str, int]) -> dict[str, int]:
    for direction in ("ingress", "egress"):
        if f"{direction}Rate" in limits:
            limits.setdefault(f"{direction}Burst", UNLIMITED_BURST)
    return limits


def with_cni_args(conf: Conf, cni_args: dict[str, Any] | None, sentence: str) -> Conf:
    """Return *conf* with *cni_args* in ``args.cni`` of every plugin, over what is written there.

    Raises :class:`CNIError` with code 102 if the configuration has something else in that place.
    """
    if not cni_args:
        return conf
    return conf.with_plugins([_with_args(plugin, cni_args, sentence) for plugin in conf.plugins])


def _with_args(plugin: dict[str, Any], cni_args: dict[str, Any], sentence: str) -> dict[str, Any]:
    args = plugin.get("args") or {}
    written = args.get("cni") or {} if isinstance(args, dict) else None
    if not isinstance(written, dict):
        raise CNIError(
            BROKEN_NETWORK,
            f'{sentence} cannot be attached with "cni-args": "args" of its plugin '
            f'{quote(plugin["type"])} is not an object with an object in "cni"',
        )
    return {**plugin, "args": {**args, "cni": {**written, **cni_args}}}
