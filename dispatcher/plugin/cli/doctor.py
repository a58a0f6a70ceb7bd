"""``genie doctor``: what is wrong with this node's networks, and how to cure it.

How it works: each check looks at one thing and yields :class:`Diagnosis`s; none changes
anything. A finding that is a problem makes the command fail. A warning has a cure, too, but may be
meant as it is; the others are notes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket

from dispatcher import keys, networks
from dispatcher.cni_errors import CNIError
from dispatcher.conf import InvalidConfError
from dispatcher.plugin.cli import conflicts, views
from dispatcher.plugin.cli.diagnosis import Diagnosis
from dispatcher.state import store
from dispatcher.state.record import PARKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dispatcher.plugin.cli.own import Own

_OLDEST_CONTAINERD = (1, 5)
_OLDEST_CRIO = (1, 29)
_ASK_SECONDS = 5


def examine(
    own: Own,
    net_dir: str,
    conf_dirs: Sequence[str],
    cni_path: Sequence[str],
    version_of: Callable[[str], str] | None = None,
) -> list[Diagnosis]:
    """Return everything that was found. *version_of* tells what ``NAME --version`` prints."""
    state_dir = own.settings.state_dir
    checks = {
        "conflist": _conflist(own, net_dir),
        "default": _default(own, conf_dirs, cni_path),
        "network": conflicts.attachable(own, net_dir, conf_dirs, cni_path),
        "name": conflicts.names(conf_dirs),
        "addresses": conflicts.addresses(conf_dirs),
        "whereabouts": conflicts.whereabouts(own, conf_dirs),
        "directory": _directories(conf_dirs),
        "state": _state(state_dir),
        "agent": _agent(own, conf_dirs),
        "record": _records(state_dir),
        "runtime": _runtime(version_of or _version),
    }
    return [found for about, check in checks.items() for found in _whole(about, check)]


def _whole(about: str, check: Iterator[Diagnosis]) -> Iterator[Diagnosis]:
    """Yield what *check* finds, and where it could look no further."""
    try:
        yield from check
    except OSError as error:
        yield Diagnosis(about, f"{error.filename}: {error.strerror}", "look at it as root")


def _conflist(own: Own, net_dir: str) -> Iterator[Diagnosis]:
    if own.problem:
        yield Diagnosis(
            "conflist", own.problem, "mend the file, or remove it: Genie's agent writes it anew"
        )
    if own.conf is None:
        if not own.problem:
            yield Diagnosis(
                "conflist",
                f"{net_dir} has no configuration of Genie's",
                "is the agent's pod running here? It writes the file once the default is ready",
            )
    elif own.first != own.conf.path:
        yield Diagnosis(
            "conflist",
            f"the runtime loads {own.first}, the first in lexical order, not {own.conf.path}",
            f"rename one of them; Genie's own is called {keys.CONFLIST}",
        )
    elif not own.problem:
        yield Diagnosis("conflist", f"the runtime loads {own.conf.path}")


def _default(own: Own, conf_dirs: Sequence[str], cni_path: Sequence[str]) -> Iterator[Diagnosis]:
    default = own.settings.default
    if not default:
        if not own.problem:
            yield Diagnosis("default", "no default network: pods without an annotation are refused")
        return
    try:
        conf = networks.find(default, conf_dirs)
    except (LookupError, InvalidConfError) as error:
        yield Diagnosis("default", str(error), "install that network, or change the setting")
        return
    lacking = networks.missing_executables(conf, cni_path)
    if not lacking:
        yield Diagnosis("default", f"{default} ({conf.path})")


def _directories(conf_dirs: Sequence[str]) -> Iterator[Diagnosis]:
    for directory in filter(os.path.isdir, conf_dirs):
        for name in sorted(os.listdir(directory)):
            if name.endswith(".cilium_bak"):
                yield Diagnosis(
                    "renamed file",
                    f"{directory}/{name} was renamed by Cilium and gives no network",
                    "set cni.exclusive=false in Cilium, and rename the file back",
                )


def _state(state_dir: str) -> Iterator[Diagnosis]:
    place = state_dir
    while not os.path.exists(place):
        place = os.path.dirname(place) or "/"
    if not os.path.isdir(place):
        yield Diagnosis("state", f"{place} is not a directory", "no pod starts until it is one")
        return
    system = os.statvfs(place)
    permitted = os.access(place, os.W_OK | os.X_OK)
    if system.f_flag & os.ST_RDONLY or (not permitted and os.geteuid() == 0):
        yield Diagnosis("state", f"{place} cannot be written", "no pod starts until it can be")
        return
    if not permitted:
        yield Diagnosis("state", f"whether {state_dir} can be written only root can tell")
        return
    if not system.f_bavail:
        yield Diagnosis("state", f"the file system of {place} is full", "make room on it")
        return
    yield Diagnosis("state", f"{state_dir} can be written")


def _agent(own: Own, conf_dirs: Sequence[str]) -> Iterator[Diagnosis]:
    """Tell whether the agent runs, and what it and the reaper could not do."""
    address = own.settings.agent_socket
    if address:
        yield from _running(address, conflicts.of_whereabouts(conf_dirs))
    for name, check, cure in _TOLD:
        try:
            said = store.read_file(f"{own.settings.state_dir}/{name}").decode("utf-8", "replace")
        except OSError:
            continue
        yield Diagnosis(check, said.strip(), cure)


def _running(address: str, of_whereabouts: list[str]) -> Iterator[Diagnosis]:
    agent = socket(AF_UNIX, SOCK_STREAM)
    agent.settimeout(_ASK_SECONDS)
    try:
        agent.connect(address)
        agent.shutdown(SHUT_WR)
        agent.recv(1)  # it answers that nothing was asked, and does not find us gone
    except PermissionError:
        yield Diagnosis("agent", "cannot check whether the agent runs: run as root")
    except OSError as error:
        released = (
            f", and whereabouts' reconciler releases addresses of new pods on "
            f"{', '.join(of_whereabouts)}"
            if of_whereabouts
            else ""
        )
        yield Diagnosis(
            "agent",
            f"the agent does not answer on {address} ({error.strerror or error}): labels do not "
            f"follow this node's networks, new pods get no network-status{released}",
            "start the agent's pod: kubectl -n genie-system get pods -o wide",
        )
    else:
        yield Diagnosis("agent", f"the agent answers on {address}")
    finally:
        agent.close()


_TOLD = (
    (store.AGENT_PROBLEM, "agent", "as the agent says; it looks again every few seconds"),
    (
        store.REAPER_PROBLEM,
        "reaper",
        "if the runtime is up, its socket is not GENIE_RUNTIME_SOCKET of the agent's pod",
    ),
)


def _records(state_dir: str) -> Iterator[Diagnosis]:
    for record in views.records(state_dir):
        if isinstance(record, CNIError):
            yield Diagnosis("record", record.msg, "upgrade Genie, or remove the file after a drain")
            continue
        who = "/".join(filter(None, record.pod[:2])) or record.container_id
        for attachment in record.attachments:
            if attachment.phase == PARKED:
                yield Diagnosis(
                    "record",
                    f"{who}: {attachment.network} is parked: "
                    f"{(attachment.failure or {}).get('msg', 'its plugin cannot be run')}",
                    "install again what is missing; the agent then frees it",
                )
        if record.netns and not os.path.exists(record.netns):
            yield Diagnosis(
                "record",
                f"{who}: {record.netns} is gone, but {len(record.attachments)} attachments are "
                "still recorded",
                "the agent frees it; by hand: the plugin's DEL for this container",
            )
    for name in sorted(os.listdir(state_dir)) if os.path.isdir(state_dir) else ():
        if name.endswith(store.CORRUPT):
            yield Diagnosis(
                "record", f"{state_dir}/{name} was not readable", "look at it, remove it"
            )


def _runtime(version_of: Callable[[str], str]) -> Iterator[Diagnosis]:
    for name, oldest in (("containerd", _OLDEST_CONTAINERD), ("crio", _OLDEST_CRIO)):
        words = version_of(name).replace(",", " ").split()
        version = next((_numbers(word) for word in words if _numbers(word)), ())
        if not version:
            continue
        shown = ".".join(map(str, version))
        if version < oldest:
            yield Diagnosis(
                "runtime",
                f"{name} {shown} passes no pod annotations to CNI plugins",
                "upgrade it, or use the overlay for old runtimes, where the agent asks the API",
            )
        else:
            yield Diagnosis("runtime", f"{name} {shown} passes pod annotations")


def _numbers(word: str) -> tuple[int, ...]:
    parts = word.removeprefix("v").split("-")[0].split("+")[0].split(".")
    return tuple(map(int, parts)) if len(parts) > 1 and all(map(str.isdecimal, parts)) else ()


def _version(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        return ""
    try:
        asked = subprocess.run(  # noqa: S603 - the node's own container runtime
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout
