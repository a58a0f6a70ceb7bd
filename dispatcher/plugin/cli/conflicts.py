"""``genie doctor``'s checks of networks: which cannot be attached, and which harm one another.

Rules of this file: no cure takes a network from pods. A file is advised to be removed only where
no pod of the node uses its network, it is not the default, and not what the runtime would load.
"""

from __future__ import annotations

import os

from dispatcher import networks
from dispatcher.annotation import is_network_name
from dispatcher.cni_errors import CNIError
from dispatcher.plugin.cli import views
from dispatcher.plugin.cli.addresses import SUBNET_FILE, ipam_types, overlapping
from dispatcher.plugin.cli.diagnosis import Diagnosis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dispatcher.plugin.cli.own import Own

_RULES = {
    1: "the file's name",
    2: 'its "name"',
    3: "what follows the first dash of the file's name",
}
"""By the rank of a claim: what makes a file a network of that name."""

_AMBIGUOUS = (
    "a file that comes or goes moves the name, and new pods get another network: let pods ask for "
    "it by a name that one file alone has (see genie list)"
)


def _needed(own: Own, net_dir: str, conf_dirs: Sequence[str]) -> dict[str, str]:
    """Return what to say of the files that must not be removed, by path."""
    reasons = {}
    others = [
        file for file in networks.conf_files(net_dir) if not own.conf or file != own.conf.path
    ]
    if others:
        reasons[others[0]] = "the runtime loads it when Genie is gone"
    for record in views.records(own.settings.state_dir):
        for attachment in () if isinstance(record, CNIError) else record.attachments:
            reasons[attachment.conf.path] = "pods of this node use its network"
    all_networks = networks.scan(conf_dirs)
    default = own.settings.default
    winner = all_networks.confs.get(default) or all_networks.broken_names.get(default)
    if winner:
        reasons[winner.path] = "it is the default network"
    return {path: f"do not remove the file: {reason}" for path, reason in reasons.items()}


def attachable(
    own: Own, net_dir: str, conf_dirs: Sequence[str], cni_path: Sequence[str]
) -> Iterator[Diagnosis]:
    """Find networks that cannot be attached."""
    otherwise = "remove the file only if this network was uninstalled"
    try:
        needed = _needed(own, net_dir, conf_dirs)
    except OSError:
        needed, otherwise = {}, "run as root to learn whether pods use it"
    for row in views.listing(conf_dirs, cni_path):
        if not row["attachable"]:
            about = f"network {row['network']}" if row["network"] else "file"
            cure = "repair the file"
            if row["missing"]:
                cure = f"install {', '.join(row['missing'])} in {' or '.join(cni_path)}"
            removal = needed.get(row["file"], otherwise)
            yield Diagnosis(about, f"{row['file']}: {row['reason']}", f"{cure}; {removal}")


def names(conf_dirs: Sequence[str]) -> Iterator[Diagnosis]:
    """Name each name that several files offer, with the file that has it and why."""
    for name, claimants in sorted(_contested(conf_dirs).items()):
        (rank, winner), (next_rank, second), *_ = claimants
        others = ", ".join(path for _, path in claimants[1:])
        if rank < next_rank:
            why, cure = f"{_RULES[rank]} is stronger than {_RULES[next_rank]}", ""
        elif os.path.dirname(winner) != os.path.dirname(second):
            why, cure = "its directory comes first", ""
        else:
            why = f"of equal claims ({_RULES[rank]}) the first file in lexical order wins"
            cure = _AMBIGUOUS
        sentence = f"belongs to {winner}, not to {others}: {why}"
        yield Diagnosis(f"name {name}", sentence, cure, problem=False)


def _contested(conf_dirs: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Return the names that several files offer: rank and path of each file, the winner first."""
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


def addresses(conf_dirs: Sequence[str]) -> Iterator[Diagnosis]:
    """Find networks that hand out the same addresses without knowing of each other."""
    confs = {conf.path: conf for conf in networks.scan(conf_dirs).confs.values()}
    for conf, other, text in overlapping([confs[each] for each in sorted(confs)], SUBNET_FILE):
        yield Diagnosis(
            "addresses",
            f"{conf.path} ({conf.name}) and {other.path} ({other.name}) both hand out {text}, each "
            "from a store of its own: two pods can get the same address",
            "give one of them another range, or use one of them only. Networks that never meet may "
            "share a range",
            problem=False,
        )


def whereabouts(own: Own, conf_dirs: Sequence[str]) -> Iterator[Diagnosis]:
    """Find networks whose addresses whereabouts' reconciler may take from running pods."""
    names = of_whereabouts(conf_dirs)
    default = own.settings.default
    if default in names:
        yield Diagnosis(
            "whereabouts",
            f"the default network {default} has its addresses from whereabouts, whose reconciler "
            "releases those of running pods: it does not count a pod's primary network",
            "use another IPAM for the default network, or switch that reconciler off",
            problem=False,
        )
    others = ", ".join(name for name in names if name != default)
    if others:
        yield Diagnosis(
            "whereabouts",
            f"use {others} for secondary interfaces only: whereabouts' reconciler releases the "
            "address of a running pod whose primary network that is",
        )


def of_whereabouts(conf_dirs: Sequence[str]) -> list[str]:
    """Return the networks whose addresses come from whereabouts, one name for each file."""
    confs = networks.scan(conf_dirs).confs
    plain = [row["network"] for row in views.listing(conf_dirs, ())]
    return [name for name in plain if name in confs and "whereabouts" in ipam_types(confs[name])]
