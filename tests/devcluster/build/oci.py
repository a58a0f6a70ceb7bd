"""Write container images of one layer as OCI archives, for `ctr images import`."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Names of architectures in images, by the kernel's names."""


def write_image(archive: Path, name: str, program: Path, *, ports: Sequence[str] = ()) -> None:
    """Write an image that contains and runs one static program.

    `name` is the full reference; `ports`, like "80/tcp", only document the image.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, program.name, program.read_bytes(), mode=0o755)
    config = _blob(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {
                "Entrypoint": [f"/{program.name}"],
                "ExposedPorts": {port: {} for port in ports},
                "Env": ["PATH=/"],
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
        }
    )
    media_type = "application/vnd.oci.image"
    manifest = _blob(
        {
            "schemaVersion": 2,
            "mediaType": f"{media_type}.manifest.v1+json",
            "config": _descriptor(f"{media_type}.config.v1+json", config),
            "layers": [_descriptor(f"{media_type}.layer.v1.tar", layer.getvalue())],
        }
    )
    named = {
        **_descriptor(f"{media_type}.manifest.v1+json", manifest),
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name,
        },
    }
    index = {"schemaVersion": 2, "mediaType": f"{media_type}.index.v1+json", "manifests": [named]}
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", _blob({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _blob(index))
        for blob in (layer.getvalue(), config, manifest):
            _add(tar, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _blob(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))
