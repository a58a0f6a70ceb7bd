"""Plan a pod that selects NetworkAttachmentDefinitions: all its attachments, the primary first.

:mod:`dispatcher.nad.plan` says which attachments the annotations ask for. Here each gets its
configuration: an item of ``cni`` that of the node's network, as for every pod, and a definition
that of its copy on this node.

If the networks of ``cni`` or the default have a plugin that attaches definitions itself, such as
``multus``, that plugin gets the annotations too, and Genie attaches no definition.
"""

from __future__ import annotations

from dispatcher import keys
from dispatcher.annotation import Selection, quote
from dispatcher.cni_errors import INVALID_ANNOTATION, CNIError
from dispatcher.conf import VERSIONS, Conf
from dispatcher.nad.configuration import DELEGATING
from dispatcher.nad.names import is_label
from dispatcher.nad.plan import InvalidPlanError, PlannedAttachment, namespace_of, plan_pod
from dispatcher.plugin import plan
from dispatcher.plugin.definitions import delegate_input
from dispatcher.plugin.definitions.copies import WAIT_SECONDS, DefinitionReader
from dispatcher.plugin.definitions.permission import SelectedDefinition, permitted_items
from dispatcher.state.record import Attachment, pod_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dispatcher.nad.attachments import PermittedAttachment
    from dispatcher.nad.selection import NetworkSelection
    from dispatcher.plugin.call import Call


def attachments_for_call(call: Call, annotations: Mapping[str, Any]) -> list[Attachment]:
    """Return the attachments of the call's pod, each with its configuration.

    Waits up to :data:`~dispatcher.plugin.definitions.copies.WAIT_SECONDS` for new definitions.
    Raises :class:`CNIError` with code 7, 11, 100, 101 or 102.
    """
    pod = _Pod(call, annotations, WAIT_SECONDS)
    if pod.is_delegating:
        return pod.own_attachments()
    return [pod.attachment(each) for each in pod.permitted_plan()]


def rebuilt_attachments(call: Call, annotations: Mapping[str, Any]) -> list[Attachment]:
    """Return what a pod whose record is unreadable may be attached to, for its DEL.

    One whose configuration is unknown now has no plugins. Where this node attaches no definitions,
    one without a copy is left out: the webhook permits definitions in the mode ``observe``, too,
    which attaches none, and without a copy no DEL could ever release it. Raises :class:`CNIError`
    with code 7 or 100 for a pod that ADD has refused.
    """
    pod = _Pod(call, annotations, 0)
    attachments = []
    for planned in pod.possible_plan():
        if not (call.conf.settings.attaches_definitions or pod.has_copy(planned)):
            call.effects.warn(f"{pod.sentence(planned)} is left out: this node has no copy of it")
            continue
        try:
            attachments.append(pod.attachment(planned))
        except CNIError:
            attachments.append(pod.without_conf(planned))
    return attachments


def conf_of(call: Call, full_name: str) -> Conf:
    """Return the present configuration of the definition ``namespace/name``.

    For a rebuilt record that has only the name. Raises :class:`CNIError`.
    """
    namespace, _, name = full_name.partition("/")
    return DefinitionReader(call, 0).load(namespace, name, "", allows_node_network=True).conf


