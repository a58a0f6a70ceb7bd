"""What a pod gets: its annotation in, attachments out. Pure but for the look-up passed in.

How it works: the value of the ``cni`` annotation is parsed again, whoever admitted the pod;
a blank one, or none, means the node's default network. Each selected network's
configuration is looked up, the primary takes the interface that the runtime asked for, and
the runtime's capability arguments go to the primary alone, filtered to those which a plugin
of its chain declares.
"""

from __future__ import annotations

from dispatcher import cni_errors, keys
from dispatcher.annotation import InvalidAnnotationError, Selection, parse, quote
from dispatcher.cni_errors import CNIError
from dispatcher.conf import Conf, InvalidConfError
from dispatcher.networks import UnknownNetworkError
from dispatcher.state.record import Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from dispatcher.plugin.call import Call


def selections(call: Call) -> tuple[Selection, ...]:
    """Return what the annotation of the call's pod, or the default, asks for.

    The agent is asked only if the runtime passes no annotations. Raises :class:`CNIError` with
    code 7 or 100 (see :func:`select`), or a code of the agent's answer.
    """
    settings = call.conf.settings
    annotations = call.conf.annotations
    if annotations is None:
        address = settings.agent_socket
        value = call.effects.ask_agent(address, call.request.args) if address else ""
        annotations = {keys.ANNOTATION: value}
    return select(annotations, settings.default)


def for_call(call: Call, chosen: tuple[Selection, ...]) -> list[Attachment]:
    """Return the attachments of *chosen* for the container of *call*. See :func:`attachments`."""
    return attachments(
        chosen,
        interface=call.request.interface,
        args=call.request.args,
        runtime_config=call.conf.runtime_config,
        find=call.effects.find_network,
    )


def select(annotations: Mapping[str, Any], default: str) -> tuple[Selection, ...]:
    """Return what a pod with *annotations* asks for.

    Raises :class:`CNIError` with code 100 for a bad value, 7 where nothing is asked for and
    there is no default.
    """
    value = annotations.get(keys.ANNOTATION, "")
    if not isinstance(value, str):
        raise CNIError(
            cni_errors.INVALID_ANNOTATION, f'the annotation "{keys.ANNOTATION}" is not a string'
        )
    try:
        chosen = parse(value)
    except InvalidAnnotationError as error:
        raise _invalid(error) from None
    if chosen:
        return chosen
    if not default:
        raise CNIError(
            cni_errors.INVALID_CONF,
            f'the pod has no annotation "{keys.ANNOTATION}", and the node no default network',
            'set "default" in the Genie conflist, or annotate the pod',
        )
    return (Selection(default, keys.PRIMARY_INTERFACE),)


def attachments(
    chosen: tuple[Selection, ...],
    *,
    interface: str,
    args: str,
    runtime_config: Mapping[str, Any],
    find: Callable[[str], Conf],
) -> list[Attachment]:
    """Return what is to be attached, in order.

    *interface* is the runtime's CNI_IFNAME, *find* returns a network's configuration.
    Raises :class:`CNIError` with code 100, 101 or 102.
    """
    made = []
    for selection in chosen:
        conf = look_up(selection.network, find)
        if not selection.is_primary and selection.interface == interface:
            raise CNIError(
                cni_errors.INVALID_ANNOTATION,
                f"the network {quote(selection.network)} wants the interface {quote(interface)}, "
                "which the runtime asked to be the pod's primary",
            )
        made.append(
            Attachment(
                selection.network,
                interface if selection.is_primary else selection.interface,
                interface,
                conf,
                args=args,
                capability_args=_declared(conf, runtime_config) if selection.is_primary else {},
                is_primary=selection.is_primary,
            )
        )
    return made


def refuse_excess(planned: list[Attachment], *, max_attachments: int, max_per_network: int) -> None:
    """Refuse the plan of a static pod that is over a limit; 0 is no limit.

    A network counts by its configuration, whichever of its names is used. Raises
    :class:`CNIError` with code 100.
    """
    if 0 < max_attachments < len(planned):
        raise CNIError(
            cni_errors.INVALID_ANNOTATION,
            f"a static pod may have at most {max_attachments} networks (has {len(planned)})",
            'an administrator can raise "max-attachments" in the ConfigMap genie',
        )
    paths = [attachment.conf.path for attachment in planned]
    for attachment in planned:
        count = paths.count(attachment.conf.path)
        if 0 < max_per_network < count:
            raise CNIError(
                cni_errors.INVALID_ANNOTATION,
                f"a static pod may have at most {max_per_network} attachments of network "
                f"{quote(attachment.network)} (has {count})",
                'an administrator can raise "max-per-network" in the ConfigMap genie',
            )


def look_up(network: str, find: Callable[[str], Conf]) -> Conf:
    """Return the configuration of *network*. Raises :class:`CNIError` with 101 or 102."""
    try:
        return find(network)
    except UnknownNetworkError as error:
        known = ", ".join(error.known) or "none"
        raise CNIError(
            cni_errors.UNKNOWN_NETWORK, str(error), f"networks of this node: {known}"
        ) from None
    except InvalidConfError as error:
        raise CNIError(
            cni_errors.BROKEN_NETWORK,
            f"the configuration of the network {quote(network)} cannot be used: {error}",
        ) from None


def refuse_conflicts(planned: list[Attachment]) -> None:
    """Refuse what known plugins cannot do, before anything is attached.

    Raises :class:`CNIError` with code 100.
    """
    if len(planned) < 2:  # noqa: PLR2004 - one attachment alone has no conflict, and pays nothing
        return
    from dispatcher import plugin_rules

    networks = [attachment.network for attachment in planned]
    found = plugin_rules.conflicts([attachment.conf.types for attachment in planned])
    if found:
        faults = [plugin_rules.conflict_fault(conflict, networks) for conflict in found]
        raise _invalid(InvalidAnnotationError(faults))


def warnings(planned: list[Attachment]) -> list[str]:
    """Return what can be attached, but to no use. ADD has nobody to warn; the command line has."""
    from dispatcher import plugin_rules

    return [
        plugin_rules.primary_only_warning(attachment.network, plugin_type)
        for attachment in planned
        if not attachment.is_primary
        for plugin_type in attachment.conf.types
        if plugin_type in plugin_rules.PRIMARY_ONLY
    ]


def _invalid(error: InvalidAnnotationError) -> CNIError:
    return CNIError(
        cni_errors.INVALID_ANNOTATION,
        f'the annotation "{keys.ANNOTATION}" cannot be followed: {error}',
    )


def _declared(conf: Conf, runtime_config: Mapping[str, Any]) -> dict[str, Any]:
    declared = {
        capability
        for plugin in conf.plugins
        for capability, enabled in (plugin.get("capabilities") or {}).items()
        if enabled
    }
    return {
        capability: _lower_keys(value) if capability == "portMappings" else value
        for capability, value in runtime_config.items()
        if capability in declared
    }


def _lower_keys(mappings: Any) -> Any:
    """Return port mappings in the specification's spelling; containerd writes ``HostPort``."""
    if not isinstance(mappings, list):
        return mappings
    return [
        {key[:1].lower() + key[1:]: value for key, value in mapping.items()}
        if isinstance(mapping, dict)
        else mapping
        for mapping in mappings
    ]
