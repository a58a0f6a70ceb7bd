"""What `make demo` does when something is wrong. All parts of the cluster are fakes.

Where all is well, the real demo shows more than a test could.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any
from unittest import mock

import pytest

from tests import demo
from tests.devcluster.cluster import reserved
from tests.devcluster.commands import ClusterError


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Replace what touches the machine; `calls` tells in which order it was used."""
    fakes = mock.Mock()
    # The reservation of a name holds against other processes, which may run these tests as well.
    monkeypatch.setattr(demo, "NAME", f"genie-unit-demo-{os.getpid()}")
    monkeypatch.setattr(demo, "Cluster", fakes.Cluster)
    for name in ("install_genie", "show_pods", "show_refusal", "take_down"):
        monkeypatch.setattr(demo, name, getattr(fakes, name))
    return fakes


def calls(parts: mock.Mock) -> list[str]:
    return [call[0] for call in parts.mock_calls]


def test_the_cluster_is_taken_down_in_the_end(
    parts: mock.Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a newcomer is told how to go on."""
    assert demo.main() == 0
    steps = ["Cluster.up", "install_genie", "show_pods", "show_refusal", "take_down"]
    assert calls(parts) == steps
    assert "To try more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ClusterError("no pod came up"), (1, "The demo failed: no pod came up")),
        (OSError("disk full"), (1, "The demo failed: disk full")),
        (KeyboardInterrupt(), (130, "interrupted; the cluster was taken down.")),
    ],
    ids=["a part that fails", "a machine that fails", "Ctrl-C"],
)
@pytest.mark.parametrize("part", ["install_genie", "show_pods", "show_refusal"])
def test_what_goes_wrong_is_said_and_the_cluster_is_taken_down_all_the_same(
    parts: mock.Mock,
    capsys: pytest.CaptureFixture[str],
    part: str,
    error: BaseException,
    outcome: tuple[int, str],
) -> None:
    """Whatever part it was; the exit code tells a script."""
    getattr(parts, part).side_effect = error
    assert demo.main() == outcome[0]
    assert calls(parts)[-2:] == [part, "take_down"]
    written = capsys.readouterr()
    assert outcome[1] in written.err
    assert "To try more" not in written.out


def test_a_second_demo_is_refused_and_leaves_the_first_ones_cluster_alone(
    parts: mock.Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither started nor taken down."""
    with reserved(demo.NAME):
        assert demo.main() == 1
    assert calls(parts) == []
    assert "in use by another demo or test run" in capsys.readouterr().err


def done(returncode: int) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], returncode, "pod/x created", "The Pod is invalid: did")


def test_a_pod_that_should_be_refused_and_is_not_fails_the_demo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its message is what the demo shows; without one there is nothing to show."""
    cluster: Any = mock.Mock()
    cluster.kubectl.return_value = done(1)
    demo.show_refusal(cluster)
    assert capsys.readouterr().out.endswith("The Pod is invalid: did\n")
    cluster.kubectl.return_value = done(0)
    with pytest.raises(ClusterError, match="was admitted, but must be refused"):
        demo.show_refusal(cluster)


def test_the_table_has_its_columns_below_each_other() -> None:
    """As wide as their widest cell, without spaces at the ends of lines."""
    assert demo.table([("POD", "IP"), ("nginx", "10.0.0.1"), ("a", "")]) == (
        "POD    IP\nnginx  10.0.0.1\na"
    )