class _Pod:
    """The pod of *call*; *seconds* is how long to wait for new definitions."""

    def __init__(self, call: Call, annotations: Mapping[str, Any], seconds: float) -> None:
        self._call = call
        self._annotations = _texts(annotations)
        self._namespace = pod_of(call.request.args)[0]
        self._copies = DefinitionReader(call, seconds)
        self._permitted: dict[str, PermittedAttachment] = {}
        """By interface of the plan."""
        self._selections: tuple[Selection, ...] = ()
        """The networks of ``cni`` or the default."""
        self._own: dict[str, Attachment] = {}
        """By interface of the plan: those of them that can be attached."""
        self._errors: dict[str, CNIError] = {}
        """By interface of the plan: why one of them cannot be attached."""

        # An error is of no consequence if the pod selects another primary.
        try:
            self._selections = plan.select(self._annotations, call.conf.settings.default)
        except CNIError as error:
            self._errors[keys.PRIMARY_INTERFACE] = error
            return
        for selection in self._selections:
            try:
                [attachment] = plan.attachments_for_call(call, (selection,))
                self._own[selection.interface] = attachment
            except CNIError as error:
                self._errors[selection.interface] = error

    @property
    def is_delegating(self) -> bool:
        """Whether a network of ``cni`` or the default attaches definitions itself."""
        types = {each for attachment in self._own.values() for each in attachment.conf.types}
        return not types.isdisjoint(DELEGATING)

    def own_attachments(self) -> list[Attachment]:
        """Return all networks of ``cni`` or the default. Raises :class:`CNIError`."""
        if self._errors:
            raise next(iter(self._errors.values()))
        return list(self._own.values())

    def permitted_plan(self) -> list[PlannedAttachment]:
        """Return what the annotations ask for, and admission has permitted.

        Raises :class:`CNIError` with code 7, 100, 101 or 102.
        """
        planned = self._plan()
        if not any(each.is_primary for each in planned):
            raise self._errors[keys.PRIMARY_INTERFACE]  # there is no default
        for each in planned:
            # Before the permission: if this is a network of Multus, admission has permitted no
            # definition, and the error would name the webhook.
            if each.source == keys.ANNOTATION:
                self._own_attachment(each)

        of_definitions = [each for each in planned if each.source != keys.ANNOTATION]
        permitted = permitted_items(
            [self._selected(each) for each in of_definitions],
            self._annotations,
            is_validated=self._is_validated,
        )
        interfaces = (each.interface for each in of_definitions)
        self._permitted = dict(zip(interfaces, permitted, strict=True))
        return planned

    def possible_plan(self) -> list[PlannedAttachment]:
        """Return what the pod may be attached to, in whichever mode this node was at its ADD.

        A mode that ignores definitions attaches the networks of ``cni`` or the default, also of a
        pod that the mode ``enforce`` refuses, or gives another primary. Raises :class:`CNIError`
        with code 7 or 100 if every mode refuses the pod.
        """
        own = [
            PlannedAttachment(keys.ANNOTATION, each.interface, each) for each in self._selections
        ]
        if self.is_delegating:
            return own
        try:
            definitions = [each for each in self._plan() if each.source != keys.ANNOTATION]
            permitted = {each.interface: self._selected(each).permitted() for each in definitions}
        except CNIError:
            if not own:
                raise
            return own  # the mode "enforce" refuses the pod, whatever its permission

        self._permitted = permitted
        if not own and not definitions:
            raise self._errors[keys.PRIMARY_INTERFACE]
        return own + definitions

    def _plan(self) -> list[PlannedAttachment]:
        try:
            return plan_pod(self._annotations, self._call.conf.settings.default)
        except InvalidPlanError as error:
            message = f"cannot apply the pod's annotations: {error}"
            raise CNIError(INVALID_ANNOTATION, message) from None

    @property
    def _is_validated(self) -> bool:
        """Whether admission validates pods like this one."""
        if plan.is_static(self._annotations):
            return False
        return self._namespace not in self._call.conf.settings.excluded_namespaces

    def _selected(self, planned: PlannedAttachment) -> SelectedDefinition:
        selection: NetworkSelection = planned.selection  # type: ignore[assignment]
        return SelectedDefinition(
            self._namespace_of(planned),
            selection.name,
            is_default=planned.source == keys.DEFAULT_NETWORK,
            has_port_mappings=bool(selection.port_mappings),
        )

    def _namespace_of(self, planned: PlannedAttachment) -> str:
        settings = self._call.conf.settings
        namespace = namespace_of(planned, self._namespace, settings.multus_namespace)
        if not is_label(namespace):  # it becomes a part of a path
            raise CNIError(
                INVALID_ANNOTATION,
                "the pod selects a NetworkAttachmentDefinition of its own namespace, but "
                "the container runtime did not pass it: K8S_POD_NAMESPACE is not valid in CNI_ARGS",
            )
        return namespace

    def attachment(self, planned: PlannedAttachment) -> Attachment:
        """Return one attachment of the plan. Raises :class:`CNIError`."""
        selection = planned.selection
        if isinstance(selection, Selection):
            return self._own_attachment(planned)

        sentence = self.sentence(planned)
        if planned.interface == self._call.request.interface and not planned.is_primary:
            raise CNIError(
                INVALID_ANNOTATION,
                f"{sentence} cannot use interface {quote(planned.interface)}: this interface "
                "belongs to the primary; choose another interface",
            )
        namespace, permitted = self._namespace_of(planned), self._permitted[planned.interface]
        definition = self._copies.load(
            namespace,
            selection.name,
            permitted.short_hash,
            allows_node_network=permitted.allows_node_network,
        )
        delegate_input.check_request(selection, definition, sentence)
        conf, is_tenants = definition.conf, definition.cni_args is not None
        settings = self._call.conf.settings
        requested, variables = delegate_input.requested_args(
            selection,
            conf,
            sentence,
            allows_cni_args=settings.allows_cni_args and not is_tenants,
        )
        conf = delegate_input.with_cni_args(conf, selection.cni_args, sentence)
        runtime_config = self._call.conf.runtime_config if planned.is_primary else {}
        attachment = self._attachment(
            planned, conf, {**plan.declared_args(conf, runtime_config), **requested}
        )
        attachment.args = ";".join(filter(None, (attachment.args, variables)))
        attachment.default_route = list(selection.default_route or ())
        return attachment

    def _own_attachment(self, planned: PlannedAttachment) -> Attachment:
        if planned.interface in self._errors:
            raise self._errors[planned.interface]
        return self._own[planned.interface]

    def has_copy(self, planned: PlannedAttachment) -> bool:
        """Return whether this node has a copy of a definition; a network needs none."""
        selection = planned.selection
        if isinstance(selection, Selection):
            return True
        return self._copies.has_copy(self._namespace_of(planned), selection.name)

    def sentence(self, planned: PlannedAttachment) -> str:
        """Return how a message begins that is about a definition of the plan."""
        return f"NetworkAttachmentDefinition {quote(self._network(planned))}"

    def without_conf(self, planned: PlannedAttachment) -> Attachment:
        """Return one attachment of the plan whose configuration is unknown: it has no plugins."""
        return self._attachment(planned, Conf("", self._network(planned), VERSIONS[-1], []), {})

    def _network(self, planned: PlannedAttachment) -> str:
        selection = planned.selection
        if isinstance(selection, Selection):
            return selection.network
        return f"{self._namespace_of(planned)}/{selection.name}"

    def _attachment(
        self, planned: PlannedAttachment, conf: Conf, capability_args: dict[str, Any]
    ) -> Attachment:
        request = self._call.request
        return Attachment(
            self._network(planned),
            request.interface if planned.is_primary else planned.interface,
            request.interface,
            conf,
            args=request.args,
            capability_args=capability_args,
            is_primary=planned.is_primary,
        )


def _texts(annotations: Mapping[str, Any]) -> dict[str, str]:
    """Return *annotations*, all of which must be texts; the runtime passes nothing else."""
    for key, value in annotations.items():
        if not isinstance(value, str):
            raise CNIError(INVALID_ANNOTATION, f"annotation {quote(key)} must be a string")
    return dict(annotations)
