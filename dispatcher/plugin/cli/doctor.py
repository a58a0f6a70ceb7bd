"""``genie doctor``: run all checks of this node. None of them changes anything."""

from __future__ import annotations

from dispatcher.plugin.cli import network_checks, node_checks, record_checks
from dispatcher.plugin.cli.finding import DoctorFinding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dispatcher.plugin.cli.genie_conflist import GenieConflist


def check_node(
    conflist: GenieConflist,
    net_dir: str,
    conf_dirs: Sequence[str],
    cni_path: Sequence[str],
    version_of: Callable[[str], str] = node_checks.version_of,
) -> list[DoctorFinding]:
    """Return the findings of all checks, in order. *version_of* runs ``NAME --version``."""
    state_dir = conflist.settings.state_dir
    checks = {
        "conflist": node_checks.conflist(conflist, net_dir),
        "default": node_checks.default_network(conflist, conf_dirs, cni_path),
        "network": network_checks.attachable(conflist, net_dir, conf_dirs, cni_path),
        "name": network_checks.names(conf_dirs),
        "addresses": network_checks.addresses(conf_dirs),
        "whereabouts": network_checks.whereabouts(conflist, conf_dirs),
        "directory": node_checks.renamed_files(conf_dirs),
        "state": node_checks.state_directory(state_dir),
        "agent": node_checks.agent(conflist, conf_dirs),
        "record": record_checks.records(state_dir, conflist.settings.deadline),
        "lock": record_checks.locks(state_dir),
        "runtime": node_checks.runtime(version_of),
    }
    return [finding for subject, check in checks.items() for finding in _run(subject, check)]


def _run(subject: str, check: Iterator[DoctorFinding]) -> Iterator[DoctorFinding]:
    """Yield the findings of *check*; a file that it cannot read is a finding, too."""
    try:
        yield from check
    except OSError as error:
        yield DoctorFinding(subject, f"{error.filename}: {error.strerror}", "run as root")
