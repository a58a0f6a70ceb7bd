"""STATUS: check whether new pods can be attached to the default network.

The default network must have a valid configuration and all executables, and its plugins must report
that they are ready. Problems of other networks are reported by the agent: they must not make the
node NotReady.
"""

from __future__ import annotations

from dispatcher import cni_errors, networks
from dispatcher.annotation import quote
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import chain, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.call import Call

_SINCE = "1.1.0"
_STATUS_CODES = (cni_errors.NOT_AVAILABLE, cni_errors.LIMITED_CONNECTIVITY)


def status(call: Call) -> None:
    """Carry out STATUS. Raises CNIError with code 50 or 51."""
    default = call.conf.settings.default
    if not default:
        return  # pods that name their networks can be attached, and there are no others
    try:
        _check_ready(call, default)
    except CNIError as error:
        code = error.code if error.code in _STATUS_CODES else cni_errors.NOT_AVAILABLE
        sentence = f"default network {quote(default)} is not ready on this node"
        raise CNIError(code, f"{sentence}: {error.msg}", error.details) from None


def _check_ready(call: Call, default: str) -> None:
    conf = plan.look_up(default, call.effects.find_network)
    missing = networks.missing_executables(conf, call.request.path)
    if missing:
        raise CNIError(
            cni_errors.NOT_AVAILABLE,
            f"executables are missing: {', '.join(missing)}",
            f"searched in {':'.join(call.request.path)}",
        )

    if conf.supports(_SINCE):
        run, deadline = call.effects.run, call.deadline.for_call
        for plugin in conf.plugins:
            chain.run_for_network(run, "STATUS", conf, plugin, deadline=deadline)
