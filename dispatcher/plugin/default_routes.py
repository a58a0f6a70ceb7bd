"""Keep the pod's default routes those of its primary, in any order of attachment.

CNI plugins treat an existing default route differently: some fail (Calico), some leave out their
own (Weave Net), some replace it, and several report none in their result. So Genie asks the kernel,
never the result, and while a plugin runs, the pod has no default route of another network:

    before a secondary is attached    the pod's default routes are saved in the record
                                      (:meth:`DefaultRoutes.save`) and on disk, and removed
                                      (``remove_saved``)
    after an attachment               the earlier interfaces must still exist; default routes of a
                                      secondary are removed, and those that routers advertise on
                                      its interface are ignored from then on (``enforce``)
    after the last attachment         the saved routes are restored exactly (``restore``), or ADD
                                      fails; default gateways that the pod asks for take their
                                      place (``replace``)

A route is removed only after the record that has it is on disk (key ``heldRoutes``). Only unicast
routes of destination length 0 in the main table count (:mod:`dispatcher.plugin.netlink`). A default
route that the kernel learnt from a router advertisement on the primary stays: the kernel maintains
it, and a copy of it would stop the processing of later advertisements. If an earlier call for the
container attached a primary, that one is the pod's, and every network of this call is a secondary.

A pod with one network opens no namespace and asks the kernel nothing.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.cni_errors import DELEGATE_FAILED, IO_FAILURE, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.plugin.netlink import NetworkNamespace, Route
    from dispatcher.state.record import Attachment, Record


class DefaultRoutes:
    """The pod's default routes while the networks of *record* are attached.

    *open_namespace* opens the pod's network namespace by its path. *earlier* are the attachments
    of other calls for the container. Methods raise :class:`CNIError` with code 5 (the kernel
    refuses), 8 (no namespace) and 103 (a plugin removed the interface of another network).
    """

    __slots__ = (
        "_earlier",
        "_interfaces",
        "_is_saved",
        "_namespace",
        "_open_namespace",
        "_own_interfaces",
        "_record",
        "_to_remove",
    )

    _namespace: NetworkNamespace

    def __init__(
        self,
        open_namespace: Callable[[str], NetworkNamespace],
        record: Record,
        earlier: list[Attachment],
    ) -> None:
        self._open_namespace = open_namespace
        self._record = record
        self._earlier = earlier
        self._interfaces: dict[str, tuple[str, int]] = {}
        """By name: network and index of each interface that later plugins must not remove."""
        self._own_interfaces: set[int] = set()
        """The indexes of the interfaces through which the pod's own default routes go."""
        self._is_saved = False
        self._to_remove: list[Route] = []

    def open(self) -> None:
        """Open the pod's network namespace. Call this before all other methods."""
        self._namespace = self._open_namespace(self._record.netns)

        # A killed ADD may have left saved routes. Keep those whose interface still exists.
        saved_routes = self._record.held_routes
        self._record.held_routes = [
            each for each in saved_routes if self._namespace.has_interfaces_of(bytes.fromhex(each))
        ]

        for attachment in self._earlier:
            index = self._add_interface(attachment)
            if attachment.is_primary and index is not None:
                self._own_interfaces.add(index)

    def close(self) -> None:
        """Close the namespace, if it is open."""
        if hasattr(self, "_namespace"):
            self._namespace.close()

    def save(self, attachment: Attachment) -> None:
        """Save the pod's default routes in the record, if *attachment* is a secondary."""
        if self._is_primary(attachment) or self._is_saved:
            return
        try:
            routes = self._namespace.default_routes()
        except OSError as error:
            raise CNIError(IO_FAILURE, f"cannot read the pod's default routes: {error}") from None

        self._to_remove = [route for route in routes if not route.is_advertised]
        for route in self._to_remove:
            self._record.held_routes.append(route.body.hex())
            self._own_interfaces |= route.interfaces
        self._is_saved = True

    def remove_saved(self) -> None:
        """Remove the routes that :meth:`save` has put into the record.

        Call this only after the record is on disk.
        """
        for route in self._to_remove:
            try:
                self._namespace.remove(route)
            except OSError as error:
                raise CNIError(
                    IO_FAILURE,
                    "cannot remove the pod's default routes before attaching its next network: "
                    f"{error}",
                ) from None
        self._to_remove = []

    def enforce(self, attachment: Attachment) -> None:
        """Check that the earlier interfaces exist; remove the default routes of a secondary."""
        try:
            self._check_earlier(attachment)
            index = self._add_interface(attachment)
            if self._is_primary(attachment):
                self._is_saved = False
                if index is not None:
                    self._own_interfaces.add(index)
                return

            if index is not None:
                self._namespace.ignore_advertised_routes(attachment.interface)
            for route in self._namespace.default_routes():
                # The pod's own routes are saved and removed: what is left came with this network.
                if not (route.is_advertised and route.interfaces <= self._own_interfaces):
                    self._namespace.remove(route)
        except OSError as error:
            raise CNIError(
                IO_FAILURE,
                f"cannot remove the default routes added by network {quote(attachment.network)} "
                f"on interface {attachment.interface}: {error}",
            ) from None

    def restore(self) -> None:
        """Restore the saved routes, and remove them from the record in memory."""
        for route in self._record.held_routes:
            try:
                self._namespace.restore(bytes.fromhex(route))
            except OSError as error:
                raise CNIError(
                    IO_FAILURE,
                    f"cannot restore the pod's default routes: {error}",
                ) from None
        self._record.held_routes = []

    def replace(self, attachment: Attachment) -> None:
        """Make the gateways that *attachment* was asked for the pod's default gateways.

        See :mod:`dispatcher.plugin.definitions.default_gateways`.
        """
        from dispatcher.plugin.definitions import default_gateways

        default_gateways.replace(self._namespace, attachment, self._interfaces)

    def _check_earlier(self, attachment: Attachment) -> None:
        for interface, (network, index) in self._interfaces.items():
            if self._namespace.index(interface) != index:
                raise CNIError(
                    DELEGATE_FAILED,
                    f"network {quote(attachment.network)} cannot be combined with network "
                    f"{quote(network)} in one pod: its ADD on interface {attachment.interface} "
                    f"removed interface {interface}",
                )

    def _add_interface(self, attachment: Attachment) -> int | None:
        """Store and return the index of the interface; a userspace network may have none."""
        index = self._namespace.index(attachment.interface)
        if index is not None:
            self._interfaces[attachment.interface] = (attachment.network, index)
        return index

    def _is_primary(self, attachment: Attachment) -> bool:
        return attachment.is_primary and not any(each.is_primary for each in self._earlier)


def restore_remaining(namespace: NetworkNamespace, record: Record) -> None:
    """Restore the saved routes of interfaces that still exist, after an unfinished ADD.

    The kernel has removed the routes of released attachments with their interfaces. Closes
    *namespace*. Raises OSError; *record* then still has the routes.
    """
    try:
        for route in record.held_routes:
            body = bytes.fromhex(route)
            if namespace.has_interfaces_of(body):
                namespace.restore(body)
        record.held_routes = []
    finally:
        namespace.close()
