from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.rows import NETWORK_COLUMNS, POD_COLUMNS
from cli.table import Column, lay_out
from tests.unit.kubectl_genie.builders import pod

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

PODS = [
    (
        "shop",
        "checkout-6c9d8f7b5d-x2x9z",
        "weave,canal",
        ("weave@eth0=10.32.0.12", "canal@eth1=10.244.1.117"),
        "worker-1.eu-central-1.example",
        "",
    ),
    (
        "monitoring",
        "prometheus-kube-prometheus-stack-prometheus-0",
        "",
        ("canal@eth0=10.244.1.3",),
        "worker-1.eu-central-1.example",
        "",
    ),
    (
        "shop",
        "importer-28547340-8kqzv",
        "canal,weave@net1",
        (),
        "worker-2.eu-central-1.example",
        "not attached yet: canal, weave; kubectl describe pod shows the Events",
    ),
]

ALL_PODS_80 = """\
NAMESPACE   POD                                            ATTACHED
shop        checkout-6c9d8f7b5d-x2x9z                      weave@eth0=10.32.0.12
                                                           canal@eth1=10.244.1.117
monitoring  prometheus-kube-prometheus-stack-prometheus-0  canal@eth0=10.244.1.3
shop        importer-28547340-8kqzv
    not attached yet: canal, weave; kubectl describe pod shows the Events
"""

PODS_100 = """\
POD                                            ASKED FOR         ATTACHED
checkout-6c9d8f7b5d-x2x9z                      weave,canal       weave@eth0=10.32.0.12
                                                                 canal@eth1=10.244.1.117
prometheus-kube-prometheus-stack-prometheus-0                    canal@eth0=10.244.1.3
importer-28547340-8kqzv                        canal,weave@net1
    not attached yet: canal, weave; kubectl describe pod shows the Events
"""

NETWORKS = [
    ("canal", "212/212", "the cluster", "calico,portmap,bandwidth", ""),
    (
        "weave-production-eu",
        "198/212",
        "shop, checkout, warehouse and 4 more",
        "weave-net,portmap",
        (
            "not attachable on worker-17.example, worker-18.example, worker-44.example; "
            "no configuration on worker-1.example, worker-2.example, worker-3.example and 8 more"
        ),
    ),
]

NETWORKS_80 = """\
NETWORK              READY    DEFAULT OF                PLUGINS
canal                212/212  the cluster               calico,portmap,bandwidth
weave-production-eu  198/212  shop, checkout,           weave-net,portmap
                              warehouse and 4 more
    not attachable on worker-17.example, worker-18.example, worker-44.example;
    no configuration on worker-1.example, worker-2.example, worker-3.example and
    8 more
"""


@pytest.mark.parametrize(
    ("columns", "rows", "width", "expected", "omitted"),
    [
        pytest.param(
            POD_COLUMNS, PODS, 80, ALL_PODS_80, ("NODE", "ASKED FOR"), id="pods -A at 80 columns"
        ),
        pytest.param(
            POD_COLUMNS[1:],
            [row[1:] for row in PODS],
            100,
            PODS_100,
            ("NODE",),
            id="pods at 100 columns",
        ),
        pytest.param(NETWORK_COLUMNS, NETWORKS, 80, NETWORKS_80, (), id="networks at 80 columns"),
    ],
)
def test_a_narrow_table_keeps_names_whole_and_puts_sentences_below(
    columns: tuple[Column, ...],
    rows: list[tuple[str | tuple[str, ...], ...]],
    width: int,
    expected: str,
    omitted: tuple[str, ...],
) -> None:
    """The whole text, with names as long as those of real clusters."""
    layout = lay_out(columns, rows, width)
    assert "\n".join((layout.head, *layout.lines, "")) == expected
    assert layout.omitted == omitted


def test_a_wide_table_has_a_line_for_each_attachment_and_every_column() -> None:
    """Nothing is folded where there is room."""
    layout = lay_out(POD_COLUMNS, PODS, 300)
    assert layout.omitted == ()
    assert len(layout.lines) == sum(max(1, len(row[3])) for row in PODS)


def test_a_table_without_rows_is_its_head() -> None:
    """Whoever prints it says more."""
    assert lay_out(POD_COLUMNS, [], 80).head.split() == [
        word for column in POD_COLUMNS for word in column.name.split()
    ]


WORDS = st.text(alphabet="abcxyz019-._@=:", min_size=1, max_size=40)
CELLS = st.lists(WORDS, max_size=6).flatmap(
    lambda words: st.sampled_from([" ", ",", ", "]).map(lambda between: between.join(words))
)


@given(st.lists(st.tuples(WORDS, CELLS, st.lists(CELLS, max_size=3), CELLS), max_size=4), st.data())
def test_no_word_is_broken_and_nothing_is_lost_but_the_columns_that_are_named(
    rows: list[tuple[str, str, list[str], str]], data: st.DataObject
) -> None:
    """A line is too wide only if all that may be folded, moved or left out was."""
    width = data.draw(st.integers(10, 120))
    columns = (Column("A"), Column("B", rank=1), Column("C"), Column("D", is_sentence=True))
    layout = lay_out(columns, [(a, b, tuple(c), d) for a, b, c, d in rows], width)
    text = "\n".join(layout.lines)
    for a, b, c, d in rows:
        cells = [a, *c, d] if "B" in layout.omitted else [a, b, *c, d]
        for word in re.findall(r"[^ ,]+,?", " ".join(cells)):
            assert word in text
    assert layout.omitted in {(), ("B",)}
    if layout.omitted == () and len(layout.head.split()) == len(columns):
        assert max(map(len, layout.lines), default=0) <= width


def test_columns_that_are_left_out_are_named(run: Callable[..., Result]) -> None:
    """On standard error, with what has them all."""
    pods = [pod(f"{'a-long-name-' * 4}{n}", "weave", {"weave": "eth0"}) for n in range(2)]
    result = run("pods", "-A", objects={"/api/v1/pods": pods})
    assert "ASKED FOR" not in result.stdout
    assert result.stderr == (
        "note: NODE and ASKED FOR left out: the terminal is too narrow (--output yaml has all)\n"
    )
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == [
        each["metadata"]["name"] for each in pods
    ]
