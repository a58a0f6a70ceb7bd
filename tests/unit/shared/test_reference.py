"""The pages of docs/reference have what the code has, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from certs import ca_secret
from certs.settings import CertificateSettings
from dispatcher import cni_errors, keys
from dispatcher.agent import annotation_server
from tests.reference import PAGES, TABLES, chart_values, table_names, with_tables
from tests.shell_blocks import DOCS

if TYPE_CHECKING:
    from pathlib import Path

PAGE_FILES = sorted(PAGES.glob("*.md"))


@pytest.mark.parametrize("page", PAGE_FILES, ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_those_of_the_code(page: Path) -> None:
    """If not, ``python -m tests.reference`` writes them again."""
    text = page.read_text()
    assert text == with_tables(text)


def test_every_table_is_on_one_page() -> None:
    """A comment that is misspelled would leave its table as it is."""
    shown = [name for page in PAGE_FILES for name in table_names(page.read_text())]
    assert sorted(shown) == sorted(TABLES)


def test_every_code_is_described_once() -> None:
    """Those of the plugin, and those that the agent answers and the plugin passes on."""
    text = (PAGES / "codes.md").read_text()
    cells = re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE)
    described = sorted(int(code) for cell in cells for code in cell.split(","))
    plugin = {value for name, value in vars(cni_errors).items() if name.isupper()}
    agent = {
        annotation_server.TRY_AGAIN,
        annotation_server.NO_POD,
        annotation_server.OTHER_POD,
        annotation_server.NOT_PERMITTED,
        annotation_server.BAD_REQUEST,
    }
    assert described == sorted(plugin | agent)


def test_every_key_of_ours_is_described() -> None:
    """Each annotation and label: dispatcher.keys has them all but the two of certs."""
    texts = {value for name, value in vars(keys).items() if name.isupper() and "/" in str(value)}
    prefixes = ("cni-genie.io/", "node.cni-genie.io/", keys.NETWORK_LABEL, keys.NETWORK_STATUS)
    shared = {text for text in texts if isinstance(text, str) and text.startswith(prefixes)}
    label = CertificateSettings().label.partition("=")[0]
    ours = {keys.ANNOTATION, *keys.SELECTION_KEYS, *shared, label, ca_secret.REQUEST}

    text = (PAGES / "annotations.md").read_text()
    rows = re.findall(r"^\| (?:annotation|label) `([^`]+)`", text, re.MULTILINE)
    assert {row.replace("<name>", "") for row in rows} == ours


def test_a_value_that_a_page_names_is_one_of_the_chart() -> None:
    """A renamed value takes the pages along; `webhook.enabled: false` names one, too."""
    values = set(re.findall(r"^\| `([\w.]+)` \|", chart_values(), re.MULTILINE))
    groups = {value.partition(".")[0] for value in values if "." in value}
    parts = {value.rpartition(".")[0] for value in values if "." in value}

    named = {
        (str(page.relative_to(DOCS)), name)
        for page in DOCS.rglob("*.md")
        for name in re.findall(r"`((?:\w+\.)+\w+)(?:: [^`]*)?`", page.read_text())
        if name.partition(".")[0] in groups and not name.endswith((".py", ".md", ".yaml"))
    }
    assert len(named) > 20
    assert [(page, name) for page, name in sorted(named) if name not in values | parts] == []
