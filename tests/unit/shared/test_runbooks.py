"""Each alert has a page in docs/runbooks, and each page an alert; runbook_url leads there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

TREE = Path(__file__).parents[3]
PAGES = TREE / "docs" / "runbooks"
INDEX = "README"


def alerts() -> dict[str, dict[str, Any]]:
    return {
        rule["alert"]: rule
        for file in sorted((TREE / "manifests/chart/files").glob("*-alerts.yaml"))
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    }


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """The index lists them, too."""
    pages = {page.stem for page in PAGES.glob("*.md")} - {INDEX}
    assert pages == alerts().keys()
    assert set(re.findall(r"^\| \[(\w+)\]\(\1[.]md\)", index(), re.MULTILINE)) == pages


def index() -> str:
    return (PAGES / f"{INDEX}.md").read_text()


@pytest.mark.parametrize("name", alerts())
def test_an_alert_leads_to_its_page(name: str) -> None:
    """The chart makes the path, or the address, of the name."""
    assert alerts()[name]["annotations"]["runbook_url"] == name


def test_pages_search_logs_for_what_is_logged() -> None:
    """A pattern that matches no event would show nothing, whatever is wrong."""
    events = {
        node.value
        for program in ("webhook", "dispatcher/agent", "dispatcher/reaper")
        for file in (TREE / program).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    searches = [
        pattern.strip('"')
        for page in PAGES.glob("*.md")
        for patterns in re.findall(
            r"^kubectl [^\n]*? logs .*?\| grep (?:-E )?'(.+?)'$",
            page.read_text().replace("\\\n", ""),
            re.MULTILINE,
        )
        for pattern in patterns.split("|")
    ]
    assert {"no decision", "review failed"} <= set(searches)
    assert [each for each in searches if not any(event.startswith(each) for event in events)] == []


@pytest.mark.parametrize("name", alerts())
def test_a_page_says_what_the_alert_means_harms_and_how_to_fix_it(name: str) -> None:
    """In this order, with commands of kubectl alone: not everyone has a shell on nodes."""
    text = (PAGES / f"{name}.md").read_text()
    title, *sections = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert title == name
    assert sections == ["Impact", "Find the cause", "Fix"]
    assert all(part.strip() for part in re.split(r"^#+ .+$", text, flags=re.MULTILINE)[1:])

    blocks = re.findall(r"^```sh.*?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line for line in lines if not line.startswith("NODE=")]
    assert all(re.match(r"(POD=\$\()?kubectl ", command) for command in commands)
