import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.devcluster.layout import (
    MAX_NODES,
    SLOTS,
    Layout,
    check_name,
    choose_slot,
    preferred_slot,
)

HERE = Layout("genie", 7, Path("/state/genie"))
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("name", ["g", "genie-webhook", "a" * 31, "x9"])
def test_a_short_lower_case_name_is_taken(name: str) -> None:
    """The name comes back as it is."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "9a",
        "-a",
        "a-",
        "A",
        "a_b",
        "a/b",
        "..",
        "a.b",
        "a" * 32,
        "cp",
        "host",
        "outside",
        "a\n",
    ],
)
def test_a_name_that_could_leave_its_folder_or_namespace_is_refused(name: str) -> None:
    """The error says what a name may be."""
    with pytest.raises(ValueError, match="is not a valid name of a cluster or node: use up to 31"):
        check_name(name)


@given(NAMES, st.sets(st.integers(0, SLOTS - 1), max_size=SLOTS - 1))
def test_a_cluster_gets_a_slot_that_is_free(name: str, taken: set[int]) -> None:
    """Its preferred one, if nobody has that."""
    slot = choose_slot(name, taken)
    assert slot in set(range(SLOTS)) - taken
    assert slot == preferred_slot(name) or preferred_slot(name) in taken


def test_the_256_slots_can_all_be_taken() -> None:
    """Then the error says so, instead of two clusters sharing one."""
    with pytest.raises(ValueError, match="all 256 slots"):
        choose_slot("genie", set(range(SLOTS)))


@given(st.integers(0, SLOTS - 1))
def test_no_two_machines_of_a_cluster_share_an_address(slot: int) -> None:
    """Machine, control plane, outside and every possible node, in both families."""
    layout = Layout("genie", slot, Path("/state/genie"))
    nodes = [layout.node(f"node{number}", number) for number in range(1, MAX_NODES + 1)]
    ipv4 = [layout.host_ipv4, layout.api_ipv4, layout.outside_ipv4, *(n.ipv4 for n in nodes)]
    ipv6 = [layout.outside_ipv6, *(n.ipv6 for n in nodes)]
    assert len({ipaddress.ip_address(address) for address in ipv4 + ipv6}) == len(ipv4 + ipv6)


def test_two_slots_share_neither_subnet_nor_link() -> None:
    """What is in the machine's own namespace is unique to each cluster."""
    other = Layout("other", 8, Path("/state/other"))
    assert HERE.host_link != other.host_link
    subnets = [ipaddress.IPv4Network(f"{c.host_ipv4}/24", strict=False) for c in (HERE, other)]
    assert not subnets[0].overlaps(subnets[1])
    assert all(subnet.subnet_of(ipaddress.IPv4Network("198.18.0.0/15")) for subnet in subnets)


def test_a_name_that_begins_like_another_does_not_own_its_namespaces() -> None:
    """`genie` taken down must leave `genie-webhook` alone."""
    longer = Layout("genie-webhook", 9, Path("/state/genie-webhook"))
    assert not longer.netns("cp").startswith(HERE.netns_prefix)


def test_a_link_name_fits_the_kernel() -> None:
    """15 bytes."""
    assert max(len(Layout("x", slot, Path()).host_link) for slot in range(SLOTS)) <= 15


def test_a_nodes_own_path_is_below_its_folder() -> None:
    """So that the machine can read and write it."""
    node = HERE.node("node1", 1)
    seen = node.path("/etc/cni/net.d/10-canal.conflist")
    assert seen == Path("/state/genie/nodes/node1/etc/cni/net.d/10-canal.conflist")


@pytest.mark.parametrize("path", ["/etc/passwd", "/usr/bin/env", "etc/cni/x", "/varx/lib"])
def test_a_path_that_the_node_shares_with_the_machine_is_refused(path: str) -> None:
    """It would be the machine's own file."""
    with pytest.raises(ValueError, match="a node has own files only in"):
        HERE.node("node1", 1).path(path)
