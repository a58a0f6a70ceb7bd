"""The example of docs/attachment-definitions.md: its template permits its definition."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from dispatcher.nad import definition
from dispatcher.nad.tenant_templates import TenantRules, read_templates
from dispatcher.nad.validation import check
from tests.shell_blocks import blocks

PAGE = (Path(__file__).parents[3] / "docs" / "attachment-definitions.md").read_text()


def block(info: str, beginning: str = "") -> str:
    """Return the page's block with *info* after the fence that starts with *beginning*."""
    [text] = [
        each.text for each in blocks(PAGE) if each.info == info and each.text.startswith(beginning)
    ]
    return text


def rules() -> TenantRules:
    """Return the rules in the page's values of the chart."""
    values = yaml.safe_load(block("yaml", "attachmentDefinitions:"))["attachmentDefinitions"]
    templates = read_templates(json.dumps(values["tenantTemplates"]))
    return TenantRules(frozenset(values["trustedNamespaces"]), templates)


def refused(change: Any = None) -> str:
    """Return why the page's definition is refused, after *change* of its config."""
    value = yaml.safe_load(block("yaml", "apiVersion:"))
    config = json.loads(value["spec"]["config"])
    if change:
        change(config)
    value["spec"]["config"] = json.dumps(config)
    return check(definition.read(value), rules()).refused


def test_the_template_permits_the_definition() -> None:
    """In its namespace, and in a trusted one."""
    assert refused() == ""


def test_the_refusal_is_that_of_the_page() -> None:
    """Of the three changes that the page names."""

    def change(config: dict[str, Any]) -> None:
        config["name"] = "canal"
        config["plugins"][0] |= {"bridge": "cni0", "isGateway": True}

    assert refused(change) == block("console").strip()


def test_the_page_lists_each_key_of_a_template() -> None:
    """And no other."""
    listed = set(re.findall(r"^\| `(?:plugins\[\]\.)?(\w+)` \|", PAGE, re.MULTILINE))
    listed -= {"off", "observe", "enforce"}
    schema = Path(__file__).parents[3] / "manifests" / "chart" / "values.schema.json"
    properties = json.loads(schema.read_text())["properties"]["attachmentDefinitions"]["properties"]
    template = properties["tenantTemplates"]["items"]["properties"]
    plugin = template["plugins"]["items"]["properties"]
    requests = {"ips", "mac", "portMappings", "bandwidth", "interface", "deviceID"}
    assert listed - requests == (template.keys() | plugin.keys()) - {"type"}
