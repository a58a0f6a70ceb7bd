"""What docs/developers.md says the webhook says, the webhook says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from webhook.annotation_check import validate_annotation
from webhook.pods import FIELD
from webhook.snapshot import ClusterNetworks, Namespace

PAGE = (Path(__file__).parents[3] / "docs" / "developers.md").read_text()
ROWS = re.findall(r"^\| `([^`]*)` \| `([A-Z][a-z ]+: [^`]*)` \| .+ \|$", PAGE, re.MULTILINE)
NETWORKS = ("canal", "weave")
TRANSCRIPT = Path(__file__).parents[2] / "cluster" / "transcripts" / "definitions.md"
OF_DEFINITIONS = re.findall(
    r"^\| `([A-Z][a-z ]+: [^`]*)`[^|]*\|",
    PAGE.partition("## Annotations of Multus")[2].partition("\n## ")[0],
    re.MULTILINE,
)


def test_the_table_is_found() -> None:
    """A change of the page's form does not leave this file without anything to check."""
    assert len(ROWS) == 10


@pytest.mark.parametrize(("value", "message"), ROWS, ids=[value for value, _ in ROWS])
def test_a_row_of_the_page_is_what_the_webhook_says(value: str, message: str) -> None:
    """The value in the first column gives exactly the message in the second."""
    forbidden = message.startswith("Forbidden")
    namespace = Namespace("shop", allowed=NETWORKS if forbidden else None)
    known = {*NETWORKS, "a", "secret"} if value.startswith("a,") or forbidden else {*NETWORKS}
    networks = ClusterNetworks(known=frozenset(known), present=frozenset(known))
    findings = validate_annotation(value, namespace, networks, FIELD).findings
    messages = [f.refusal().message for f in findings]
    assert message in messages
    assert {f.cause.field for f in findings} == {FIELD}


def test_the_messages_about_definitions_are_those_of_a_live_cluster() -> None:
    """Each of them is in the transcript, which a test replays."""
    assert len(OF_DEFINITIONS) == 9
    printed = TRANSCRIPT.read_text()
    assert [each for each in OF_DEFINITIONS if each not in printed] == []
