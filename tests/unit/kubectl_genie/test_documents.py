from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli.documents import MAX_DEPTH, ManifestError, manifest_files, read_documents

if TYPE_CHECKING:
    from pathlib import Path

TWO = """\
# a comment
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  annotations:
    cni: >-
      weave
---
---
kind: List
items:
- kind: Pod
  metadata: {generateName: job-}
- {"kind": "Service", "metadata": {"name": "s"}}
- 3
"""


def test_documents_and_the_items_of_lists_are_read_one_by_one() -> None:
    """Empty documents, and items that are no objects, are left out."""
    actual = [(each.kind, each.namespace, each.name) for each in read_documents(TWO, "f")]
    assert actual == [("Pod", "shop", "web"), ("Pod", "", "job-"), ("Service", "", "s")]


@pytest.mark.parametrize(
    ("number", "field", "place"),
    [
        pytest.param(0, "metadata.annotations[cni]", (8, 10), id="a block scalar"),
        pytest.param(
            0, "metadata.annotations[missing]", (8, 5), id="the parent of what is missing"
        ),
        pytest.param(0, "", (2, 1), id="the document itself"),
        pytest.param(1, "metadata.generateName", (15, 28), id="flow style in a list"),
        pytest.param(2, "metadata.name", (16, 44), id="JSON in YAML"),
        pytest.param(0, "items[7].name", (2, 1), id="an item that is not there"),
    ],
)
def test_the_place_of_a_field(number: int, field: str, place: tuple[int, int]) -> None:
    actual = list(read_documents(TWO, "f"))[number].place(field)
    assert (actual.file, actual.line, actual.column) == ("f", *place)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("a: b: c", 1, id="two colons"),
        pytest.param("a:\n\t- b", 2, id="a tab"),
        pytest.param("a: 1\n---\n{", 3, id="an open brace in the second document"),
        pytest.param("a: !!python/object:os.system []", 1, id="an object of Python"),
        pytest.param("a: \x01", 1, id="a control character"),
        pytest.param("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), 1, id="deep nesting"),
        pytest.param("[" * 5000, 1, id="nesting that exhausts the stack"),
        pytest.param("a: 2001-99-99", 1, id="a date that is none"),
    ],
)
def test_what_is_no_yaml_is_an_error_with_its_place(text: str, line: int) -> None:
    with pytest.raises(ManifestError) as error:
        list(read_documents(text, "f"))
    assert (error.value.place.file, error.value.place.line) == ("f", line)


def test_aliases_that_stand_for_billions_of_values_are_read_at_once() -> None:
    """Each of them is one object in memory."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    [document] = read_documents("\n".join(lines), "f")
    assert document.kind == ""


def test_a_folder_is_searched_for_manifests(tmp_path: Path) -> None:
    """With its folders, in order of name."""
    for name in ("b.yaml", "a/c.json", "a/d.yml", "README.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    actual = [str(each.relative_to(tmp_path)) for each in manifest_files(tmp_path)]
    assert actual == ["a/c.json", "a/d.yml", "b.yaml"]
    assert manifest_files(tmp_path / "README.md") == [tmp_path / "README.md"]
