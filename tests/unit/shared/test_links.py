"""What pages refer to exists: files and headings of links, paths of the tree, targets of make."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]
BUILT = {"build", "dist", ".venv"}
PAGES = sorted(
    page
    for page in TREE.rglob("*.md")
    if not any(
        part in BUILT or (part.startswith(".") and part != ".github")
        for part in page.relative_to(TREE).parts
    )
)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
FOLDERS = "|".join(
    re.escape(folder.name)
    for folder in sorted(TREE.iterdir())
    if folder.is_dir()
    and folder.name not in BUILT
    and (folder.name[0] not in "._" or folder.name in {".ci", ".github"})
)
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of *page*, made as GitHub makes them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_relative_links_and_their_anchors_resolve(page: Path) -> None:
    """A heading that is renamed, or a page that is moved, breaks no link silently."""
    broken = []
    for target, anchor in LINK.findall(FENCE.sub("", page.read_text())):
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{target}#{anchor}" if anchor else target)
    assert not broken


def test_the_pages_are_found() -> None:
    """A search in the wrong folder would leave this file without anything to check."""
    names = {str(page.relative_to(TREE)) for page in PAGES}
    assert {"README.md", "docs/operators.md", "docs/adr/README.md"} <= names
    assert {"lifecycle", "release", r"\.ci", r"\.github"} <= set(FOLDERS.split("|"))


def test_a_page_has_the_anchors_of_its_headings(tmp_path: Path) -> None:
    """Punctuation goes, a repeated heading is counted, and a comment in a code block is none."""
    page = tmp_path / "page.md"
    page.write_text("# `cni`: one, two\n## Again\n## Again\n```\n# a comment\n```\n")
    assert anchors(page) == {"cni-one-two", "again", "again-1"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_a_path_of_the_tree_exists(page: Path) -> None:
    """A module or a manifest that is moved takes the pages along that name it."""
    named = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", page.read_text()))
    assert [path for path in sorted(named) if not (TREE / path).exists()] == []


def test_the_one_test_that_the_pages_run_exists() -> None:
    """By its node id, because -k takes no name with blanks."""
    commands = [
        command
        for page in PAGES
        for command in re.findall(
            r"pytest (?:--\w+ )*\"?(tests/.+?)\"?$", page.read_text(), re.MULTILINE
        )
    ]
    ids = [re.fullmatch(r"(\S+)::(\w+)\[(.+)\]", command) for command in commands]
    [(file, test, case)] = [each.groups() for each in ids if each]
    text = (TREE / file).read_text()
    assert f"def {test}(" in text
    assert f'id="{case}"' in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_a_make_command_has_its_target(page: Path) -> None:
    """In code only: "make" is a word of English, too."""
    targets = set(re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    command = re.compile(r"(?:`|^ {4,}(?:sudo )?|\$\()make (?:-s )?([a-z-]+)", re.MULTILINE)
    shown = command.findall(page.read_text())
    assert set(shown) <= targets
