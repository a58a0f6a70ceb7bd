"""Build the project's image from its Dockerfile with buildah.

No registry is used, unless the caller chooses another base: the default base is Debian with Python,
installed by debootstrap from the mirror of the machine's apt. buildah keeps its storage in the
cache, separate from images of the machine.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devcluster.build import pipconf
from tests.devcluster.build.cache import cache_folder, cached, digest, digest_files, is_cached
from tests.devcluster.build.oci import pack_layout
from tests.devcluster.commands import ClusterError, CommandError, run, step
from tests.devcluster.machine import update_lists

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

GENIE_IMAGE = "localhost/cni-genie"
"""The name of the project's image; its tag follows its content, see `image_name`."""

SUITE = "bookworm"
PROJECT = Path(__file__).parents[3]

_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
_REMOVED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)
_POLICY = Path(__file__).with_name("images") / "policy.json"
_FORMAT = "2"  # version of the archive's format: part of the cache key
_MOST_LAYERS = 100  # in buildah's storage: about 4 GB
_BASE_DOCKERFILE = """\
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["python3"]
"""


def build_genie(context: Path = PROJECT, *, build_args: Mapping[str, str] | None = None) -> Path:
    """Build the Dockerfile of a folder; return the path of the image archive, for `ctr`.

    `image_name` gives the name of the image in the archive.

    Without a change of the base, the build arguments or the context, the cached archive is
    returned. Raises ClusterError with the last lines of the output if the build fails.
    """
    args = {"BASE_IMAGE": base_image_name(), **(build_args or {})}
    with _snapshot(context) as snapshot:
        content = digest_files(snapshot, (file for file in snapshot.rglob("*") if file.is_file()))
        inputs = [f"{arg}={value}" for arg, value in sorted(args.items())]
        key = digest([_FORMAT, content, GENIE_IMAGE, *inputs])
        name = _name(key)
        folder = cached("images/genie", key, functools.partial(_make_image, snapshot, name, args))
    return folder / "image.tar"


def image_name(archive: Path) -> str:
    """Return the name of the image in an archive that `build_genie` returned.

    Its tag changes with the content, so that a changed image replaces the pods of the old one.
    """
    return _name(archive.parent.name)


def _name(key: str) -> str:
    return f"{GENIE_IMAGE}:{key}"


def build_anew(folder: Path, context: Path = PROJECT) -> Path:
    """Build the Dockerfile into a folder without any cache, except for the base image."""
    args = {"BASE_IMAGE": base_image_name()}
    with _snapshot(context) as snapshot:
        _make_image(snapshot, f"{GENIE_IMAGE}:anew", args, folder, anew=True)
    return folder / "image.tar"


@contextlib.contextmanager
def _snapshot(context: Path) -> Iterator[Path]:
    """Yield a copy of a build context, since the tree may change during the build."""
    with tempfile.TemporaryDirectory() as scratch:
        for file in [context / "Dockerfile", context / ".dockerignore", *context_files(context)]:
            copy = Path(scratch) / file.relative_to(context)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        yield Path(scratch)


def _make_image(
    context: Path, name: str, args: Mapping[str, str], folder: Path, *, anew: bool = False
) -> None:
    _forget_old_layers()
    # One time for every build: buildah takes layers from earlier builds whatever time they have.
    options = [*_pip_mounts(folder), "--timestamp=0", "--identity-label=false"]
    if anew:
        options.append("--no-cache")
    if args["BASE_IMAGE"] == base_image_name():
        _ensure_base_image()
        options.append("--pull-never")
    with step(f"building image {name}"):
        _build_dockerfile(context, name, args, options)
        (folder / "pip.conf").unlink()
        layout = folder / "oci"
        _buildah("push", f"--signature-policy={_POLICY}", name, f"oci:{layout}")
        pack_layout(layout, folder / "image.tar", name)
        shutil.rmtree(layout)


def _forget_old_layers() -> None:
    """Empty buildah's storage after many builds; needed layers are built again."""
    if len(_buildah("images", "--all", "--quiet").stdout.split()) > _MOST_LAYERS:
        _buildah("rmi", "--all", "--force")


def base_image_name() -> str:
    """Return the name of the local base image, which contains a digest of its inputs."""
    return f"localhost/genie-base:{SUITE}-{_base_key()}"


