"""A webhook that only the API server may call, configured as docs/certificates.md shows."""

from __future__ import annotations

import os
import re
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml

from tests.cluster.support.admission import own_cluster
from tests.cluster.support.outside_webhook import running_webhook
from tests.devcluster.build.imagebuild import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

KUBECONFIG = "/etc/kubernetes/genie-webhook.kubeconfig"
PKI = "/etc/kubernetes/pki/genie-webhook-client"


def documented() -> dict[str, Any]:
    """Return the two files on the page, by kind."""
    page = (PROJECT / "docs/certificates.md").read_text()
    blocks = re.findall(r"^   ```yaml\n(.*?)^   ```$", page, re.MULTILINE | re.DOTALL)
    return {one["kind"]: one for one in map(yaml.safe_load, blocks)}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give the CA of the clients."""
    return trustme.CA()


@pytest.fixture(scope="module")
def guarded(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give an API server with a client certificate, and a webhook that requires one."""
    folder = tmp_path_factory.mktemp("client-ca")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    with own_cluster("client-ca") as cluster:
        configure_client(cluster, folder, authority.issue_cert("api-server"))
        with running_webhook(
            cluster, GENIE_CERTS_CLIENT_CA=os.fspath(folder / "ca.crt"), GENIE_NETWORKS="weave"
        ):
            yield cluster


def configure_client(cluster: Cluster, folder: Path, client: trustme.LeafCert) -> None:
    """Restart the API server so that it presents *client* to the webhook."""
    client.cert_chain_pems[0].write_to_path(folder / "client.crt")
    client.private_key_pem.write_to_path(folder / "client.key")
    for kind, content in documented().items():
        text = yaml.safe_dump(content).replace(KUBECONFIG, os.fspath(folder / "Config"))
        (folder / kind).write_text(text.replace(PKI, os.fspath(folder / "client")))
    server = cluster.control_plane.services["kube-apiserver"]
    cluster.control_plane.stop("kube-apiserver")
    server.argv.append(f"--admission-control-config-file={folder / 'AdmissionConfiguration'}")
    cluster.control_plane.start("kube-apiserver")


def test_only_the_api_server_is_answered(guarded: Cluster, authority: trustme.CA) -> None:
    """A pod gets the webhook's own message; a client without a certificate gets no answer."""
    run = ("run", "web", "--image=nginx:latest", "--annotations=cni=wave", "--dry-run=server")
    assert 'did you mean "weave"?' in guarded.kubectl(*run, check=False).stderr
    (slice_,) = guarded.get("endpointslices", "-n", "genie-system")["items"]
    address, port = slice_["endpoints"][0]["addresses"][0], slice_["ports"][0]["port"]
    stranger, friend = ssl.create_default_context(), ssl.create_default_context()
    for context in (stranger, friend):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    authority.issue_cert("another-api-server").configure_cert(friend)
    assert answer_to(stranger, f"https://{address}:{port}/pods") == "none"
    assert answer_to(friend, f"https://{address}:{port}/pods") == "HTTP 415"


def answer_to(context: ssl.SSLContext, url: str) -> str:
    """Send a body that is not a review; return the status of the answer."""
    try:
        with urllib.request.urlopen(url, b"?", 5, context=context) as answer:  # noqa: S310 - https
            return f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except OSError:
        return "none"
