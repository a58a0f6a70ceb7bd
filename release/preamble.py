"""Check, before ``kubectl genie`` starts from the zipapp, that it can run here.

The zipapp runs this file with the variable ``site_packages``, the folder of its libraries. It must
run with any Python 3.
"""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def problem(site_packages: Path) -> str:
    """Return why the libraries in *site_packages* cannot be loaded here, or an empty string."""
    core = site_packages / "pydantic_core"
    if any((core / ("_pydantic_core" + suffix)).exists() for suffix in EXTENSION_SUFFIXES):
        return ""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        f"kubectl genie: this file has no libraries for Python {version} on {sys.platform}: it runs"
        " with Python 3.11 to 3.14 on Linux, on macOS with Apple silicon and on Windows; elsewhere,"
        " install the wheel with pipx"
    )


if __name__ == "__main__":
    text = problem(site_packages)  # type: ignore[name-defined]  # noqa: F821 - the zipapp sets it
    if text:
        sys.exit(text)
