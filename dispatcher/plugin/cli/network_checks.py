"""Checks of ``genie doctor``: networks that cannot be attached, and networks that conflict.

Rules of this file: no fix takes a network from pods. It advises to remove a file only if no pod of
the node uses its network, it is not the default, and the runtime would not load it without Genie.
"""

from __future__ import annotations

import os

from dispatcher import networks
from dispatcher.annotation import is_network_name
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli import views
from dispatcher.plugin.cli.addresses import SUBNET_FILE, ipam_types, overlapping
from dispatcher.plugin.cli.finding import DoctorFinding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dispatcher.plugin.cli.genie_conflist import GenieConflist

_CLAIMS = {
    1: "the name of the file",
    2: 'the "name" in the file',
    3: "the name of the file after its first dash",
}
"""What gives a file the name of a network, by the rank of the claim."""

_AMBIGUOUS = (
    "let pods use a name that only one file has (see genie list): when a file is added or removed, "
    "this name may move to another network"
)


def attachable(
    conflist: GenieConflist, net_dir: str, conf_dirs: Sequence[str], cni_path: Sequence[str]
) -> Iterator[DoctorFinding]:
    """Find networks that cannot be attached."""
    removal = "remove the file only if this network was uninstalled"
    try:
        needed = _needed_files(conflist, net_dir, conf_dirs)
        if any(isinstance(each, CNIError) for each in views.records(conflist.settings.state_dir)):
            removal = "do not remove the file: pods may use it whose records cannot be read"
    except OSError:
        needed, removal = {}, "run as root to check whether pods use it"

    for row in views.networks_of_node(conf_dirs, cni_path):
        if row["attachable"]:
            continue
        subject = f"network {row['network']}" if row["network"] else "file"
        fix = "correct the file"
        if row["missing"]:
            fix = f"install {', '.join(row['missing'])} in {' or '.join(cni_path)}"
        message = f"{row['file']}: {row['reason']}"
        yield DoctorFinding(subject, message, f"{fix}; {needed.get(row['file'], removal)}")


def _needed_files(
    conflist: GenieConflist, net_dir: str, conf_dirs: Sequence[str]
) -> dict[str, str]:
    """Return the files that must not be removed, each with the sentence that says so."""
    reasons = {}
    own = conflist.conf.path if conflist.conf else ""
    others = [file for file in networks.conf_files(net_dir) if file != own]
    if others:
        reasons[others[0]] = "the runtime loads it after Genie is removed"

    for record in views.records(conflist.settings.state_dir):
        for attachment in () if isinstance(record, CNIError) else record.attachments:
            reasons[attachment.conf.path] = "pods of this node use its network"

    scanned = networks.scan(conf_dirs)
    default = conflist.settings.default
    owner = scanned.confs.get(default) or scanned.broken_names.get(default)
    if owner:
        reasons[owner.path] = "it is the default network"
    return {path: f"do not remove the file: {reason}" for path, reason in reasons.items()}


def names(conf_dirs: Sequence[str]) -> Iterator[DoctorFinding]:
    """Report each name that several files claim, with the file that has it and why."""
    for name, claimants in sorted(_contested_names(conf_dirs).items()):
        (rank, owner), (next_rank, second), *_ = claimants
        others = ", ".join(path for _, path in claimants[1:])
        if rank < next_rank:
            reason, fix = f"{_CLAIMS[rank]} takes precedence over {_CLAIMS[next_rank]}", ""
        elif os.path.dirname(owner) != os.path.dirname(second):
            reason, fix = "its directory is searched first", ""
        else:
            reason = f"both claim it by {_CLAIMS[rank]}, and the first file in lexical order has it"
            fix = _AMBIGUOUS
        message = f"belongs to {owner}, not to {others}: {reason}"
        yield DoctorFinding(f"name {name}", message, fix, problem=False)


def _contested_names(conf_dirs: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Return the names that several files claim: rank and path of each file, the owner first."""
    claimants: dict[str, dict[str, int]] = {}
    for path, entry in networks.entries(conf_dirs, {}):
        for rank, name in networks.claims(path, entry):
            if is_network_name(name):
                claimants.setdefault(name, {}).setdefault(path, rank)  # its strongest claim first
    return {
        name: sorted(((rank, path) for path, rank in files.items()), key=lambda each: each[0])
        for name, files in claimants.items()
        if len(files) > 1
    }


def addresses(conf_dirs: Sequence[str]) -> Iterator[DoctorFinding]:
    """Find networks that allocate the same addresses from different stores."""
    confs = {conf.path: conf for conf in networks.scan(conf_dirs).confs.values()}
    for conf, other, text in overlapping([confs[each] for each in sorted(confs)], SUBNET_FILE):
        yield DoctorFinding(
            "addresses",
            f"{conf.path} ({conf.name}) and {other.path} ({other.name}) both allocate from {text}, "
            "each in its own store: two pods can get the same address",
            "give one network another range, or use only one of the two; networks that are not "
            "connected may share a range",
            problem=False,
        )


def whereabouts(conflist: GenieConflist, conf_dirs: Sequence[str]) -> Iterator[DoctorFinding]:
    """Find networks whose addresses the reconciler of whereabouts may take from running pods."""
    names = networks_of_whereabouts(conf_dirs)
    default = conflist.settings.default
    if default in names:
        yield DoctorFinding(
            "whereabouts",
            "the reconciler of whereabouts does not see a pod's primary, so it frees addresses of "
            f"running pods of the default network {default}",
            "use another IPAM plugin for the default network, or disable the reconciler",
            problem=False,
        )
    others = ", ".join(name for name in names if name != default)
    if others:
        yield DoctorFinding(
            "whereabouts",
            "the reconciler of whereabouts does not see a pod's primary, so it frees addresses of "
            f"running pods whose primary is on {others}; use {others} as a secondary only, or "
            "disable the reconciler",
        )


def networks_of_whereabouts(conf_dirs: Sequence[str]) -> list[str]:
    """Return the networks whose addresses come from whereabouts, one name for each file."""
    confs = networks.scan(conf_dirs).confs
    names = [row["network"] for row in views.networks_of_node(conf_dirs, ())]
    return [name for name in names if name in confs and "whereabouts" in ipam_types(confs[name])]
