"""The record of a container: its attachments, and the bytes that stand for them on disk.

A :class:`Record` has one :class:`Attachment` for each network, in the order in which they are
attached, each with everything that its DEL needs. DEL, CHECK, GC and the agent work from a record
alone. :func:`encode` writes the bytes, ``record_reader`` reads them, and ``store`` keeps them in
files.

Versions: the format has a number, and a record names the oldest format whose readers understand it.
A reader accepts older formats, and newer ones that name a format it knows. It keeps the keys of a
record and of its attachments that it does not know when it writes the record again.

Rules of this file: pure, since the agent and the tests read records too. Phases change as in the
diagram below; ``add`` and ``free`` of the plugin change them.
"""

from __future__ import annotations

from dispatcher.jsontext import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dispatcher.conf import Conf

FORMAT = 2
"""The format that this module writes."""

OLDEST_READER = 1
"""The oldest format whose readers understand what this module writes."""

CHECKSUM = "checksum"
CHECKSUM_MARK = b',"checksum":'
_PRIME = (1 << 32) - 5  # the largest prime of 32 bits

# planned ──► attaching ──► attached ──► releasing ──► parked
#    └────────────┴───────────────────────►┘  │           │
#                                             └───────────┴──► released: no longer in the record
#
# An attachment whose DEL fails keeps its phase and gets a ``failure``. It is parked once its
# delegate could not be executed for ``parkAfterSeconds``. A rebuilt record begins with attaching.
PLANNED = "planned"
"""Its ADD had not begun when this was written. On disk that is no proof: see ``store``."""
ATTACHING = "attaching"
"""Its ADD has begun, or has failed: it may hold resources."""
ATTACHED = "attached"
"""Its ADD has succeeded."""
RELEASING = "releasing"
"""Its DEL, or the roll-back of its ADD, has begun: it may still hold resources."""
PARKED = "parked"
"""Its delegate cannot be executed: DEL does not wait for it, and the reaper releases it later."""


class NewerRecordError(Exception):
    """The record has a newer format than this version can read; ``str()`` says which."""


class CorruptRecordError(Exception):
    """No version can read the record; ``str()`` is a sentence that says why."""


class Attachment:
    """One network of one container.

    ``network`` is the name in the annotation and ``interface`` the one inside the pod.
    ``cni_ifname`` is the CNI_IFNAME of the runtime's call, ``args`` its CNI_ARGS. ``conf`` is the
    configuration and ``capability_args`` its capability arguments. ``result`` is that of the last
    plugin, once attached. ``failure`` is why a DEL failed: ``code`` and ``msg`` of the error,
    ``cannotRun`` (whether the delegate could not be executed), and ``since``, the time of the
    failure or of the first of several with ``cannotRun`` (seconds of the epoch). ``default_route``
    are the gateways that ADD has made the pod's default gateways, in order. ``extra`` are the keys
    of a newer version.
    """

    __slots__ = (
        "args",
        "capability_args",
        "cni_ifname",
        "conf",
        "default_route",
        "extra",
        "failure",
        "interface",
        "is_primary",
        "network",
        "phase",
        "result",
    )

    def __init__(
        self,
        network: str,
        interface: str,
        cni_ifname: str,
        conf: Conf,
        *,
        args: str = "",
        capability_args: dict[str, Any] | None = None,
        is_primary: bool = False,
    ) -> None:
        self.network = network
        self.interface = interface
        self.cni_ifname = cni_ifname
        self.conf = conf
        self.args = args
        self.capability_args = capability_args or {}
        self.is_primary = is_primary
        self.default_route: list[str] = []
        self.phase = PLANNED
        self.result: dict[str, Any] | None = None
        self.failure: dict[str, Any] | None = None
        self.extra: dict[str, Any] = {}

    @property
    def has_started_plugins(self) -> bool:
        """Whether ADD has started any plugin; for the call that ran it.

        ADD removes from ``conf`` the plugins that it has not started.
        """
        return bool(self.conf.plugins)

    @property
    def is_conf_known(self) -> bool:
        """Whether ``conf`` is known; False for a network that a rebuilt record has only by name."""
        return bool(self.conf.plugins)


