"""Read the copies of definitions on this node, which the agent writes.

A definition may have been created a moment ago, by the same ``kubectl apply`` as the pod. So a copy
that is missing, or is not the one that the webhook saw, is awaited for :data:`WAIT_SECONDS`. After
that the copy that exists is used, if the agent is in contact with the API server: then the hash is
that of an older definition, such as one before a restore of etcd. Otherwise ADD fails with code 11,
and the kubelet tries again.

What a copy contains is validated again, since a node trusts no text of a pod's or definition's
author.
"""

from __future__ import annotations

from dispatcher.annotation import quote
from dispatcher.cni_errors import BROKEN_NETWORK, INVALID_ANNOTATION, TRY_AGAIN, CNIError
from dispatcher.nad import configuration, definition_copy
from dispatcher.nad.definition import Definition
from dispatcher.nad.definition_copy import StaleCopyError
from dispatcher.plugin import plan
from dispatcher.state.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.conf import Conf
    from dispatcher.nad.definition_copy import DefinitionCopy, SyncState
    from dispatcher.plugin.call import Call

WAIT_SECONDS = 3.0
"""How long one ADD waits for copies, all of them together."""

POLL_SECONDS = 0.05

LIVE_SECONDS = 120.0
"""How long ago the agent may have heard of the API server: a quiet watch is heard of each minute.
"""


class LocalDefinition:
    """A definition as this node attaches it.

    ``cni_args`` are the keys that a pod may give in ``cni-args``; None: any, since the definition
    is no tenant's.
    """

    __slots__ = ("cni_args", "conf", "is_reference")

    def __init__(self, conf: Conf, cni_args: frozenset[str] | None, *, is_reference: bool) -> None:
        self.conf = conf
        self.cni_args = cni_args
        self.is_reference = is_reference


class DefinitionReader:
    """Reads the copies on the node of *call*; waits for new ones for *seconds* in all."""

    __slots__ = ("_call", "_deadline", "_directory")

    def __init__(self, call: Call, seconds: float = WAIT_SECONDS) -> None:
        self._call = call
        self._directory = f"{call.state_dir}/{definition_copy.DIRECTORY}"
        self._deadline = min(call.deadline.clock() + seconds, call.deadline.for_work)

    def load(
        self, namespace: str, name: str, short_hash: str, *, allows_node_network: bool
    ) -> LocalDefinition:
        """Return a definition, which the webhook saw with *short_hash*.

        *namespace* and *name* are valid names; *short_hash* is "" if any copy will do. A definition
        without a configuration stands for the node's network of its name, if
        *allows_node_network*. Raises :class:`CNIError` with code 11, 100, 101 or 102.
        """
        copy = self._await(namespace, name, short_hash)
        sentence = f"NetworkAttachmentDefinition {quote(f'{namespace}/{name}')}"
        if copy.refused:
            raise CNIError(BROKEN_NETWORK, f"{sentence} cannot be attached: {copy.refused}")
        if copy.resource:
            raise CNIError(
                BROKEN_NETWORK,
                f"{sentence} cannot be attached: it asks for the device {quote(copy.resource)}, "
                "and Genie does not attach network devices",
            )

        definition = Definition(namespace, name, uid=copy.uid, config=copy.config)
        if definition.refers_to_node_network:
            if not allows_node_network:
                # Otherwise its author could take the config away after admission, and the pod would
                # have a network that its namespace's allow-list does not have.
                raise CNIError(
                    INVALID_ANNOTATION,
                    f"{sentence} cannot be attached: it has no configuration, so it selects the "
                    f"node's network {quote(name)}, which admission has not permitted",
                    "create the pod again, so that the webhook validates it",
                )
            conf = self._node_network(name, sentence)
            return LocalDefinition(conf, copy.cni_args, is_reference=True)
        checked, faults = configuration.validate(definition)
        if checked is None:
            reasons = "; ".join(map(str, faults))
            raise CNIError(BROKEN_NETWORK, f"{sentence} cannot be attached: {reasons}")
        return LocalDefinition(checked.conf, copy.cni_args, is_reference=False)

    def has_copy(self, namespace: str, name: str) -> bool:
        """Return whether this node has a copy of the definition, current or not."""
        return _read(f"{self._directory}/{namespace}/{name}") is not None

    def _node_network(self, name: str, sentence: str) -> Conf:
        try:
            conf = plan.look_up(name, self._call.effects.find_network)
        except CNIError as error:
            prefix = f"{sentence} has no configuration, so it selects a network of this node"
            raise error.with_prefix(prefix) from None
        for plugin_type in conf.types:
            if reason := configuration.DELEGATING.get(plugin_type):
                raise CNIError(
                    BROKEN_NETWORK,
                    f"{sentence} cannot be attached: the plugin {quote(plugin_type)} of the node's "
                    f"network {quote(name)} cannot be selected by a definition: {reason}",
                )
        return conf

    def _await(self, namespace: str, name: str, short_hash: str) -> DefinitionCopy:
        """Return the copy with *short_hash*, or after the time to wait the one that exists."""
        path = f"{self._directory}/{namespace}/{name}"
        while True:
            copy = _read(path)
            if copy is not None and short_hash in {"", copy.hash}:
                return copy
            if self._call.deadline.clock() >= self._deadline:
                break
            self._call.effects.sleep(POLL_SECONDS)

        fault = self._fault()
        if copy is not None and not fault:
            return copy
        fault = fault or (
            "the definition does not exist in the cluster, or the agent has not copied it yet"
        )
        has = "no copy" if copy is None else "only an older copy"
        raise CNIError(
            TRY_AGAIN,
            f"this node has {has} of NetworkAttachmentDefinition {quote(f'{namespace}/{name}')}: "
            f"{fault}",
            "the kubelet tries again",
        )

    def _fault(self) -> str:
        """Return why the copies may be stale, "" if the agent keeps them up to date."""
        state = _read_state(f"{self._directory}/{definition_copy.SYNCED}")
        if state is None:
            return "the agent of this node has not copied any; check that it runs"
        age = self._call.effects.now() - state.alive
        if age > LIVE_SECONDS:
            return f"the agent of this node last heard of the API server {age:.0f} s ago"
        return "" if state.is_complete else "the agent of this node has not copied all of them yet"


def _read(path: str) -> DefinitionCopy | None:
    try:
        return definition_copy.decode(read_file(path))
    except (OSError, StaleCopyError):
        return None  # the agent writes the file, or writes it again


def _read_state(path: str) -> SyncState | None:
    try:
        return definition_copy.decode_sync(read_file(path))
    except (OSError, StaleCopyError):
        return None
