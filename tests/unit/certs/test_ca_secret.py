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


def secret(stored: CASecret, **changes: str | None) -> dict[str, Any]:
    found = render(stored, None, name="ca", namespace="genie-system")
    for key, value in changes.items():
        name = key.replace("_", ".")
        found["data"].pop(name, None)
        if value is not None:
            found["data"][name] = base64.b64encode(value.encode()).decode()
    return found


def full(make_ca: Maker) -> CASecret:
    """Return a Secret with everything that one can hold."""
    old = make_ca()
    return CASecret(
        make_ca(), make_ca(), old.certificate, LATER, {fingerprint(make_ca().certificate): LATER}
    )


def essence(stored: CASecret | None) -> Any:
    assert stored
    following = stored.next.certificate if stored.next else None
    return stored.ca.certificate, following, stored.previous, stored.retire_at, stored.retired


def test_what_is_written_is_read(make_ca: Maker) -> None:
    """All keys come back, and nothing is reported."""
    stored = full(make_ca)
    for one in (stored, CASecret(make_ca()), replace(stored, next=None)):
        reading = parse(secret(one), NAME, NOW)
        assert essence(reading.content) == essence(one)
        assert reading.problems == ()


def test_no_secret_is_no_reading() -> None:
    """Absence is nothing to report: it is where everything begins."""
    reading = parse(None, NAME, NOW)
    assert (reading.content, reading.spare, reading.problems, reading.request) == (
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
        pytest.param({"state": "{"}, "state: ", id="state that is no JSON"),
        pytest.param({"state": "[]"}, "state: ", id="state that is no object"),
        pytest.param(
            {"state": '{"retireAt": "2030-01-01T00:00:00"}'}, "has no time zone", id="local time"
        ),
    ],
)
def test_what_is_damaged_is_reported_and_the_rest_is_used(
    make_ca: Maker, changes: dict[str, str | None], problem: str
) -> None:
    stored = full(make_ca)
    reading = parse(secret(stored, **changes), NAME, NOW)
    assert reading.content
    assert reading.content.ca.certificate == stored.ca.certificate
    assert problem in reading.problems[0]


def test_a_leaf_as_previous_is_reported(make_ca: Maker) -> None:
    """Only a CA of ours can be the previous one."""
    ca = make_ca()
    leaf = issue_leaf(ca, NAME, now=NOW, lifetime=60, backdating=0)
    reading = parse(secret(CASecret(ca, previous=leaf.certificate)), NAME, NOW)
    assert reading.problems == (
        f"previous.crt: the certificate is not a CA that Genie issued for {NAME}",
    )


def test_without_a_usable_ca_the_next_is_a_spare(make_ca: Maker) -> None:
    """It was being published: leaves of it may be trusted already."""
    stored = full(make_ca)
    reading = parse(secret(stored, ca_key=None), NAME, NOW)
    assert reading.content is None
    assert stored.next
    assert reading.spare
    assert reading.spare.certificate == stored.next.certificate
    assert reading.retired == stored.retired


def test_no_base64_is_reported(make_ca: Maker) -> None:
    """As an API server would not store it, but a backup tool may."""
    found = secret(CASecret(make_ca()))
    found["data"]["ca.crt"] = "%%"
    assert parse(found, NAME, NOW).problems == ("ca.crt, ca.key: ca.crt is not base64",)


def test_a_previous_ca_without_a_date_is_trusted_to_its_end(make_ca: Maker) -> None:
    """The careful reading of a missing date; and the CA that signs is never retired."""
    old, new = make_ca(), make_ca()
    state = f'{{"retired": {{"{fingerprint(new.certificate)}": "{LATER.isoformat()}"}}}}'
    reading = parse(secret(CASecret(new, previous=old.certificate), state=state), NAME, NOW)
    assert reading.content
    assert reading.content.retire_at == old.certificate.not_valid_after_utc
    assert reading.content.retired == {}


def test_the_rest_of_the_object_survives_a_write(make_ca: Maker) -> None:
    """Labels, annotations and keys of others stay; the request goes when it is carried out.

    A Secret of the type ``kubernetes.io/tls``, say, is refused without its ``tls.crt``.
    """
    found = secret(CASecret(make_ca()))
    found["metadata"] |= {
        "resourceVersion": "7",
        "labels": {"team": "a"},
        "annotations": {REQUEST: "requested", "note": "b"},
        "managedFields": [{}],
    }
    found["data"] |= {"tls.crt": "", "next.crt": "gone"}
    assert parse(found, NAME, NOW).request == "requested"
    written = render(
        CASecret(make_ca()), found, name="ca", namespace="genie-system", drop_request=True
    )
    assert written["metadata"]["resourceVersion"] == "7"
    assert written["metadata"]["labels"]["team"] == "a"
    assert written["metadata"]["annotations"] == {"note": "b"}
    assert "managedFields" not in written["metadata"]
    assert set(written["data"]) == {"tls.crt", "ca.crt", "ca.key", "state"}
    kept = render(CASecret(make_ca()), found, name="ca", namespace="genie-system")
    assert kept["metadata"]["annotations"][REQUEST] == "requested"
