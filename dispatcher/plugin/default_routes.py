"""The pod's default routes are the primary's alone, in whatever order its networks are attached.

CNI plugins treat an existing default route differently: some fail (Calico), some silently leave
out their own (Weave Net), some replace it, and several report none in their result. So the
kernel is asked, never the result, and no plugin ever meets the default route of another:

    before a secondary is attached    the pod's default routes are put into the record
                                      (:meth:`DefaultRoutes.before`), which goes to disk, and
                                      removed (``remove_held``)
    after an attachment               the earlier interfaces must still be there; what a secondary
                                      brought is removed, and default routes that routers
                                      advertise on its interface are ignored from then on
    after the last attachment         the routes that are held are put back exactly
                                      (``put_back``), or ADD fails

A default route that the kernel learnt from a router advertisement on the primary stays where it
is: the kernel maintains it, and a copy of it would keep later advertisements from being
processed. Where an earlier call for the same container has attached a primary, that one is the
pod's, and every network of this call is a secondary.

Rules of this file: a route is removed only once the record that holds it is on disk; only the
main table and unicast routes of destination length 0 count (:mod:`dispatcher.plugin.netlink`).
A pod with one network opens no namespace and asks the kernel nothing.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.cni_errors import DELEGATE_FAILED, IO_FAILURE, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.plugin.netlink import Namespace, Route
    from dispatcher.state.record import Attachment, Record


class DefaultRoutes:
    """The pod's default routes while the networks of *record* are attached.

    *open_namespace* opens the pod's network namespace by its path; *earlier* are the attachments
    of other calls for the container. Methods raise :class:`CNIError` with code 5 (the kernel
    refuses), 8 (there is no namespace) and 103 (a plugin removed another network's interface).
    """

    __slots__ = (
        "_all_held",
        "_earlier",
        "_interfaces",
        "_kept",
        "_namespace",
        "_open_namespace",
        "_record",
        "_to_remove",
    )

    _namespace: Namespace

    def __init__(
        self,
        open_namespace: Callable[[str], Namespace],
        record: Record,
        earlier: list[Attachment],
    ) -> None:
        self._open_namespace = open_namespace
        self._record = record
        self._earlier = earlier
        self._interfaces: dict[str, tuple[str, int]] = {}
        """By name, the network and the index of each interface that must stay."""
        self._kept: set[int] = set()
        """The interfaces through which the pod's own default routes go."""
        self._all_held = False
        self._to_remove: list[Route] = []

    def open(self) -> None:
        """Open the pod's network namespace; nothing else works before."""
        self._namespace = self._open_namespace(self._record.netns)
        held = self._record.held_routes  # by an ADD that was killed, and not put back since
        self._record.held_routes = [
            each for each in held if self._namespace.has_interfaces_of(bytes.fromhex(each))
        ]
        for attachment in self._earlier:
            index = self._remember(attachment)
            if attachment.is_primary and index is not None:
                self._kept.add(index)

    def close(self) -> None:
        """Let go of the namespace, if it was opened."""
        if hasattr(self, "_namespace"):
            self._namespace.close()

    def before(self, attachment: Attachment) -> None:
        """Before a secondary, put the pod's default routes into the record."""
        if self._is_primary(attachment) or self._all_held:
            return
        try:
            found = self._namespace.default_routes()
        except OSError as error:
            raise CNIError(IO_FAILURE, f"cannot read the pod's default routes: {error}") from None

        self._to_remove = [route for route in found if not route.is_advertised]
        for route in self._to_remove:
            self._record.held_routes.append(route.body.hex())
            self._kept |= route.interfaces
        self._all_held = True

    def remove_held(self) -> None:
        """Remove the routes that :meth:`before` has put into the record, which is on disk now."""
        for route in self._to_remove:
            try:
                self._namespace.remove(route)
            except OSError as error:
                raise CNIError(
                    IO_FAILURE,
                    f"cannot set the pod's default routes aside for its other networks: {error}",
                ) from None
        self._to_remove = []

    def after(self, attachment: Attachment) -> None:
        """Check what *attachment* left of the others, and remove the default routes it brought."""
        try:
            self._check_earlier(attachment)
            index = self._remember(attachment)
            if self._is_primary(attachment):
                self._all_held = False
                if index is not None:
                    self._kept.add(index)
                return

            if index is not None:
                self._namespace.ignore_advertised_routes(attachment.interface)
            for route in self._namespace.default_routes():
                # All others that are the pod's own are held.
                if not (route.is_advertised and route.interfaces <= self._kept):
                    self._namespace.remove(route)
        except OSError as error:
            raise CNIError(
                IO_FAILURE,
                f"cannot remove the default routes added by the network "
                f"{quote(attachment.network)} on {attachment.interface}: {error}",
            ) from None

    def put_back(self) -> None:
        """Put back what is held, and clear it from the record in memory."""
        for held in self._record.held_routes:
            try:
                self._namespace.restore(bytes.fromhex(held))
            except OSError as error:
                raise CNIError(
                    IO_FAILURE,
                    f"cannot restore the pod's default routes after its networks: {error}",
                ) from None
        self._record.held_routes = []

    def _check_earlier(self, attachment: Attachment) -> None:
        for interface, (network, index) in self._interfaces.items():
            if self._namespace.index(interface) != index:
                raise CNIError(
                    DELEGATE_FAILED,
                    f"attaching the network {quote(attachment.network)} on {attachment.interface} "
                    f"removed the interface {interface} of the network {quote(network)}; "
                    "these two networks cannot be combined in one pod",
                )

    def _remember(self, attachment: Attachment) -> int | None:
        """Return the index of the attachment's interface; a userspace network may have none."""
        index = self._namespace.index(attachment.interface)
        if index is not None:
            self._interfaces[attachment.interface] = (attachment.network, index)
        return index

    def _is_primary(self, attachment: Attachment) -> bool:
        return attachment.is_primary and not any(each.is_primary for each in self._earlier)


def put_back_remaining(namespace: Namespace, record: Record) -> None:
    """Put back the held routes of interfaces that are still there, after an unfinished ADD.

    Those of attachments that were released went with their interfaces. Closes *namespace*. Raises
    OSError; the record then still has the routes.
    """
    try:
        for held in record.held_routes:
            body = bytes.fromhex(held)
            if namespace.has_interfaces_of(body):
                namespace.restore(body)
        record.held_routes = []
    finally:
        namespace.close()
