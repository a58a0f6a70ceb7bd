from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.node import status_answers
from dispatcher.node.status_answers import NO_ANSWERS, StatusAnswer, StatusAnswers
from dispatcher.state.store import STATUS_ANSWERS

if TYPE_CHECKING:
    from pathlib import Path

CODES = st.sampled_from([0, 50, 51])
ANSWERS = st.dictionaries(st.text(max_size=5), st.builds(StatusAnswer, CODES, st.text(max_size=9)))


@given(ANSWERS, st.floats(0, 1e12))
def test_the_agent_reads_what_the_reaper_wrote(
    tmp_path_factory: pytest.TempPathFactory, answers: dict[str, StatusAnswer], time: float
) -> None:
    """Any network, code and sentence."""
    folder = tmp_path_factory.mktemp("state")
    status_answers.write(folder, time, answers)
    assert status_answers.read(folder) == StatusAnswers(time, answers)
    assert (folder / STATUS_ANSWERS).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="no object"),
        pytest.param('{"time": 1}', id="no answers"),
        pytest.param('{"time": 1, "answers": []}', id="a list of answers"),
        pytest.param('{"time": 1, "answers": {"weave": 50}}', id="no sentence"),
        pytest.param('{"time": "now", "answers": {}}', id="no time"),
    ],
)
def test_an_invalid_file_has_no_answers(tmp_path: Path, content: str) -> None:
    """The next pass replaces it."""
    (tmp_path / STATUS_ANSWERS).write_text(content)
    assert status_answers.read(tmp_path) == NO_ANSWERS


def test_without_a_directory_nothing_is_passed(tmp_path: Path) -> None:
    """The reaper goes on; the agent has no answers."""
    status_answers.write(tmp_path / "missing", 1.0, {})
    assert status_answers.read(tmp_path / "missing") == NO_ANSWERS
