"""Operations of a JSON patch, read by a library that is not ours."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest

from dispatcher.kube import json_patch

LABEL = json_patch.pointer("labels", "a/b~c")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (json_patch.add(LABEL, "new"), {"labels": {"a/b~c": "new"}}),
        (json_patch.replace(LABEL, "new"), {"labels": {"a/b~c": "new"}}),
        (json_patch.remove(LABEL), {"labels": {}}),
        (json_patch.test(LABEL, "old"), {"labels": {"a/b~c": "old"}}),
    ],
    ids=["add", "replace", "remove", "test"],
)
def test_an_operation_reaches_a_key_with_a_slash(
    operation: json_patch.Operation, expected: dict[str, Any]
) -> None:
    """The pointer escapes what has a meaning in it."""
    assert jsonpatch.apply_patch({"labels": {"a/b~c": "old"}}, [operation]) == expected


def test_an_index_is_part_of_a_pointer() -> None:
    """It is the position in a list."""
    assert json_patch.pointer("webhooks", 0, "name") == "/webhooks/0/name"
