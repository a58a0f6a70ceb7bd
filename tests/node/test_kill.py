"""After `kill -9` of the plugin at any instant, DEL releases everything.

The real host-local's store is counted before and after, with a neighbour in it that must stay.
"""

from __future__ import annotations

import itertools
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from tests.node.calls import DIE
from tests.node.products import default_routes, install_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.node.calls import Answer
    from tests.node.harness import Node
    from tests.node.namespaces import Container

BOTH = "weave,canal@net1"
MOST_STEPS = 100  # of one call: a bound, far above what any takes
SHORT_STRIDE = 4
"""Without --full, the calls with many requests to the kernel are killed before every fourth effect:
the two tests took a fifth of the time of this directory."""


def _neighbour(node: Node) -> Container:
    """Attach a container that no other call may change; canal is a chain of two plugins."""
    bridge = node.bridge_conf("canal", "10.244.0.0/16")
    node.network("canal", bridge, {"type": "tuning", "mtu": 1400})
    neighbour = node.container("neighbour")
    node.add(neighbour, BOTH).succeeded()
    return neighbour


def _dying(node: Node, command: str, pod: Container, step: int) -> Answer:
    """Start a call and kill it just before its effect number *step*."""
    program = ["/usr/bin/python3", "-IS", DIE, str(step), node.genie]
    return node.call(command, pod, BOTH, program=program)


def _add_killed(node: Node, pod: Container, step: int) -> Answer:
    return _dying(node, "ADD", pod, step)


def _add_killed_then_added(node: Node, pod: Container, step: int) -> Answer:
    died = _dying(node, "ADD", pod, step)
    again = node.add(pod, BOTH)
    # The first may have died between its last write and its answer: then it had done it all.
    assert again.code == 0 or again.said["code"] == cni_errors.ALREADY_ATTACHED, again
    return died


def _second_add_killed(node: Node, pod: Container, step: int) -> Answer:
    node.delegate(
        "bridge", '[ "$CNI_IFNAME$CNI_COMMAND" != net1ADD ] || kill -9 $PPID; exec $REAL/bridge'
    )
    assert node.add(pod, BOTH).killed
    (node.bin / "bridge").unlink()
    return _dying(node, "ADD", pod, step)


def _del_killed(node: Node, pod: Container, step: int) -> Answer:
    node.add(pod, BOTH).succeeded()
    return _dying(node, "DEL", pod, step)


def _roll_back_killed(node: Node, pod: Container, step: int) -> Answer:
    node.delegate("bridge", '[ "$CNI_IFNAME$CNI_COMMAND" != net1ADD ] || exit 1; exec $REAL/bridge')
    died = _dying(node, "ADD", pod, step)
    (node.bin / "bridge").unlink()
    return died


def _gc_killed(node: Node, pod: Container, step: int) -> Answer:
    node.add(pod, BOTH).succeeded()
    program = ["/usr/bin/python3", "-IS", DIE, str(step), node.genie]
    died = node.gc(("neighbour", "eth0"), program=program)
    node.gc(("neighbour", "eth0")).succeeded()
    assert node.phases(pod) == {}
    return died


@pytest.mark.parametrize(
    ("scenario", "least"),
    [
        pytest.param(_add_killed, 16, id="ADD"),
        pytest.param(_add_killed_then_added, 16, id="ADD, and a second ADD follows"),
        pytest.param(_second_add_killed, 20, id="a second ADD, after one that was killed"),
        pytest.param(_del_killed, 12, id="DEL"),
        pytest.param(_roll_back_killed, 18, id="the roll-back of an ADD that fails"),
        pytest.param(_gc_killed, 10, id="GC, and a second GC follows"),
    ],
)
def test_killed_at_every_step_boundary_of(
    node: Node, scenario: Callable[[Node, Container, int], Answer], least: int
) -> None:
    """The plugin is killed before each of its effects in turn; then DEL releases everything."""
    _neighbour(node)
    pod = node.container("pod")
    before = node.left(pod)
    for step in range(MOST_STEPS):
        died = scenario(node, pod, step)
        node.delete(pod, BOTH).succeeded()
        assert node.left(pod) == before, f"killed before effect {step}"
        if not died.killed:
            break
    assert least <= step < MOST_STEPS, f"the call had {step} effects"


