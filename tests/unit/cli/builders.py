"""The command line on a node in a folder, and manifests for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HERE, INSTALLED = "in this process", "as installed"

in_this_process = pytest.mark.parametrize("genie", [HERE], indirect=True)
"""For tests that change something of the process."""


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class CommandLine:
    """The command line on a node; ``options`` say where the node's folders are."""

    def __init__(self, run: Callable[[Sequence[str], bytes], Answer], options: list[str]) -> None:
        self._run = run
        self.options = options

    def __call__(self, command: str, *more: str, stdin: bytes = b"") -> Answer:
        """Run a command on the node."""
        return self.bare(command, *self.options, *more, stdin=stdin)

    def bare(self, *arguments: str, stdin: bytes = b"") -> Answer:
        """Run it with these arguments alone."""
        return self._run(arguments, stdin)

    def json(self, *arguments: str) -> Any:
        """Return what a command answers as JSON."""
        return json.loads(self(*arguments, "--output", "json").out)


def manifest(
    cni: Any = None, *, kind: str = "Pod", spec: Any = None, **metadata: Any
) -> dict[str, Any]:
    """Return a pod with the annotation *cni*, if there is one."""
    if cni is not None:
        metadata["annotations"] = {"cni": cni}
    return {
        "kind": kind,
        "metadata": {"name": "web", **metadata},
        "spec": {"containers": [{"name": "web"}], **(spec or {})},
    }


def workload(kind: str, pod: dict[str, Any], *path: str, **metadata: Any) -> dict[str, Any]:
    """Return an object of *kind* whose template, below *path*, is *pod*."""
    inner: dict[str, Any] = {key: pod[key] for key in ("metadata", "spec") if key in pod}
    for key in reversed(path):
        inner = {key: inner}
    return {"kind": kind, "metadata": metadata, **inner}


def write(path: Path, value: Any) -> str:
    """Write *value* as JSON, and return the path as an argument."""
    path.write_text(json.dumps(value))
    return str(path)
