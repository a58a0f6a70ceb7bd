"""The policies read ``cni-genie.io/attachments`` as the plugin does, in every mode."""

from __future__ import annotations

import re

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher import keys
from dispatcher.nad import attachments, grammar
from dispatcher.nad.attachments import InvalidAttachmentsError, parse_attachments
from dispatcher.nad.faults import InvalidSelectionsError
from dispatcher.nad.names import MAX_NAME
from tests.unit.manifests import CHART, helper
from tests.unit.webhook.manifests import policy
from webhook import namespaces
from webhook.snapshot import parse_namespace

POLICIES = CHART / "templates" / "policies"
LIMITS = (POLICIES / "pod-limits.yaml").read_text()

FORM = helper("genie.attachmentsForm")
INCLUDED = '{{ include "genie.attachmentsForm" . }}'

# Its other actions are a condition around the file, and names in lists.
TEXT = (POLICIES / "pod-attachments.yaml").read_text().replace(INCLUDED, FORM)
TEXT = re.sub(r"\{\{.*?\}\}", "", TEXT)
POLICY = next(yaml.safe_load_all(TEXT))["spec"]


def expression(name: str) -> str:
    """Return the expression of a variable or a matchCondition."""
    parts = (*POLICY["variables"], *POLICY["matchConditions"])
    return next(str(each["expression"]) for each in parts if each["name"] == name)


def patterns(name: str) -> list[re.Pattern[str]]:
    """Return the regular expressions in a variable."""
    texts = re.findall(r"matches\('(.*?)'\)", expression(name))
    return [re.compile(text.encode().decode("unicode_escape")) for text in texts]


def accepts(name: str, value: str) -> bool:
    """Tell whether the pattern of a variable matches; ``$`` is the end of the text, as in Go."""
    [each] = patterns(name)
    return re.search(each.pattern.replace("$", r"\Z"), value) is not None


def test_its_limits_are_those_of_the_grammars() -> None:
    """Bytes of each annotation, items, and the length of a name and an allow-list."""
    assert f"size(bytes(variables.value)) <= {attachments.MAX_BYTES}" in expression("spelled")
    assert f"size(bytes(variables.attachments)) > {attachments.MAX_BYTES} ||" in LIMITS
    assert f"size(variables.attachments.split(',', 33)) > {grammar.MAX_ITEMS} ?" in LIMITS
    assert expression("few") == f"size(variables.items) <= {grammar.MAX_ITEMS}"
    assert f"> {grammar.MAX_BYTES})" in expression("long")
    assert f"size(name.split('/')[1]) <= {MAX_NAME}" in TEXT
    assert f"<= {namespaces.MAX_ALLOWED}" in expression("allowed")


def test_its_keys_are_those_that_select_definitions() -> None:
    """And the annotation of the webhook, without which a forged one would pass."""
    selecting = ", ".join(f"'{key}'" for key in keys.SELECTION_KEYS)
    sent = re.findall(r"'([^']+)' in object\.metadata", expression("selects-definitions"))
    assert sent == [*keys.SELECTION_KEYS, keys.ATTACHMENTS]
    assert expression("selections").startswith(f"[{selecting}].filter(")


def test_in_the_other_modes_the_policy_of_networks_has_the_same_rules() -> None:
    """The mode ``enforce`` trusts pods that were created in these: form, sizes and permissions."""
    rule = " ".join(policy("cni-genie-pod-networks")["validations"][-1]["expression"].split())
    assert f"variables.attachments.matches({FORM})" in rule
    assert f"size(bytes(variables.attachments)) <= {attachments.MAX_BYTES}" in rule
    assert f"size(variables.attachments.split(',', 33)) <= {grammar.MAX_ITEMS}" in rule
    assert f"size(parts[0].split('/')[1]) <= {MAX_NAME}" in rule
    for part in expression("allowsHostPorts").split(" && "):
        assert part.replace("variables.hostPorts", expression("hostPorts")) in rule


words = st.sampled_from([*"=/:,+.-a0 \n", "a/b:3f9c2a", "3f9c2a", "+nodeNetwork", "+hostPort"])


@given(st.lists(words, max_size=9).map("".join) | st.text(max_size=9))
@example("=a/b:3f9c2a,a/b.c:000000+nodeNetwork+hostPort")
@example("a" * 63 + "/b:3f9c2a")
@example("a" * 64 + "/b:3f9c2a")
def test_it_accepts_what_the_plugin_reads(value: str) -> None:
    """Exactly those values, and so the two never see different definitions in one value."""
    try:
        parse_attachments(value)
        is_valid = True
    except InvalidAttachmentsError:
        is_valid = False
    assert accepts("spelled", value) is is_valid


@given(st.lists(st.sampled_from([*"[] \t\r\n{", '{"name":"a"}', "null", "\u2003"])).map("".join))
def test_what_selects_nothing_is_what_the_parser_finds_empty(value: str) -> None:
    """Blanks and an empty list; an invalid value counts as a selection."""
    try:
        is_empty = not grammar.parse(value)
    except InvalidSelectionsError:
        is_empty = False
    assert accepts("selecting", value) is is_empty


@given(st.sampled_from(["allow", "deny", "Allow", ""]), st.text(" \t\r\n\v", max_size=2))
def test_host_ports_are_allowed_where_the_webhook_allows_them(word: str, blanks: str) -> None:
    """One word, with any blanks around it."""
    value = f"{blanks}{word}{blanks}"
    namespace = parse_namespace({"metadata": {"annotations": {keys.HOST_PORTS: value}}})
    assert accepts("allowsHostPorts", value) is namespace.allows_host_ports


element = st.sampled_from(["null", '{"name":"a"}', '{"name":"a","cni-args":{"b":[1,null]}}'])
blank = st.text(" \t\r\n", max_size=1)


@given(st.lists(st.tuples(blank, element, blank), max_size=4), blank)
def test_a_null_in_the_list_is_noticed(elements: list[tuple[str, str, str]], end: str) -> None:
    """Wherever it is; not one inside of an element."""
    value = f"{end}[{','.join(map(''.join, elements))}]{end}"
    is_noticed = any(each.search(value) for each in patterns("nulls"))
    assert is_noticed is any(each == "null" for _, each, _ in elements)
