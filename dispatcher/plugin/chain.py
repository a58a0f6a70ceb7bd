"""Run the plugins of one network, as libcni does (specification, section 4).

ADD runs them in order, each with the result of the one before. DEL runs them in reverse, CHECK in
order, each with the final result. STATUS and GC run them in order and have no container.

A plugin gets its configuration as it was written, plus ``name``, ``cniVersion``, the capability
arguments that it declares, and the result. Its error is returned with its own code and details,
after the name of network, interface and plugin.
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

PREV_RESULT_ON_DEL = "0.4.0"
"""The first version of the specification in which DEL gets the result."""


class Chain:
    """Runs commands for attachments of one container.

    ``run`` runs one delegate. ``netns`` is the path of the network namespace, "" if it is gone.
    Deadlines are times of the monotonic clock.
    """

    __slots__ = ("_container_id", "_run", "netns")

    def __init__(self, run: Runner, container_id: str, netns: str) -> None:
        self._run = run
        self._container_id = container_id
        self.netns = netns

    @classmethod
    def for_call(cls, call: Call) -> Self:
        """Return the chain for the container and the network namespace of *call*."""
        request = call.request
        return cls(call.effects.run, request.container_id, request.netns)

    def add(
        self,
        attachment: Attachment,
        deadline: float,
        before_input: Callable[[], None] | None = None,
        while_running: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Run ADD, and return the last plugin's result in the form of 1.1.0.

        *before_input* is called while the first plugin starts, before it gets its configuration,
        and *while_running* after that.

        If a plugin was not started, it and those after it are removed from *attachment*: see
        :attr:`Attachment.has_started_plugins`.
        """
        previous: dict[str, Any] | None = None
        for position, plugin in enumerate(attachment.conf.plugins):
            steps = (None, None) if position else (before_input, while_running)
            try:
                output = self._run_plugin(
                    "ADD", attachment, plugin, previous, deadline, steps=steps
                )
            except NotStartedError:
                # There is nothing to release, and its DEL would fail as its ADD did.
                attachment.conf = attachment.conf.first_plugins(position)
                raise

            try:
                previous = _result(output, attachment.conf)
            except CNIError as error:
                raise error.with_prefix(_sentence("ADD", attachment, plugin)) from None
        return previous or cni_result.decode({}, attachment.conf.cni_version)

    def delete(self, attachment: Attachment, deadline: float) -> None:
        """Run DEL. Raises CannotRunError only after the other plugins ran."""
        final = attachment.result if attachment.conf.supports(PREV_RESULT_ON_DEL) else None
        cannot_run: CannotRunError | None = None
        for plugin in reversed(attachment.conf.plugins):
            try:
                self._run_plugin("DEL", attachment, plugin, final, deadline)
            except CannotRunError as error:
                cannot_run = error  # the plugins before it can still release what they hold
        if cannot_run is not None:
            raise cannot_run

    def check(self, attachment: Attachment, deadline: float) -> None:
        """Run CHECK."""
        final = attachment.result
        if final is not None and not attachment.is_primary and not attachment.default_route:
            # ADD removed the default routes of a secondary: a plugin that misses them would fail.
            routes = [route for route in final["routes"] if not cni_result.is_default(route)]
            final = {**final, "routes": routes}
        for plugin in attachment.conf.plugins:
            self._run_plugin("CHECK", attachment, plugin, final, deadline)

    def _run_plugin(
        self,
        command: str,
        attachment: Attachment,
        plugin: dict[str, Any],
        previous: dict[str, Any] | None,
        deadline: float,
        *,
        steps: tuple[Callable[[], None] | None, Callable[[], None] | None] = (None, None),
    ) -> dict[str, Any] | None:
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self._container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": attachment.interface,
            "CNI_ARGS": attachment.args,
        }
        conf = attachment.conf.plugin_input(plugin, attachment.capability_args)
        try:
            if previous is not None:
                conf["prevResult"] = cni_result.encode(previous, attachment.conf.cni_version)
            return self._run(conf, variables, deadline, *steps)
        except CNIError as error:
            raise error.with_prefix(_sentence(command, attachment, plugin)) from None


def _result(output: dict[str, Any] | None, conf: Conf) -> dict[str, Any]:
    if output is None:
        raise CNIError(cni_errors.DELEGATE_FAILED, "the plugin succeeded but printed no result")
    return cni_result.decode(output, conf.cni_version)


def run_for_network(
    run: Runner,
    command: str,
    conf: Conf,
    plugin: dict[str, Any],
    keys: dict[str, Any] | None = None,
    *,
    deadline: float,
) -> None:
    """Run STATUS or GC of one plugin of *conf*, with *keys* added to its configuration."""
    variables = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"), "")
    variables["CNI_COMMAND"] = command
    try:
        run({**conf.plugin_input(plugin, {}), **(keys or {})}, variables, deadline)
    except CNIError as error:
        sentence = f"{command} failed for network {quote(conf.name)} (plugin {plugin['type']})"
        raise error.with_prefix(sentence) from None


def _sentence(command: str, attachment: Attachment, plugin: dict[str, Any]) -> str:
    return (
        f"{command} failed for network {quote(attachment.network)} on interface "
        f"{quote(attachment.interface)} (plugin {plugin['type']})"
    )
