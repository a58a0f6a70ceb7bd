"""STATUS: whether new pods can be attached, as far as the default network goes.

How it works: the default network's configuration must be readable, its executables present,
and its own plugins must report that they are ready. Trouble of another network is the
agent's to report: it must not make the node NotReady.
"""

from __future__ import annotations

from dispatcher import cni_errors, networks
from dispatcher.annotation import quote
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import chain, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.conf import Conf
    from dispatcher.plugin.call import Call

_SINCE = "1.1.0"
_STATES = (cni_errors.NOT_AVAILABLE, cni_errors.LIMITED_CONNECTIVITY)


def status(call: Call) -> None:
    """Carry out STATUS. Raises CNIError with code 50 or 51."""
    default = call.conf.settings.default
    if not default:
        return  # pods that name their networks can be attached, and no others are promised
    try:
        _ask(call, default, plan.look_up(default, call.effects.find_network))
    except CNIError as error:
        if error.code in _STATES:
            raise
        raise CNIError(cni_errors.NOT_AVAILABLE, error.msg, error.details) from None


def _ask(call: Call, default: str, conf: Conf) -> None:
    lacking = networks.missing_executables(conf, call.request.path)
    if lacking:
        raise CNIError(
            cni_errors.NOT_AVAILABLE,
            f"the default network {quote(default)} lacks executables: {', '.join(lacking)}",
            f"looked for in {':'.join(call.request.path)}",
        )
    if conf.supports(_SINCE):
        until = call.deadline.for_call
        for plugin in conf.plugins:
            chain.ask_network(call.effects.run, "STATUS", conf, plugin, until=until)
