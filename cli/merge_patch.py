"""The JSON merge patch (RFC 7386) that changes annotations of a pod or a pod template (pure)."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from webhook.objects import TEMPLATE_PATHS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.documents import Document

    Changes = dict[str, str | None]
    """Annotations to write; None: to remove."""


def merge_patch(document: Document, changes: Changes) -> dict[str, Any] | None:
    """Return the JSON merge patch of *document* for *changes* of its pod; None if there is none."""
    if not changes:
        return None
    paths = {"Pod": (), "PodTemplate": ("template",), **TEMPLATE_PATHS}
    patch: dict[str, Any] = {"metadata": {"annotations": dict(sorted(changes.items()))}}
    for key in reversed(paths.get(document.kind, ("spec", "template"))):
        patch = {key: patch}
    return patch


def merged(value: Any, patch: Any) -> Any:
    """Return *value* after a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, each in patch.items():
        if each is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), each)
    return result


def patch_command(document: Document, namespace: str, patch: Mapping[str, Any] | None) -> str:
    """Return the command that applies *patch*; empty for files, and for pods, which are fixed."""
    if patch is None or document.node is not None or document.kind == "Pod":
        return ""
    target = ["kubectl", "-n", namespace, "patch", document.kind.lower(), document.name]
    return shlex.join([*target, "--type=merge", "-p", json.dumps(patch)])
