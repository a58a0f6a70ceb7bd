"""Prometheus' own evaluation of alerts and expressions: ``promtool test rules``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.devcluster.build import gobuild
from tests.devcluster.commands import run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence


def evaluate(
    groups: Sequence[dict[str, Any]], tests: Sequence[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """Evaluate *tests* against the rules of *groups*; the caller checks the exit code.

    Both are in the format of Prometheus. JSON is YAML, so the files are written as JSON.
    """
    promtool = gobuild.build(gobuild.PROMTOOL) / "promtool"
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder, "rules.yaml")
        rules.write_text(json.dumps({"groups": list(groups)}))
        file = Path(folder, "tests.yaml")
        content = {
            "rule_files": [str(rules)],
            "evaluation_interval": "1m",
            "tests": list(tests),
        }
        file.write_text(json.dumps(content))
        return run([str(promtool), "test", "rules", str(file)], check=False)