KILL_PLUGIN = {
    "bridge": "kill -9 $PPID",
    "host-local": "read -r _ _ _ plugin _ </proc/$PPID/stat; kill -9 $plugin",  # bridge runs it
}


def _kills(plugin_type: str, command: str, interface: str, when: str) -> str:
    """Return a delegate that kills the plugin once, for this command and interface.

    The delegate continues as an orphan, and logs when it begins and ends.
    """
    how = KILL_PLUGIN[plugin_type]
    go_on = f"out=$($REAL/{plugin_type}); code=$?"
    chosen = f"{how}; sleep 0.2; {go_on}" if when == "before" else f"{go_on}; {how}; sleep 0.2"
    return f"""
echo "begin $CNI_COMMAND $CNI_IFNAME" >>$HERE/log
if [ "$CNI_COMMAND $CNI_IFNAME" = "{command} {interface}" ] && mkdir $HERE/killed 2>/dev/null
then {chosen}
else {go_on}
fi
echo "end $CNI_COMMAND $CNI_IFNAME" >>$HERE/log
printf %s "$out"
exit $code"""


COLUMNS = {
    "plugin_type": ("bridge", "host-local"),
    "when": ("before", "after"),
    "command": ("ADD", "DEL"),
    "interface": ("eth0", "net1"),
    "then": ("DEL", "second ADD"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Fill the table of five columns; without --full half of it, with every four columns' values.

    The last column follows from the parity of the others, so that any four of them are complete.
    """
    if set(COLUMNS) <= set(metafunc.fixturenames):
        rows = itertools.product((0, 1), repeat=len(COLUMNS))
        chosen = (row for row in rows if metafunc.config.getoption("--full") or sum(row) % 2 == 0)
        values = [
            [column[at] for column, at in zip(COLUMNS.values(), row, strict=True)] for row in chosen
        ]
        metafunc.parametrize(list(COLUMNS), values)


@pytest.mark.repeats
def test_killed_while_a_delegate_runs_which_then_goes_on(  # noqa: PLR0917 - a table of five columns
    node: Node, plugin_type: str, when: str, command: str, interface: str, then: str
) -> None:
    """The delegate outlives the plugin; the next call for the container waits for its end."""
    _neighbour(node)
    pod = node.container("pod")
    before = node.left(pod)
    if command == "DEL":
        node.add(pod, BOTH).succeeded()
    node.delegate(plugin_type, _kills(plugin_type, command, interface, when))
    assert node.call(command, pod, BOTH).killed
    if then == "second ADD":
        node.add(pod, BOTH)
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod) == before
    log = (node.folder / "log").read_text().splitlines()
    assert len(log) >= 4
    pairs = list(zip(log[::2], log[1::2], strict=True))
    assert all(end == begin.replace("begin", "end") for begin, end in pairs), "calls ran at once"


def test_killed_while_a_delegate_hangs_for_ever(node: Node) -> None:
    """The next call kills it after its deadline, and releases everything."""
    pod = node.container("pod")
    before = node.left(pod)
    noted = "until [ -s $HERE/state/pod.lock ]; do sleep 0.01; done"  # the plugin knows it now
    hang = f"{noted}; kill -9 $PPID; sleep 600; true"
    node.delegate("bridge", f'[ "$CNI_COMMAND" != ADD ] || {{ {hang}; }}\nexec $REAL/bridge')
    assert node.add(pod, BOTH, deadlineSeconds=2).killed
    node.delete(pod, BOTH, deadlineSeconds=1).failed(cni_errors.TRY_AGAIN)
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod).links == before.links
    assert node.processes() == []
    assert node.records() == {}


KILLS, FULL_KILLS = 40, 200
THREADS = 4


def _kill_at_random(node: Node, pod: Container, chance: random.Random, longest: float) -> bool:
    """Return whether the call was still running when it was killed."""
    command = chance.choice(["ADD", "ADD", "ADD", "DEL"])
    if command == "DEL":
        node.add(pod, BOTH).succeeded()
    running = node.begin(command, pod, BOTH)
    time.sleep(chance.uniform(0, longest))  # the random instant, not a wait for something
    running.kill()
    killed = running.answer().killed
    if chance.random() < 0.25:
        node.add(pod, BOTH)
    node.delete(pod, BOTH).succeeded()
    assert node.links(pod) == []
    assert node.phases(pod) == {}
    return killed


@pytest.mark.repeats
def test_killed_at_random_instants(
    node: Node, counted: Callable[[str], None], *, full: bool
) -> None:
    """DEL follows, sometimes after a second ADD; no address, interface or record remains."""
    kills = FULL_KILLS if full else KILLS
    _neighbour(node)
    pods = [node.container(f"pod{number}") for number in range(THREADS)]
    before = node.left(*pods)
    seed = time.time_ns()

    def work(number: int) -> int:
        pod, chance = pods[number], random.Random(f"{seed} {number}")  # noqa: S311 - instants
        longest = 1.2 * node.add(pod, BOTH).seconds
        node.delete(pod, BOTH).succeeded()
        killed = 0
        for _ in range(kills // THREADS):
            if _kill_at_random(node, pod, chance, longest):
                killed += 1
                longest *= 1.1
            else:
                longest *= 0.8  # it had ended: the machine is faster than it was
        return killed

    with ThreadPoolExecutor(THREADS) as threads:
        killed = sum(threads.map(work, range(THREADS)))
    assert node.left(*pods) == before, f"seed {seed}"
    assert killed > kills / 3, "most calls had ended before they were killed"
    counted(f"killed at {killed} instants, nothing left")


def test_the_runtime_may_end_before_it_reads_the_answer(node: Node) -> None:
    """If it has closed the pipe, ADD exits with 1, and DEL releases everything."""
    pod = node.container("pod")
    before = node.left(pod)
    running = node.begin("ADD", pod, BOTH)
    assert running.process.stdout is not None
    running.process.stdout.close()
    running.process.stdout = None
    assert running.answer().code == 1
    assert node.phases(pod) == {"eth0": "attached", "net1": "attached"}
    node.delete(pod, BOTH).succeeded()
    assert node.left(pod).links == before.links
    assert not any(node.left(pod).addresses.values())


def _steps(first: int, *, full: bool) -> range:
    return range(MOST_STEPS) if full else range(first, MOST_STEPS, SHORT_STRIDE)


PRODUCTS = "fails,appends@net1,replaces@net2"
LATER: dict[str, Any] = {"env": {"CNI_IFNAME": "eth7"}}


def _products(node: Node) -> None:
    """Install networks that all add default routes, each in another way."""
    for number, how in enumerate(("fails", "appends", "replaces", "skips"), 1):
        install_product(node, how, number, families=[4, 6], default=how)
    node.default = "fails"  # what a DEL without a record asks


@pytest.mark.repeats
def test_killed_while_the_default_routes_are_set_aside(node: Node, *, full: bool) -> None:
    """Killed before effects, including requests to the kernel; DEL releases everything."""
    _products(node)
    pod = node.container("pod")
    node.add(pod, PRODUCTS).succeeded()
    node.delete(pod).succeeded()
    before = node.left(pod)
    for step in _steps(0, full=full):
        program = ["/usr/bin/python3", "-IS", DIE, str(step), node.genie]
        died = node.add(pod, PRODUCTS, program=program)
        node.delete(pod, PRODUCTS).succeeded()
        assert node.left(pod) == before, f"killed before effect {step}"
        if not died.killed:
            break
    assert 30 <= step < MOST_STEPS, f"the call had {step} effects"


@pytest.mark.repeats
def test_killed_while_the_default_routes_of_an_earlier_call_are_set_aside(
    node: Node, *, full: bool
) -> None:
    """The pod has an attachment already; DEL of the later call restores its routes."""
    _products(node)
    pod = node.container("pod")
    node.add(pod, "skips").succeeded()
    alone = default_routes(node, pod)
    assert "default" in alone
    before = node.left(pod)
    for step in _steps(2, full=full):
        program = ["/usr/bin/python3", "-IS", DIE, str(step), node.genie]
        died = node.add(pod, PRODUCTS, program=program, **LATER)
        node.delete(pod, PRODUCTS, **LATER).succeeded()
        assert default_routes(node, pod) == alone, f"killed before effect {step}"
        left = node.left(pod)
        held = {name: addresses for name, addresses in left.addresses.items() if addresses}
        assert held == before.addresses, f"killed before effect {step}"
        assert left.links == before.links, f"killed before effect {step}"
        if not died.killed:
            break
    assert 30 <= step < MOST_STEPS, f"the call had {step} effects"
    node.delete(pod).succeeded()
    assert not any(node.left(pod).addresses.values())
    assert node.records() == {}
