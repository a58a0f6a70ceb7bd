"""What a command gets: the validated input of one call, and the effects that it may use."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.conf import Conf
    from dispatcher.plugin.deadline import Deadline
    from dispatcher.plugin.delegate import Runner
    from dispatcher.plugin.genie_conf import GenieConf
    from dispatcher.plugin.netlink import NetworkNamespace
    from dispatcher.plugin.request import Request
    from dispatcher.plugin.timings import Timings


class Effects:
    """What reaches outside the process. ``main`` makes the real ones, tests pass their own.

    ``run`` runs a delegate, ``find_network`` returns a network's configuration by name,
    ``open_namespace`` opens the pod's network namespace, ``ask_agent`` returns a pod's annotations,
    ``now`` is the time of day in seconds of the epoch, ``sleep`` waits for some seconds,
    ``timings`` times the attachments, ``warn`` prints a line on standard error, and ``cache_dir``
    is libcni's cache.
    """

    __slots__ = (
        "ask_agent",
        "cache_dir",
        "find_network",
        "now",
        "open_namespace",
        "run",
        "sleep",
        "timings",
        "warn",
    )

    def __init__(
        self,
        *,
        run: Runner,
        find_network: Callable[[str], Conf],
        open_namespace: Callable[[str], NetworkNamespace],
        ask_agent: Callable[[str, str], dict[str, str]],
        now: Callable[[], float],
        sleep: Callable[[float], None],
        timings: Timings,
        warn: Callable[[str], None],
        cache_dir: str,
    ) -> None:
        self.run = run
        self.find_network = find_network
        self.open_namespace = open_namespace
        self.ask_agent = ask_agent
        self.now = now
        self.sleep = sleep
        self.timings = timings
        self.warn = warn
        self.cache_dir = cache_dir


class Call:
    """One call of the plugin: environment, configuration, effects and deadlines."""

    __slots__ = ("conf", "deadline", "effects", "request")

    def __init__(
        self, request: Request, conf: GenieConf, effects: Effects, deadline: Deadline
    ) -> None:
        self.request = request
        self.conf = conf
        self.effects = effects
        self.deadline = deadline

    @property
    def state_dir(self) -> str:
        """The directory of the records."""
        return self.conf.settings.state_dir