def _base_key() -> str:
    return digest([SUITE, *_PACKAGES, *_REMOVED, _BASE_DOCKERFILE])


def base_files() -> Path:
    """Return the folder with the base image's files; build them if they are not cached."""
    return cached("images/base", _base_key(), _make_base, keep=1)


def check_base() -> None:
    """Raise ClusterError if the base image must be built and apt knows no Debian archive."""
    if not is_cached("images/base", _base_key()):
        debian_mirror()


def _ensure_base_image() -> None:
    name = base_image_name()
    if _buildah("images", "--quiet", name, check=False).returncode != 0:
        with step(f"building image {name}"):
            _build_dockerfile(base_files(), name, {}, ["--pull-never"])


def context_files(context: Path) -> list[Path]:
    """Return the files of a build context, according to its .dockerignore.

    The ignore file must begin with `*`; then `!path` includes a path, and `**/name` excludes names.
    Raises ClusterError for any other pattern.
    """
    lines = (context / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    roots = [context / p.removeprefix("!") for p in patterns if p.startswith("!")]
    excluded = [p.removeprefix("**/") for p in patterns if p.startswith("**/")]
    if patterns[:1] != ["*"] or len(patterns) != 1 + len(roots) + len(excluded):
        raise ClusterError(
            f"{context / '.dockerignore'} has a pattern that this tool does not support:"
            " use * first, then !PATH and **/NAME"
        )
    paths = [f for root in roots for f in ([root] if root.is_file() else root.rglob("*"))]
    return sorted(path for path in paths if path.is_file() and not _is_excluded(path, excluded))


def _is_excluded(path: Path, names: list[str]) -> bool:
    return any(fnmatch.fnmatch(part, name) for part in path.parts for name in names)


def _make_base(folder: Path) -> None:
    root = folder / "root"
    with step(f"installing Debian {SUITE} for the base image, with debootstrap"):
        _run_isolated("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}",
               SUITE, os.fspath(root), debian_mirror())  # fmt: skip
    for folder_name in _REMOVED:
        shutil.rmtree(root / folder_name, ignore_errors=True)
    run(["tar", "--numeric-owner", "-cf", folder / "root.tar", "-C", root, "."])
    shutil.rmtree(root)
    (folder / "Dockerfile").write_text(_BASE_DOCKERFILE)


def debian_mirror() -> str:
    """Return the URL of the Debian archive that the machine's apt uses."""
    mirrors = _mirrors()
    if not mirrors:  # apt reads this from its lists, which may not exist yet
        update_lists()
        mirrors = _mirrors()
    if mirrors:
        return mirrors[0]
    raise ClusterError(
        "apt knows no Debian archive: add one to /etc/apt/sources.list or /etc/apt/sources.list.d"
    )


def _mirrors() -> list[str]:
    targets = run(
        ["apt-get", "indextargets", "--format=$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)"]
    )
    lines = targets.stdout.splitlines()
    return [line.split()[0] for line in lines if line.endswith(" Debian Debian main")]


def _pip_mounts(folder: Path) -> list[str]:
    configuration = pipconf.machine_configuration(os.environ)
    (folder / "pip.conf").write_text(configuration)
    return [
        f"--volume={folder}/pip.conf:/etc/pip.conf:ro",
        *(f"--volume={path}:{path}:ro" for path in pipconf.mounted_paths(configuration)),
    ]


def _build_dockerfile(
    context: Path, name: str, args: Mapping[str, str], options: list[str]
) -> None:
    """Build a Dockerfile; buildah passes the proxy variables of the environment on."""
    arguments = [f"--build-arg={arg}={value}" for arg, value in args.items()]
    _buildah("bud", "--isolation=chroot", "--network=host", "--layers",
             f"--signature-policy={_POLICY}", *arguments, *options, "-t", name,
             os.fspath(context))  # fmt: skip


def _buildah(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    home = cache_folder() / "buildah"
    storage = [f"--root={home}/root", f"--runroot={home}/run", "--storage-driver=overlay"]
    return _run_isolated("buildah", *storage, *args, check=check)


def _run_isolated(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program whose mounts the machine does not see, and which ends when the tool ends."""
    isolated = ["unshare", "--mount", "setpriv", "--pdeathsig", "TERM", *command]
    try:
        return run(isolated, check=check)
    except CommandError as error:
        raise ClusterError(f"{command[0]} failed: {error}") from error
