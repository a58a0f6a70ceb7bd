from __future__ import annotations

import base64
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from certs.authority import KeyPair, fingerprint, issue_leaf
from certs.ca_secret import REQUEST, CASecret, parse, render
from tests.unit.certs.builders import NAME, NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[..., KeyPair]

LATER = NOW + dt.timedelta(days=3)


def secret(content: CASecret, **changes: str | None) -> dict[str, Any]:
    rendered = render(content, None, name="ca", namespace="genie-system")
    for key, value in changes.items():
        name = key.replace("_", ".")
        rendered["data"].pop(name, None)
        if value is not None:
            rendered["data"][name] = base64.b64encode(value.encode()).decode()
    return rendered


def full(make_ca: Maker) -> CASecret:
    """Return a content with all keys."""
    old = make_ca()
    return CASecret(
        make_ca(), make_ca(), old.certificate, LATER, {fingerprint(make_ca().certificate): LATER}
    )


def essence(content: CASecret | None) -> Any:
    assert content
    following = content.next.certificate if content.next else None
    return content.ca.certificate, following, content.previous, content.retire_at, content.retired


def test_a_rendered_secret_is_parsed_again(make_ca: Maker) -> None:
    """Nothing is lost, and there is no problem."""
    content = full(make_ca)
    for one in (content, CASecret(make_ca()), replace(content, next=None)):
        parsed = parse(secret(one), NAME, NOW)
        assert essence(parsed.content) == essence(one)
        assert parsed.problems == ()


def test_without_a_secret_there_is_no_content() -> None:
    """This is no problem: it is so before the first start."""
    parsed = parse(None, NAME, NOW)
    assert (parsed.content, parsed.spare, parsed.problems, parsed.request) == (
        None,
        None,
        (),
        "",
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"next_key": None}, "next.crt, next.key: next.key is missing", id="half a pair"
        ),
        pytest.param(
            {"next_crt": "x"}, "next.crt, next.key: the certificate cannot be read", id="bad next"
        ),
        pytest.param(
            {"previous_crt": "x"}, "previous.crt: the certificate cannot be read", id="bad previous"
        ),
        pytest.param({"state": "{"}, "state: ", id="state that is not JSON"),
        pytest.param({"state": "[]"}, "state: not a JSON object", id="state that is a list"),
        pytest.param(
            {"state": '{"retireAt": "2030-01-01T00:00:00"}'}, "has no time zone", id="local time"
        ),
    ],
)
def test_a_damaged_key_is_reported_and_the_rest_is_used(
    make_ca: Maker, changes: dict[str, str | None], problem: str
) -> None:
    content = full(make_ca)
    parsed = parse(secret(content, **changes), NAME, NOW)
    assert parsed.content
    assert parsed.content.ca.certificate == content.ca.certificate
    assert problem in parsed.problems[0]


def test_a_leaf_as_previous_is_reported(make_ca: Maker) -> None:
    """Only a CA of ours can be the previous one."""
    ca = make_ca()
    leaf = issue_leaf(ca, NAME, now=NOW, lifetime=60, backdating=0)
    parsed = parse(secret(CASecret(ca, previous=leaf.certificate)), NAME, NOW)
    assert parsed.problems == (
        f"previous.crt: the certificate is not a CA that Genie issued for {NAME}",
    )


def test_without_a_usable_ca_the_next_is_a_spare(make_ca: Maker) -> None:
    """It was being published, so leaves of it may be trusted already."""
    content = full(make_ca)
    parsed = parse(secret(content, ca_key=None), NAME, NOW)
    assert parsed.content is None
    assert content.next
    assert parsed.spare
    assert parsed.spare.certificate == content.next.certificate
    assert parsed.retired == content.retired


def test_a_value_that_is_not_base64_is_reported(make_ca: Maker) -> None:
    """An API server would not store it, but a backup tool may."""
    current = secret(CASecret(make_ca()))
    current["data"]["ca.crt"] = "%%"
    assert parse(current, NAME, NOW).problems == ("ca.crt, ca.key: ca.crt is not base64",)


def test_a_previous_ca_without_a_date_is_trusted_until_it_expires(make_ca: Maker) -> None:
    """The CA that signs is never retired."""
    old, new = make_ca(), make_ca()
    state = f'{{"retired": {{"{fingerprint(new.certificate)}": "{LATER.isoformat()}"}}}}'
    parsed = parse(secret(CASecret(new, previous=old.certificate), state=state), NAME, NOW)
    assert parsed.content
    assert parsed.content.retire_at == old.certificate.not_valid_after_utc
    assert parsed.content.retired == {}


def test_the_rest_of_the_object_survives_a_write(make_ca: Maker) -> None:
    """Labels, annotations and keys of others stay; a request that is carried out is removed.

    A Secret of the type ``kubernetes.io/tls``, say, is refused without its ``tls.crt``.
    """
    current = secret(CASecret(make_ca()))
    current["metadata"] |= {
        "resourceVersion": "7",
        "labels": {"team": "a"},
        "annotations": {REQUEST: "requested", "note": "b"},
        "managedFields": [{}],
    }
    current["data"] |= {"tls.crt": "", "next.crt": "gone"}
    assert parse(current, NAME, NOW).request == "requested"
    written = render(
        CASecret(make_ca()), current, name="ca", namespace="genie-system", drop_request=True
    )
    assert written["metadata"]["resourceVersion"] == "7"
    assert written["metadata"]["labels"]["team"] == "a"
    assert written["metadata"]["annotations"] == {"note": "b"}
    assert "managedFields" not in written["metadata"]
    assert set(written["data"]) == {"tls.crt", "ca.crt", "ca.key", "state"}
    kept = render(CASecret(make_ca()), current, name="ca", namespace="genie-system")
    assert kept["metadata"]["annotations"][REQUEST] == "requested"
