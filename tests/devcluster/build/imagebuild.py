"""Builds the project's image, as its users do, from its Dockerfile: with buildah, on this machine.

No registry is asked, unless another base is given: the Dockerfile's base is Debian with Python,
made by debootstrap from the mirror that the machine's own apt uses. buildah keeps its files in the
cache, apart from any images that the machine has.
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
from tests.devcluster.commands import ClusterError, CommandError, run, step
from tests.devcluster.machine import update_lists

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

GENIE_IMAGE = "localhost/cni-genie:dev"
SUITE = "bookworm"
PROJECT = Path(__file__).parents[3]

_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
_USELESS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)
_POLICY = Path(__file__).with_name("images") / "policy.json"
_MOST_LAYERS = 100  # in buildah's storage: some 4 GB
_BASE_DOCKERFILE = """\
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["python3"]
"""


def build_genie(
    context: Path = PROJECT, *, name: str = GENIE_IMAGE, build_args: Mapping[str, str] | None = None
) -> Path:
    """Build the Dockerfile of a folder and return the image as an archive for `ctr`.

    It is built again only when the base, a build argument or a file of the context has changed.
    Raises ClusterError, with the end of the build's output, when it fails.
    """
    args = {"BASE_IMAGE": base_image_name(), **(build_args or {})}
    with _snapshot(context) as snapshot:
        content = digest_files(snapshot, (file for file in snapshot.rglob("*") if file.is_file()))
        key = digest([content, name, *(f"{arg}={value}" for arg, value in sorted(args.items()))])
        folder = cached("images/genie", key, functools.partial(_make_image, snapshot, name, args))
    return folder / "image.tar"


def build_anew(folder: Path, context: Path = PROJECT) -> Path:
    """Build the Dockerfile into a folder as if nothing had been built before, but for its base."""
    args = {"BASE_IMAGE": base_image_name()}
    with _snapshot(context) as snapshot:
        _make_image(snapshot, f"{GENIE_IMAGE}-anew", args, folder, anew=True)
    return folder / "image.tar"


@contextlib.contextmanager
def _snapshot(context: Path) -> Iterator[Path]:
    """Give a copy of a build context: the tree may change while the build goes on."""
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
    options = [*_pip_mounts(folder), *(["--no-cache"] if anew else [])]
    if args["BASE_IMAGE"] == base_image_name():
        _ensure_base_image()
        options.append("--pull-never")
    with step(f"building image {name}"):
        _bud(context, name, args, options)
        (folder / "pip.conf").unlink()
        archive = f"docker-archive:{folder}/image.tar:{name}"
        _buildah("push", f"--signature-policy={_POLICY}", name, archive)


def _forget_old_layers() -> None:
    """Empty buildah's storage when many builds have filled it; what is needed is made again."""
    if len(_buildah("images", "--all", "--quiet").stdout.split()) > _MOST_LAYERS:
        _buildah("rmi", "--all", "--force")


def base_image_name() -> str:
    """Return the name of the local image of Debian with Python; it changes with its content."""
    return f"localhost/genie-base:{SUITE}-{_base_key()}"


def _base_key() -> str:
    return digest([SUITE, *_PACKAGES, *_USELESS, _BASE_DOCKERFILE])


def base_files() -> Path:
    """Return the folder with the base image's files, made by debootstrap if they are not there."""
    return cached("images/base", _base_key(), _make_base, keep=1)


def check_base() -> None:
    """Raise ClusterError if the base image's files must be made and apt knows of no Debian."""
    if not is_cached("images/base", _base_key()):
        debian_mirror()


def _ensure_base_image() -> None:
    name = base_image_name()
    if _buildah("images", "--quiet", name, check=False).returncode != 0:
        with step(f"building image {name}"):
            _bud(base_files(), name, {}, ["--pull-never"])


def context_files(context: Path) -> list[Path]:
    """Return the files of a build context, by its .dockerignore.

    Understood are an ignore file that begins with `*`, then `!path` for what belongs to the
    context after all, and `**/name` for what is left out of it. Raises ClusterError for others.
    """
    lines = (context / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    roots = [context / p.removeprefix("!") for p in patterns if p.startswith("!")]
    without = [p.removeprefix("**/") for p in patterns if p.startswith("**/")]
    if patterns[:1] != ["*"] or len(patterns) != 1 + len(roots) + len(without):
        raise ClusterError(f"{context / '.dockerignore'} is of a form that is not understood here")
    found = [f for root in roots for f in ([root] if root.is_file() else root.rglob("*"))]
    return sorted(file for file in found if file.is_file() and not _left_out(file, without))


def _left_out(file: Path, without: list[str]) -> bool:
    return any(fnmatch.fnmatch(part, name) for part in file.parts for name in without)


def _make_base(folder: Path) -> None:
    root = folder / "root"
    with step(f"installing Debian {SUITE} for the base image, with debootstrap"):
        # In a mount namespace of its own: what it mounts ends with it.
        _alone("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}",
               SUITE, os.fspath(root), debian_mirror())  # fmt: skip
    for useless in _USELESS:
        shutil.rmtree(root / useless, ignore_errors=True)
    run(["tar", "--numeric-owner", "-cf", folder / "root.tar", "-C", root, "."])
    shutil.rmtree(root)
    (folder / "Dockerfile").write_text(_BASE_DOCKERFILE)


def debian_mirror() -> str:
    """Return the URL of the Debian archive that the machine's apt uses."""
    known = _known_mirrors()
    if not known:  # apt tells of an archive only what its lists say, and there may be none yet
        update_lists()
        known = _known_mirrors()
    if known:
        return known[0]
    raise ClusterError("apt knows no archive of Debian's: is there one in /etc/apt/sources.list*?")


def _known_mirrors() -> list[str]:
    known = run(["apt-get", "indextargets", "--format=$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)"])
    lines = known.stdout.splitlines()
    return [line.split()[0] for line in lines if line.endswith(" Debian Debian main")]


def _pip_mounts(folder: Path) -> list[str]:
    configuration = pipconf.machine_configuration(os.environ)
    (folder / "pip.conf").write_text(configuration)
    return [
        f"--volume={folder}/pip.conf:/etc/pip.conf:ro",
        *(f"--volume={path}:{path}:ro" for path in pipconf.mounted_paths(configuration)),
    ]


def _bud(context: Path, name: str, args: Mapping[str, str], options: list[str]) -> None:
    """Build a Dockerfile; proxies of the environment reach it, by buildah's own rule."""
    arguments = [f"--build-arg={arg}={value}" for arg, value in args.items()]
    _buildah("bud", "--isolation=chroot", "--network=host", "--layers",
             f"--signature-policy={_POLICY}", *arguments, *options, "-t", name,
             os.fspath(context))  # fmt: skip


def _buildah(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    home = cache_folder() / "buildah"
    storage = [f"--root={home}/root", f"--runroot={home}/run", "--storage-driver=overlay"]
    return _alone("buildah", *storage, *args, check=check)


def _alone(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program whose mounts the machine shall not see, and which ends when the tool does."""
    alone = ["unshare", "--mount", "setpriv", "--pdeathsig", "TERM", *command]
    try:
        return run(alone, check=check)
    except CommandError as error:
        raise ClusterError(f"{command[0]} failed: {error}") from error
