from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.kube.removal_report import (
    MAX_BYTES,
    MAX_PODS,
    MAX_SUCCESSORS,
    MAX_VERSION,
    RemovalReport,
    decode,
    encode,
)

NAMES = st.text("abcz019.-/", min_size=1, max_size=317)
COUNTS = st.integers(0, 10_000)
REPORTS = st.builds(
    RemovalReport,
    st.sampled_from(["install", "disable", "remove", "remove --force"]),
    st.sets(st.text("abcz019.-", min_size=1, max_size=63), max_size=MAX_SUCCESSORS).map(
        lambda names: tuple(sorted(names))
    ),
    st.lists(NAMES, max_size=MAX_PODS, unique=True).map(tuple),
    COUNTS,
    COUNTS,
    st.text("v0123456789.-+abc", max_size=MAX_VERSION),
)


@given(REPORTS)
def test_a_report_survives_its_text(report: RemovalReport) -> None:
    """Within the limit that the policy of the API server has."""
    text = encode(report)
    assert len(text.encode()) <= MAX_BYTES
    assert decode(text) == report


@given(st.text(max_size=60))
def test_any_text_is_decoded(text: str) -> None:
    """A Node's owner may write anything; only an empty text is no report."""
    assert (decode(text) is None) == (text == "")


def test_a_text_over_the_limit_is_no_report() -> None:
    """The agent writes none."""
    assert decode("mode=install;next=" + "x" * MAX_BYTES) is None


def test_pods_beyond_the_limit_are_counted() -> None:
    """Those with an unusual name, too."""
    pods = (*(f"shop/p{n}" for n in range(MAX_PODS + 2)), "a;b")
    actual = decode(encode(RemovalReport("remove", (), pods, more_pods=1)))
    assert actual is not None
    assert (actual.pods, actual.more_pods) == (pods[:MAX_PODS], 4)


def test_the_text_is_readable() -> None:
    """With kubectl describe node."""
    report = RemovalReport("remove", ("k8s-pod-network", "canal"), ("shop/web",), 2, 1, "0.1.0-ab")
    expected = "mode=remove;next=canal,k8s-pod-network;plugin=0.1.0-ab;pods=shop/web;more=2;ended=1"
    assert encode(report) == expected
    assert encode(RemovalReport("install")) == "mode=install"
