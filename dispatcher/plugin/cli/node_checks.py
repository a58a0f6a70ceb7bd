"""Checks of ``genie doctor``: conflist, default network, state directory, agent and runtime.

Each yields its findings, and raises OSError for a file that it cannot read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket

from dispatcher import networks
from dispatcher.conf import InvalidConfError
from dispatcher.plugin.cli import network_checks
from dispatcher.plugin.cli.finding import DoctorFinding
from dispatcher.state import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dispatcher.plugin.cli.genie_conflist import GenieConflist

_OLDEST_RUNTIMES = {"containerd": (1, 5), "crio": (1, 29)}
"""The first versions that pass pod annotations to CNI plugins."""

_TIMEOUT_SECONDS = 5

_RUNTIME_SOCKET_FIX = (
    "if the runtime is running, set GENIE_RUNTIME_SOCKET in the DaemonSet genie-agent to its CRI "
    "socket (the Helm chart's value platform does this: k3s, rke2 or crio)"
)

_PROBLEM_FILES = (
    (store.AGENT_PROBLEM, "agent", "follow the message; the agent retries every few seconds"),
    (
        store.REAPER_PROBLEM,
        "reaper",
        _RUNTIME_SOCKET_FIX,
    ),
    (
        store.NETWORK_PROBLEMS,
        "network",
        "repair the network: look at the pods of its own DaemonSet on this node",
    ),
)
"""Files in which agent and reaper leave their problems, a line each: name, subject, fix."""


def conflist(conflist: GenieConflist, net_dir: str) -> Iterator[DoctorFinding]:
    """Check that the runtime loads Genie's conflist, and that the plugin accepts it."""
    if conflist.problem:
        fix = "correct the file, or remove it: the agent writes it again"
        yield DoctorFinding("conflist", conflist.problem, fix)

    if conflist.conf is None:
        if not conflist.problem:
            yield DoctorFinding(
                "conflist",
                f"{net_dir} has no conflist of Genie",
                "check that the agent runs on this node: it writes the file when the default "
                "network is ready",
            )
    elif conflist.loaded_file != conflist.conf.path:
        yield DoctorFinding(
            "conflist",
            f"the runtime loads {conflist.loaded_file}, the first file in lexical order, not "
            f"{conflist.conf.path}",
            f"rename {conflist.loaded_file} so that it sorts after "
            f"{os.path.basename(conflist.conf.path)}",
        )
    elif not conflist.problem:
        yield DoctorFinding("conflist", f"the runtime loads {conflist.conf.path}")


def default_network(
    conflist: GenieConflist, conf_dirs: Sequence[str], cni_path: Sequence[str]
) -> Iterator[DoctorFinding]:
    """Check that the default network has a configuration.

    Missing executables are reported for the network itself.
    """
    default = conflist.settings.default
    if not default:
        if not conflist.problem:
            yield DoctorFinding("default", "not set: pods that name no network are refused")
        return

    try:
        conf = networks.find(default, conf_dirs)
    except (LookupError, InvalidConfError) as error:
        fix = "install this network, or set another default network"
        yield DoctorFinding("default", str(error), fix)
        return
    if not networks.missing_executables(conf, cni_path):
        yield DoctorFinding("default", f"{default} ({conf.path})")


def renamed_files(conf_dirs: Sequence[str]) -> Iterator[DoctorFinding]:
    """Find configurations that Cilium has renamed (its option ``cni.exclusive``)."""
    for directory in filter(os.path.isdir, conf_dirs):
        for name in sorted(os.listdir(directory)):
            if name.endswith(".cilium_bak"):
                yield DoctorFinding(
                    "renamed file",
                    f"{directory}/{name} was renamed by Cilium, so its network is missing",
                    "set cni.exclusive=false in Cilium, and rename the file back",
                )


