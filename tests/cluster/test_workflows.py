"""The workflows of .github/, which cannot run here."""

from __future__ import annotations

import re

import yaml

from tests.devcluster.build import gobuild
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.commands import run


def test_the_workflows_are_valid() -> None:
    """By actionlint, which knows the expressions and the inputs of well-known actions."""
    actionlint = gobuild.build(gobuild.ACTIONLINT) / "actionlint"
    run([actionlint, *sorted((PROJECT / ".github" / "workflows").glob("*.yaml"))], cwd=PROJECT)


def test_every_action_is_pinned_by_its_commit() -> None:
    """A tag may be moved; the comment says which one it was."""
    uses = [
        action
        for file in (PROJECT / ".github" / "workflows").glob("*.yaml")
        for action in re.findall(r"uses: (.*)", file.read_text())
    ]
    assert uses
    pinned = re.compile(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [action for action in uses if not pinned.fullmatch(action)] == []


def test_only_the_push_follows_the_guard_of_an_existing_image() -> None:
    """Its job fails at every re-run, so signing and attestation are jobs that can be re-run."""
    release = yaml.safe_load((PROJECT / ".github" / "workflows" / "release.yaml").read_text())
    steps = release["jobs"]["image"]["steps"]
    [guard] = [n for n, step in enumerate(steps) if "imagetools inspect" in step.get("run", "")]
    assert [step.get("id") for step in steps[guard + 1 :]] == ["push"]
