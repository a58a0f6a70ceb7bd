"""The pictures of ``kubectl genie`` in docs/pictures: its output on the cluster of its unit tests.

``python -m tests.pictures`` draws them again; tests/unit/kubectl_genie/test_pictures.py compares
them with the code. Each is a recorded terminal of 80 columns, exported by rich as SVG.
"""

from __future__ import annotations

import contextlib
import re
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from cli import app, session
from cli.reader import Reader
from tests.unit.kubectl_genie.builders import CLUSTER, FakeAPI

TREE = Path(__file__).parents[1]
PICTURES = TREE / "docs" / "pictures"
COLUMNS = 80

_TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


class Picture(NamedTuple):
    """A picture: the name of its file, and the words of the command that it shows."""

    name: str
    words: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()
    """Name and content of the files that the command reads."""


MANIFEST = """\
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    metadata:
      annotations:
        cni: weave,cannal
"""

ALL = (
    Picture("networks", ("networks",)),
    Picture("status", ("status",)),
    Picture("lint", ("lint", "-f", "web.yaml", "--from-cluster"), (("web.yaml", MANIFEST),)),
)


def draw(picture: Picture) -> str:
    """Return the SVG of a picture."""
    reader = Reader(FakeAPI(CLUSTER))
    with (
        patch.object(session, "connect", lambda _: reader),
        TemporaryDirectory() as directory,
        contextlib.chdir(directory),
    ):
        for name, content in picture.files:
            Path(name).write_text(content)
        result = CliRunner().invoke(
            app.app, picture.words, prog_name="kubectl genie", color=True, env=_TERMINAL
        )
    screen = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    screen.print(Text(f"$ kubectl genie {' '.join(picture.words)}", style="bold"))
    screen.print(Text.from_ansi(result.stdout.rstrip("\n")))
    svg = screen.export_svg(title="kubectl genie", unique_id=f"genie-{picture.name}")
    return _FONT.sub("", svg)  # rich would load a font from another host


def main() -> None:
    """Draw every picture."""
    PICTURES.mkdir(exist_ok=True)
    for picture in ALL:
        (PICTURES / f"{picture.name}.svg").write_text(draw(picture))


if __name__ == "__main__":
    main()
