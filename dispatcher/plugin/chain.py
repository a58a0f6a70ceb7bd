"""One network of one container: the plugins of its chain, one after another.

How it works: as libcni does it (specification, section 4). ADD goes through the chain in
order, each plugin given the result of the one before; DEL goes through it in reverse and
CHECK in order, each with the final result. A plugin gets its configuration as it was
written, plus ``name``, ``cniVersion``, the capability arguments that it declares, and the
result. STATUS and GC go through the chain in order and know of no container. A failure is
returned as the plugin stated it, under a sentence that says which
network, interface and plugin.
"""

from __future__ import annotations

from dispatcher import cni_errors, cni_result
from dispatcher.annotation import quote
from dispatcher.cni_errors import CannotRunError, CNIError, NotStartedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from dispatcher.conf import Conf
    from dispatcher.plugin.call import Call
    from dispatcher.plugin.delegate import Runner
    from dispatcher.state.record import Attachment

_RESERVED = "cni.dev/"  # the specification keeps these keys for runtimes
PREV_RESULT_ON_DEL = "0.4.0"
"""The version of the specification since which DEL is given the result."""


class Chain:
    """Carries commands out for attachments of one container.

    ``run`` runs one delegate (:class:`dispatcher.plugin.delegate.Runner`), ``netns`` is the
    path of the network namespace, "" once it is gone. ``meanwhile`` is done once, while the first
    plugin of all starts and does not know yet what to do. Times are of the monotonic clock.
    """

    __slots__ = ("_container_id", "_meanwhile", "_run", "netns")

    def __init__(
        self,
        run: Runner,
        container_id: str,
        netns: str,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        self._run = run
        self._meanwhile = meanwhile
        self._container_id = container_id
        self.netns = netns

    @classmethod
    def for_call(cls, call: Call, meanwhile: Callable[[], None] | None = None) -> Self:
        """Return the chain for the container and the network namespace of *call*."""
        request = call.request
        return cls(call.effects.run, request.container_id, request.netns, meanwhile)

    def add(self, attachment: Attachment, until: float) -> dict[str, Any]:
        """Attach, and return the last plugin's result in the form of 1.1.0.

        Where a plugin was not started, the attachment's chain ends before it from now on.
        """
        previous: dict[str, Any] | None = None
        for position, plugin in enumerate(attachment.conf.plugins):
            try:
                said = self._call("ADD", attachment, plugin, previous, until)
            except NotStartedError:
                # It holds nothing, and its DEL would fail as its ADD did, for ten minutes.
                attachment.conf = attachment.conf.first_plugins(position)
                raise

            try:
                previous = _result(said, attachment.conf)
            except CNIError as error:
                raise error.with_prefix(_sentence("ADD", attachment, plugin)) from None
        return previous or cni_result.decode({}, attachment.conf.cni_version)

    def delete(self, attachment: Attachment, until: float) -> None:
        """Free what the attachment holds; what was never attached is no error."""
        final = attachment.result if attachment.conf.supports(PREV_RESULT_ON_DEL) else None
        cannot_run: CannotRunError | None = None
        for plugin in reversed(attachment.conf.plugins):
            try:
                self._call("DEL", attachment, plugin, final, until)
            except CannotRunError as error:
                cannot_run = error  # the plugins before it hold what is worth freeing now
        if cannot_run is not None:
            raise cannot_run

    def check(self, attachment: Attachment, until: float) -> None:
        """Let every plugin check that the attachment is as it was made."""
        final = attachment.result
        if final is not None and not attachment.is_primary:
            # We removed those; a plugin that looks for them would call this attachment broken.
            routes = [route for route in final["routes"] if not cni_result.is_default(route)]
            final = {**final, "routes": routes}
        for plugin in attachment.conf.plugins:
            self._call("CHECK", attachment, plugin, final, until)

    def _call(
        self,
        command: str,
        attachment: Attachment,
        plugin: dict[str, Any],
        previous: dict[str, Any] | None,
        until: float,
    ) -> dict[str, Any] | None:
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self._container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": attachment.interface,
            "CNI_ARGS": attachment.args,
        }
        given = plugin_conf(attachment.conf, plugin, attachment.capability_args)
        try:
            if previous is not None:
                given["prevResult"] = cni_result.encode(previous, attachment.conf.cni_version)
            meanwhile, self._meanwhile = self._meanwhile, None
            return self._run(given, variables, until, meanwhile)
        except CNIError as error:
            raise error.with_prefix(_sentence(command, attachment, plugin)) from None


def _result(said: dict[str, Any] | None, conf: Conf) -> dict[str, Any]:
    if said is None:
        raise CNIError(cni_errors.DELEGATE_FAILED, "it succeeded and printed no result")
    return cni_result.decode(said, conf.cni_version)


def ask_network(
    run: Runner, command: str, conf: Conf, plugin: dict[str, Any], *, until: float, **more: Any
) -> None:
    """Run STATUS or GC of one plugin of *conf*, with the keys *more* in its configuration."""
    variables = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"), "")
    variables["CNI_COMMAND"] = command
    try:
        run({**plugin_conf(conf, plugin, {}), **more}, variables, until)
    except CNIError as error:
        sentence = f"{command} of the network {quote(conf.name)} (plugin {plugin['type']})"
        raise error.with_prefix(sentence) from None


def plugin_conf(
    conf: Conf, plugin: dict[str, Any], capability_args: dict[str, Any]
) -> dict[str, Any]:
    """Return what *plugin* reads on its standard input (libcni's buildOneConfig)."""
    made = {key: value for key, value in plugin.items() if not key.startswith(_RESERVED)}
    made["name"] = conf.name
    made["cniVersion"] = conf.cni_version
    given = {
        capability: capability_args[capability]
        for capability, enabled in (plugin.get("capabilities") or {}).items()
        if enabled and capability in capability_args
    }
    if given:
        made["runtimeConfig"] = given
    return made


_DEEDS = {
    "ADD": "was not attached to",
    "DEL": "was not freed from",
    "CHECK": "is not as it should be on",
}


def _sentence(command: str, attachment: Attachment, plugin: dict[str, Any]) -> str:
    return (
        f"the network {quote(attachment.network)} {_DEEDS[command]} the interface "
        f"{quote(attachment.interface)} (plugin {plugin['type']})"
    )
