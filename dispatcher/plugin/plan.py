"""Decide what a pod gets: its annotation in, attachments out.

The value of the annotation ``cni`` is parsed again, whether the webhook admitted the pod or not. An
empty value, or none, means the node's default network. The primary takes the interface of
CNI_IFNAME. The runtime's capability arguments go to the primary alone, and only those that a
plugin of its chain declares.

Pure, but for the functions of :class:`dispatcher.plugin.call.Effects` that are passed in.
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


def plan_call(call: Call, annotations: Mapping[str, Any]) -> list[Attachment]:
    """Return all attachments of the call's pod, in the order in which they are attached.

    *annotations* are the pod's. Raises :class:`CNIError` as :func:`select` and :func:`attachments`
    do, and for a pod that selects NetworkAttachmentDefinitions with code 11, too.
    """
    if selects_definitions(call, annotations):
        from dispatcher.plugin.definitions import pod_plan

        return pod_plan.attachments_for_call(call, annotations)
    return attachments_for_call(call, select(annotations, call.conf.settings.default))


def pod_annotations(call: Call) -> Mapping[str, Any]:
    """Return the annotations of the call's pod.

    Asks the agent only if the runtime passes none. Raises :class:`CNIError` with the code of the
    agent's answer.
    """
    annotations = call.conf.annotations
    if annotations is None:
        address = call.conf.settings.agent_socket
        annotations = call.effects.ask_agent(address, call.request.args) if address else {}
    return annotations


def is_static(annotations: Mapping[str, Any]) -> bool:
    """Tell whether *annotations* are those of a static pod, which passes no admission."""
    return bool(annotations.get(keys.CONFIG_SOURCE, "api") != "api")


def selects_definitions(call: Call, annotations: Mapping[str, Any]) -> bool:
    """Tell whether *annotations* select definitions, and this node attaches them."""
    return call.conf.settings.attaches_definitions and not annotations.keys().isdisjoint(
        keys.SELECTION_KEYS
    )


def attachments_for_call(call: Call, selections: tuple[Selection, ...]) -> list[Attachment]:
    """Return the attachments of *selections* for *call*. See :func:`attachments`."""
    return attachments(
        selections,
        interface=call.request.interface,
        args=call.request.args,
        runtime_config=call.conf.runtime_config,
        find=call.effects.find_network,
    )


def select(annotations: Mapping[str, Any], default: str) -> tuple[Selection, ...]:
    """Return the networks that a pod with *annotations* selects, or the *default* network.

    Raises :class:`CNIError` with code 100 for an invalid value, 7 if the pod selects nothing and
    there is no default network.
    """
    value = annotations.get(keys.ANNOTATION, "")
    if not isinstance(value, str):
        raise CNIError(
            cni_errors.INVALID_ANNOTATION, f'annotation "{keys.ANNOTATION}" must be a string'
        )
    try:
        selections = parse(value)
    except InvalidAnnotationError as error:
        raise _invalid(error) from None
    if selections:
        return selections
    if not default:
        raise CNIError(
            cni_errors.INVALID_CONF,
            f'the pod has no annotation "{keys.ANNOTATION}", and this node has no default network',
            'set "default-network" in the ConfigMap genie, or annotate the pod',
        )
    return (Selection(default, keys.PRIMARY_INTERFACE),)


def attachments(
    selections: tuple[Selection, ...],
    *,
    interface: str,
    args: str,
    runtime_config: Mapping[str, Any],
    find: Callable[[str], Conf],
) -> list[Attachment]:
    """Return the attachments of *selections*, in order.

    *interface* is CNI_IFNAME, *args* are CNI_ARGS, *runtime_config* are the capability arguments,
    and *find* returns a network's configuration. Raises :class:`CNIError` with code 100, 101 or
    102.
    """
    planned = []
    for selection in selections:
        conf = look_up(selection.network, find)
        if not selection.is_primary and selection.interface == interface:
            raise CNIError(
                cni_errors.INVALID_ANNOTATION,
                f"network {quote(selection.network)} cannot use interface {quote(interface)}: "
                "this interface belongs to the primary; choose another interface",
            )
        planned.append(
            Attachment(
                selection.network,
                interface if selection.is_primary else selection.interface,
                interface,
                conf,
                args=args,
                capability_args=declared_args(conf, runtime_config) if selection.is_primary else {},
                is_primary=selection.is_primary,
            )
        )
    return planned


def refuse_excess(planned: list[Attachment], *, max_attachments: int, max_per_network: int) -> None:
    """Refuse the plan of a static pod that is over a limit; 0 means no limit.

    Different names of the same configuration count as one network. Raises :class:`CNIError` with
    code 100.
    """
    if 0 < max_attachments < len(planned):
        raise CNIError(
            cni_errors.INVALID_ANNOTATION,
            f"a static pod may have at most {max_attachments} networks (has {len(planned)})",
            'a cluster administrator can raise "max-attachments" in the ConfigMap genie',
        )

    paths = [attachment.conf.path for attachment in planned]
    for attachment in planned:
        count = paths.count(attachment.conf.path)
        if 0 < max_per_network < count:
            raise CNIError(
                cni_errors.INVALID_ANNOTATION,
                f"a static pod may have at most {max_per_network} attachments of network "
                f"{quote(attachment.network)} (has {count})",
                'a cluster administrator can raise "max-per-network" in the ConfigMap genie',
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
            f"network {quote(network)} has an invalid configuration: {error}",
        ) from None


def refuse_conflicts(planned: list[Attachment]) -> None:
    """Refuse a combination that known plugins cannot attach, before anything is attached.

    Raises :class:`CNIError` with code 100.
    """
    if len(planned) < 2:  # noqa: PLR2004 - one attachment has no conflict, and loads no rules
        return
    from dispatcher import plugin_rules

    networks = [attachment.network for attachment in planned]
    conflicts = plugin_rules.conflicts([attachment.conf.types for attachment in planned])
    if conflicts:
        faults = [plugin_rules.conflict_fault(conflict, networks) for conflict in conflicts]
        raise _invalid(InvalidAnnotationError(faults))


def warnings(planned: list[Attachment]) -> list[str]:
    """Return a warning for each attachment that works only as primary.

    The command line shows them; ADD cannot return warnings.
    """
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
        f'cannot apply annotation "{keys.ANNOTATION}": {error}',
    )


def declared_args(conf: Conf, runtime_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the capability arguments in *runtime_config* that a plugin of *conf* declares."""
    declared = conf.capabilities
    return {
        capability: _lower_keys(value) if capability == "portMappings" else value
        for capability, value in runtime_config.items()
        if capability in declared
    }


def _lower_keys(mappings: Any) -> Any:
    """Return port mappings with the keys of the specification; containerd writes ``HostPort``."""
    if not isinstance(mappings, list):
        return mappings
    return [
        {key[:1].lower() + key[1:]: value for key, value in mapping.items()}
        if isinstance(mapping, dict)
        else mapping
        for mapping in mappings
    ]
