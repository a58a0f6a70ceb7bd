"""A pod's network namespace as a model: interfaces, default routes, and faults on demand.

A fake of :class:`dispatcher.plugin.netlink.NetworkNamespace`, so that each request can fail; the
real one is asked in tests/node.
"""

from __future__ import annotations

from dispatcher.plugin.netlink import Route
from tests.unit.plugin.rtnetlink import link, route


class Pod:
    """The state of one namespace. ``faults`` maps a method's name to the error that it raises."""

    def __init__(self) -> None:
        self.interfaces: dict[str, int] = {}
        self.routes: list[bytes] = []
        self.ignored: list[str] = []
        self.faults: dict[str, OSError] = {}
        self.opened = 0
        self._indexes = 1

    def attach(self, interface: str, *, default_route: bool = True) -> None:
        """Do what a plugin does: make an interface, with a default route through it."""
        self._indexes += 1
        self.interfaces[interface] = self._indexes
        if default_route:
            self.routes.append(route(link(self._indexes)))

    def detach(self, interface: str) -> None:
        """Remove an interface, and its routes with it."""
        index = self.interfaces.pop(interface, None)
        self.routes = [each for each in self.routes if index not in Route(each).interfaces]

    def open(self, _netns: str) -> Model:
        """Return a namespace that reads and changes this state."""
        self.opened += 1
        return Model(self)

    @property
    def ways_out(self) -> list[str]:
        """The interfaces of the default routes, in order."""
        names = {index: name for name, index in self.interfaces.items()}
        return [names[index] for each in self.routes for index in Route(each).interfaces]


class Model:
    """Stands in for a NetworkNamespace."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    def _fault(self, method: str) -> None:
        if method in self._pod.faults:
            raise self._pod.faults[method]

    def close(self) -> None:
        """Count one open namespace less."""
        self._pod.opened -= 1

    def index(self, interface: str) -> int | None:
        """Find an interface by name."""
        self._fault("index")
        return self._pod.interfaces.get(interface)

    def has_interfaces_of(self, body: bytes) -> bool:
        """Find interfaces by index."""
        return Route(body).interfaces <= set(self._pod.interfaces.values())

    def default_routes(self) -> list[Route]:
        """List the routes."""
        self._fault("default_routes")
        return [Route(each) for each in self._pod.routes]

    def remove(self, gone: Route) -> None:
        """Remove a route."""
        self._fault("remove")
        self._pod.routes.remove(gone.body)

    def restore(self, body: bytes) -> None:
        """Make a route again."""
        self._fault("restore")
        if body not in self._pod.routes:
            self._pod.routes.append(body)

    def ignore_advertised_routes(self, interface: str) -> None:
        """Store the interface."""
        self._pod.ignored.append(interface)