class Record:
    """Everything that Genie has done for one container. ``netns`` is the CNI_NETNS of its ADD.

    ``held_routes`` are the saved routes: the pod's default routes that an ADD has removed while it
    attaches secondary networks, each as the hexadecimal digits of the rtnetlink request that
    creates it again.
    """

    __slots__ = ("attachments", "container_id", "extra", "held_routes", "netns")

    def __init__(self, container_id: str, netns: str, attachments: list[Attachment]) -> None:
        self.container_id = container_id
        self.netns = netns
        self.attachments = attachments
        self.held_routes: list[str] = []
        self.extra: dict[str, Any] = {}

    def of_call(self, interface: str) -> list[Attachment]:
        """Return the attachments of the call with the CNI_IFNAME *interface*, in order."""
        return [each for each in self.attachments if each.cni_ifname == interface]

    @property
    def is_complete(self) -> bool:
        """Whether every attachment is attached and none is being released."""
        # A failure is that of a roll-back or of a DEL: the attachment may be half released.
        attached = all(each.phase == ATTACHED and not each.failure for each in self.attachments)
        return bool(self.attachments) and attached

    @property
    def pod(self) -> tuple[str, str, str]:
        """Namespace, name and UID of the pod, each "" if the runtime did not pass it."""
        return pod_of(self.attachments[0].args if self.attachments else "")


def pod_of(args: str) -> tuple[str, str, str]:
    """Return namespace, name and UID of the pod in the CNI_ARGS *args*, "" for a missing one."""
    pairs = dict(item.partition("=")[::2] for item in args.split(";"))
    return (
        pairs.get("K8S_POD_NAMESPACE", ""),
        pairs.get("K8S_POD_NAME", ""),
        pairs.get("K8S_POD_UID", ""),
    )


def encode(record: Record) -> bytes:
    """Return the content of the file for *record*."""
    content = dump(
        {
            "format": FORMAT,
            "oldestReader": OLDEST_READER,
            "containerID": record.container_id,
            "netns": record.netns,
            "attachments": [_encode_attachment(each) for each in record.attachments],
            **({"heldRoutes": record.held_routes} if record.held_routes else {}),
            **record.extra,
        }
    )
    return sealed(content[:-1])


def sealed(content: bytes) -> bytes:
    """Return *content*, an object without its closing brace, with the checksum at its end."""
    return b"%b%b%d}" % (content, CHECKSUM_MARK, checksum(content))


def checksum(content: bytes) -> int:
    """Return the remainder of *content*, as one number, divided by a prime of 32 bits.

    It detects every change within 32 bits, and any other except for one in four billion. CRC-32
    detects no more, and its import costs 0.07 to 0.35 ms; this takes 0.01 ms for a usual record.
    """
    return int.from_bytes(content, "little") % _PRIME


def _encode_attachment(attachment: Attachment) -> dict[str, Any]:
    conf = attachment.conf
    return {
        "network": attachment.network,
        "interface": attachment.interface,
        "requested": attachment.cni_ifname,  # CNI_IFNAME; the key is kept for format 1
        "primary": attachment.is_primary,
        "phase": attachment.phase,
        "args": attachment.args,
        "capabilityArgs": attachment.capability_args,
        "conf": {
            "path": conf.path,
            "name": conf.name,
            "cniVersion": conf.cni_version,
            "disableCheck": conf.disable_check,
            "disableGC": conf.disable_gc,
            "plugins": conf.plugins,
        },
        "result": attachment.result,
        "failure": attachment.failure,
        **({"defaultRoute": attachment.default_route} if attachment.default_route else {}),
        **attachment.extra,
    }
