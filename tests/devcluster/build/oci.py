"""Write container images as OCI archives, for `ctr images import`.

An archive depends on nothing but the image and its name: entries are in order of their names, and
have no time and no owner.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Names of architectures in images, by the kernel's names."""


def write_image(
    archive: Path,
    name: str,
    program: Path,
    *,
    ports: Sequence[str] = (),
    others: Mapping[str, Path] = MappingProxyType({}),
) -> None:
    """Write an image that contains and runs one static program.

    `name` is the full reference; `ports`, like "80/tcp", only document the image; `others` are
    further programs, by their paths in the image.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path, file in {program.name: program, **others}.items():
            _add(tar, path, file.read_bytes(), mode=0o755)
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
    descriptor = _descriptor(f"{media_type}.manifest.v1+json", manifest)
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", _blob({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _index(descriptor, name))
        for blob in (layer.getvalue(), config, manifest):
            _add(tar, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)


def pack_layout(layout: Path, archive: Path, name: str) -> None:
    """Write an OCI layout of one image, a folder, as an archive that calls the image `name`."""
    [descriptor] = json.loads((layout / "index.json").read_text())["manifests"]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", (layout / "oci-layout").read_bytes())
        _add(tar, "index.json", _index(descriptor, name))
        for file in sorted((layout / "blobs" / "sha256").iterdir()):
            entry = tarfile.TarInfo(f"blobs/sha256/{file.name}")
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                tar.addfile(entry, content)


def label_image(source: Path, archive: Path, name: str, labels: Mapping[str, str]) -> None:
    """Copy an archive, add labels to its image, and call it `name`; its layers stay.

    A node that imports the archive also knows the image by its digest, as REPOSITORY@DIGEST:
    `ctr images import --digests` would take the digest of the archive's index.
    """
    with tarfile.open(source) as old, tarfile.open(archive, "w") as tar:
        descriptor = _descriptor_of(old)
        manifest_name = _blob_name(descriptor["digest"])
        manifest = json.load(_member(old, manifest_name))
        config_name = _blob_name(manifest["config"]["digest"])
        config = json.load(_member(old, config_name))

        config["config"]["Labels"] = {**(config["config"].get("Labels") or {}), **labels}
        new_config = _blob(config)
        manifest["config"] = _descriptor(manifest["config"]["mediaType"], new_config)
        new_manifest = _blob(manifest)
        descriptor = _descriptor(descriptor["mediaType"], new_manifest)

        repository = name.rpartition(":")[0]
        by_digest = f"{repository}@{descriptor['digest']}"
        _add(tar, "index.json", _index(descriptor, name, by_digest))
        for blob in (new_config, new_manifest):
            _add(tar, _blob_name(_digest(blob)), blob)
        for member in old:
            if member.name not in ("index.json", manifest_name, config_name):
                tar.addfile(member, old.extractfile(member))


def image_digest(archive: Path) -> str:
    """Return the digest by which a registry and a node know the image of an archive."""
    with tarfile.open(archive) as tar:
        return str(_descriptor_of(tar)["digest"])


def image_config(archive: Path) -> dict[str, Any]:
    """Return the configuration of the image of an archive: labels, user, command."""
    with tarfile.open(archive) as tar:
        manifest = json.load(_member(tar, _blob_name(image_digest(archive))))
        config: dict[str, Any] = json.load(_member(tar, _blob_name(manifest["config"]["digest"])))
    return config


def image_files(archive: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield each file of each layer with its layer, lowest layer first."""
    with tarfile.open(archive) as tar:
        manifest = json.load(_member(tar, _blob_name(image_digest(archive))))
        for each in manifest["layers"]:
            with tarfile.open(fileobj=_member(tar, _blob_name(each["digest"]))) as layer:
                for member in layer:
                    yield layer, member


def _index(descriptor: dict[str, Any], *names: str) -> bytes:
    """Return the index of an archive with one image, under several names."""
    return _blob(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    **descriptor,
                    "annotations": {
                        "io.containerd.image.name": name,
                        "org.opencontainers.image.ref.name": name,
                    },
                }
                for name in names
            ],
        }
    )


def _descriptor_of(archive: tarfile.TarFile) -> dict[str, Any]:
    """Return the descriptor of the image of an archive, whatever its names."""
    descriptor: dict[str, Any] = json.load(_member(archive, "index.json"))["manifests"][0]
    return descriptor


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


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
