"""Whole replicas that serve certificates from mounted files."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from certs.authority import to_pem
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import Api, configuration, fail
from tests.unit.certs.builders import (
    MUTATING,
    SECRET,
    ca_bundle,
    make_manager,
    make_own_leaf,
    served_certificate,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_mounted_files_are_served_and_published(api: Api, tmp_path: Path) -> None:
    """No Secret is read; a new leaf waits until the bundles have covered it for a minute."""
    one, other = make_own_leaf(), make_own_leaf()
    assert one.ca
    assert other.ca
    manager = make_manager(api, directory=tmp_path)
    assert manager.reconcile()
    assert "usable files" in manager.reason()
    write_files(tmp_path, one, to_pem(one.ca))
    assert manager.reconcile()
    assert served_certificate(manager) == one.certificate
    assert SECRET not in api.objects
    api.seconds = 100
    write_files(tmp_path, other, to_pem(other.ca))
    manager.reconcile()
    assert served_certificate(manager) == one.certificate
    api.seconds = 161
    manager.reconcile()
    assert served_certificate(manager) == other.certificate


def test_files_that_alone_are_trusted_are_served_at_once(api: Api, tmp_path: Path) -> None:
    """Another program replaced every bundle: waiting would only prolong the failure."""
    one, other = make_own_leaf(), make_own_leaf()
    manager = make_manager(api, directory=tmp_path, write_bundles=False)
    for pair in (one, other):
        assert pair.ca
        write_files(tmp_path, pair)
        trusted = b64encode(to_pem(pair.ca)).decode()
        api.store(MUTATING, configuration("cni-genie", "a", bundle=trusted))
        manager.reconcile()
        assert served_certificate(manager) == pair.certificate


def test_a_volume_is_read_in_one_version(api: Api, tmp_path: Path) -> None:
    """When kubelet renames ``..data``; with a key of another certificate, the old leaf stays."""
    one, other = make_own_leaf(), make_own_leaf()
    for name, pair in (("v1", one), ("v2", other)):
        (tmp_path / name).mkdir()
        write_files(tmp_path / name, pair)
    link = tmp_path / "..data"
    link.symlink_to("v1")
    manager = make_manager(api, directory=tmp_path, write_bundles=False)
    manager.reconcile()
    assert served_certificate(manager) == one.certificate
    assert ca_bundle(api) is None
    (tmp_path / "v2" / "tls.key").write_bytes(one.key_pem)
    link.unlink()
    link.symlink_to("v2")
    manager.reconcile()
    assert served_certificate(manager) == one.certificate
    write_files(tmp_path / "v2", other)
    manager.reconcile()
    assert served_certificate(manager) == other.certificate
    (tmp_path / "v2" / "tls.crt").write_bytes(b"x")
    manager.reconcile()
    assert served_certificate(manager) == other.certificate


def test_files_are_served_without_an_api_server(api: Api, tmp_path: Path) -> None:
    """The first leaf is served at once; a valid one stays."""
    api.before = fail(KubeError(0, "NoAnswer", "no answer"))
    manager = make_manager(api, directory=tmp_path)
    manager.reconcile()
    assert served_certificate(manager) is None
    one = make_own_leaf()
    write_files(tmp_path, one)
    manager.reconcile()
    assert served_certificate(manager) == one.certificate
    manager.reconcile()
