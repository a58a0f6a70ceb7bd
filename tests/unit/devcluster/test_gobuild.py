import re
from pathlib import Path

import pytest

from tests.devcluster.build.gobuild import (
    ACTIONLINT,
    CNITOOL,
    ETCD,
    HELM,
    KUBERNETES,
    KUBERNETES_OLDEST,
    NEEDED,
    PROMTOOL,
    THIRD_PARTY,
    ProgramSet,
    assets,
    needed,
    pinned_version,
    tool_packages,
)
from tests.devcluster.commands import ClusterError

SETS = (*NEEDED, KUBERNETES_OLDEST, *THIRD_PARTY, HELM, PROMTOOL, ACTIONLINT)
GO_MOD = """\
module cluster.test/example

tool example.org/only/one

tool (
	example.org/a/cmd/b
	example.org/c
)

require example.org/single v1.2.3

require (
	example.org/a v0.4.0 // indirect
	example.org/a/longer v9.9.9 // indirect
)
"""


def test_tools_are_read_from_lines_and_blocks() -> None:
    """Both forms that `go get -tool` writes."""
    expected = ["example.org/only/one", "example.org/a/cmd/b", "example.org/c"]
    assert tool_packages(GO_MOD) == expected


@pytest.mark.parametrize(
    ("module", "version"), [("example.org/single", "1.2.3"), ("example.org/a", "0.4.0")]
)
def test_the_pinned_version_is_the_required_one(module: str, version: str) -> None:
    """Of exactly that module, in a line or in a block."""
    assert pinned_version(GO_MOD, module) == version


def test_a_module_that_is_not_required_has_no_version() -> None:
    """The error names it."""
    with pytest.raises(ValueError, match=r"example\.org/none"):
        pinned_version(GO_MOD, "example.org/none")


@pytest.mark.parametrize("programs", SETS, ids=lambda programs: programs.name)
def test_every_set_pins_its_module_and_names_no_registry(programs: ProgramSet) -> None:
    """go.mod and go.sum are there, and say nothing of where modules come from."""
    assert programs.version
    assert tool_packages((programs.folder / "go.mod").read_text())
    for name in ("go.mod", "go.sum"):
        text = (programs.folder / name).read_text()
        assert not re.search(r"(https?|file)://", text)  # a checksum may have the slashes


def test_kubernetes_reports_its_version() -> None:
    """Client and components read it from two packages."""
    flags = " ".join(KUBERNETES.flags)
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        assert f"-X {package}.gitVersion=v{KUBERNETES.version}" in flags
    assert "gitVersion" not in " ".join(CNITOOL.flags)


def test_the_oldest_api_server_is_the_oldest_supported() -> None:
    """1.34, as the documentation says."""
    assert KUBERNETES_OLDEST.version.startswith("1.34.")


def test_what_is_supplied_is_not_built() -> None:
    """The set etcd has one program; the other two come with Kubernetes."""
    supplied = {"kube-apiserver", "etcd", "kubectl"}
    assert needed(()) == list(NEEDED)
    assert set(NEEDED) - set(needed(supplied)) == {ETCD}
    assert NEEDED[-1] is KUBERNETES  # which takes the longest


def test_kubebuilder_assets_supply_three_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the variable is not set, none."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    assert assets() == {}
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(ClusterError, match=r"program .*kube-apiserver not found"):
        assets()
    for name in ("kube-apiserver", "etcd", "kubectl"):
        (tmp_path / name).touch(mode=0o755)
    assert assets() == {name: tmp_path / name for name in ("kube-apiserver", "etcd", "kubectl")}