def state_directory(state_dir: str) -> Iterator[DoctorFinding]:
    """Check that records can be written, also where the directory does not exist yet."""
    place = state_dir
    while not os.path.exists(place):
        place = os.path.dirname(place) or "/"
    if not os.path.isdir(place):
        fix = "replace it with a directory: no pod starts without one"
        yield DoctorFinding("state", f"{place} is not a directory", fix)
        return

    system = os.statvfs(place)
    permitted = os.access(place, os.W_OK | os.X_OK)
    if system.f_flag & os.ST_RDONLY or (not permitted and os.geteuid() == 0):
        fix = "make it writable: no pod starts until it is"
        yield DoctorFinding("state", f"{place} is not writable", fix)
    elif not permitted:
        yield DoctorFinding("state", f"cannot check whether {state_dir} is writable: run as root")
    elif system.f_blocks and not system.f_bfree:  # the plugin is root; no blocks mean no limit
        fix = "delete files on it: no pod starts while it is full"
        yield DoctorFinding("state", f"the file system of {place} is full", fix)
    else:
        yield DoctorFinding("state", f"{state_dir} is writable")


def agent(conflist: GenieConflist, conf_dirs: Sequence[str]) -> Iterator[DoctorFinding]:
    """Check that the agent answers, and report the problems of agent and reaper."""
    address = conflist.settings.agent_socket
    if address:
        yield from _agent_socket(address, network_checks.networks_of_whereabouts(conf_dirs))

    for name, subject, fix in _PROBLEM_FILES:
        try:
            problem = store.read_file(f"{conflist.settings.state_dir}/{name}")
        except OSError:
            continue
        for sentence in problem.decode("utf-8", "replace").splitlines():
            yield DoctorFinding(subject, sentence, fix)


def _agent_socket(address: str, of_whereabouts: list[str]) -> Iterator[DoctorFinding]:
    connection = socket(AF_UNIX, SOCK_STREAM)
    connection.settimeout(_TIMEOUT_SECONDS)
    try:
        connection.connect(address)
        # The agent answers an empty request. Waiting for the answer keeps it from logging that the
        # client has gone.
        connection.shutdown(SHUT_WR)
        connection.recv(1)
    except PermissionError:
        yield DoctorFinding("agent", "cannot check whether the agent runs: run as root")
    except OSError as error:
        released = (
            ", and the reconciler of whereabouts frees addresses of new pods on "
            f"{', '.join(of_whereabouts)}"
            if of_whereabouts
            else ""
        )
        yield DoctorFinding(
            "agent",
            f"the agent does not answer on {address} ({error.strerror or error}): labels do not "
            f"follow this node's networks, new pods get no network-status{released}",
            "start the agent's pod: kubectl -n genie-system get pods -o wide",
        )
    else:
        yield DoctorFinding("agent", f"the agent answers on {address}")
    finally:
        connection.close()


def runtime(version_of: Callable[[str], str]) -> Iterator[DoctorFinding]:
    """Check that the installed container runtimes pass pod annotations to CNI plugins."""
    for name, oldest in _OLDEST_RUNTIMES.items():
        words = version_of(name).replace(",", " ").split()
        version = next((numbers for word in words if (numbers := _numbers(word))), ())
        if not version:
            continue
        program = f"{name} {'.'.join(map(str, version))}"
        if version < oldest:
            yield DoctorFinding(
                "runtime",
                f"{program} passes no pod annotations to CNI plugins",
                "upgrade to containerd 1.7 or CRI-O 1.29, or later, or set oldRuntimes: true in "
                "the values of the Helm chart: the agent then asks the API server",
            )
        else:
            yield DoctorFinding("runtime", f"{program} passes pod annotations")


def _numbers(word: str) -> tuple[int, ...]:
    parts = word.removeprefix("v").split("-")[0].split("+")[0].split(".")
    return tuple(map(int, parts)) if len(parts) > 1 and all(map(str.isdecimal, parts)) else ()


def version_of(name: str) -> str:
    """Return what ``NAME --version`` prints, "" if the program is missing or does not answer."""
    program = shutil.which(name)
    if program is None:
        return ""
    try:
        process = subprocess.run(  # noqa: S603 - the node's own container runtime
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout
