"""The configuration of Multus' daemon on a node, from the published one for a container."""

from __future__ import annotations

from tests.devcluster.network.multus_daemon import settings


def test_the_daemon_has_the_hosts_paths_and_does_not_change_its_root() -> None:
    """The default network has its name, and names mean networks of the node."""
    published = {
        "chrootDir": "/hostroot",
        "cniVersion": "0.3.1",
        "logToStderr": True,
        "cniConfigDir": "/host/etc/cni/net.d",
        "socketDir": "/host/run/multus/",
    }
    assert settings(published, "canal") == {
        "cniVersion": "0.3.1",
        "logToStderr": True,
        "cniConfigDir": "/etc/cni/net.d",
        "socketDir": "/run/multus/",
        "confDir": "/etc/cni/net.d",
        "clusterNetwork": "canal",
    }
