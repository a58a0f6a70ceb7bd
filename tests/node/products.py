"""Networks whose plugin treats default routes as products do (``product.py``)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.node.harness import Node
    from tests.node.namespaces import Container

PRODUCT = Path(__file__).with_name("product.py")


def install_product(node: Node, name: str, number: int, **behaviour: Any) -> None:
    """Install a network whose only plugin is the fake product, with this behaviour."""
    program = node.bin / "product"
    if not program.exists():
        shutil.copy(PRODUCT, program)
    conf = {"type": "product", "number": number, "families": [4], "default": "none"}
    store = str(node.folder / "ipam")
    node.network(name, {**conf, "dataDir": store, **behaviour})


def default_routes(node: Node, pod: Container) -> str:
    """Return the pod's default routes of both families, with all details of the kernel."""
    show = "ip -details -{} route show default"
    return node.sh(f"{show.format(4)}; {show.format(6)}", net=pod.netns)
