from __future__ import annotations

import datetime as dt

import pytest
import trustme
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.authority import KeyPair, fingerprint, is_own_ca, issue_ca, issue_leaf
from certs.bundle import merge, parse_bundle, verification_error
from tests.unit.certs.builders import NAME, NOW

CAS = [issue_ca(NAME, now=NOW, lifetime=86_400 * days, backdating=300) for days in (1, 30, 30, 30)]
EXPIRED, OLD, NEW, OTHER = CAS
FOREIGN = trustme.CA().cert_pem.bytes()
LATER = NOW + dt.timedelta(days=2)


def own(certificate: x509.Certificate) -> bool:
    return is_own_ca(certificate, NAME)


def merged(bundle: bytes, *trusted: KeyPair, retired: tuple[KeyPair, ...] = ()) -> bytes:
    return merge(
        bundle,
        [one.certificate for one in trusted],
        retired=[fingerprint(one.certificate) for one in retired],
        is_own=own,
        now=LATER,
    )


def pem(*pairs: KeyPair) -> bytes:
    return b"".join(one.certificate_pem for one in pairs)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(merged(b"", OLD), pem(OLD), id="an empty bundle gets the trusted CAs"),
        pytest.param(merged(b"\n", OLD), pem(OLD), id="a placeholder is removed"),
        pytest.param(merged(pem(OLD), OLD), pem(OLD), id="a correct bundle does not change"),
        pytest.param(merged(pem(OTHER), OLD), pem(OTHER, OLD), id="an unknown CA of ours stays"),
        pytest.param(merged(pem(EXPIRED), OLD), pem(OLD), id="an expired CA of ours is removed"),
        pytest.param(
            merged(pem(OLD, NEW), NEW, retired=(OLD,)),
            pem(NEW),
            id="a retired CA of ours is removed",
        ),
        pytest.param(merged(b"", OLD, retired=(OLD,)), b"", id="a retired CA is not added"),
        pytest.param(
            merged(pem(OLD, OLD), OLD), pem(OLD), id="a duplicate of a CA of ours is removed"
        ),
        pytest.param(
            merged(b"# ours\n" + FOREIGN + pem(OLD), OLD),
            b"# ours\n" + FOREIGN + pem(OLD),
            id="foreign certificates and comments stay in their place",
        ),
        pytest.param(
            merged(FOREIGN.rstrip(), OLD),
            FOREIGN.rstrip() + b"\n" + pem(OLD),
            id="an unfinished line is completed",
        ),
        pytest.param(
            merged(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----", OLD),
            b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n" + pem(OLD),
            id="an unreadable certificate stays",
        ),
    ],
)
def test_a_bundle_is_merged(before: bytes, after: bytes) -> None:
    assert before == after


def test_an_expired_foreign_certificate_is_not_touched() -> None:
    """Only expired CAs of ours are removed from a bundle."""
    long_after = NOW + dt.timedelta(days=40_000)
    assert merge(FOREIGN, [], retired=(), is_own=own, now=long_after) == FOREIGN


PARTS = st.lists(
    st.sampled_from([*(one.certificate_pem for one in CAS), FOREIGN, b"# text\n", b"\n", b"x"]),
    max_size=6,
)
CHOICES = st.lists(st.sampled_from(CAS), max_size=3)


@given(parts=PARTS, trusted=CHOICES, retired=CHOICES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_merging_is_idempotent_and_follows_its_rules(
    parts: list[bytes], trusted: list[KeyPair], retired: list[KeyPair]
) -> None:
    """Trusted CAs are added, retired ones removed, and foreign certificates keep their order."""
    bundle = b"".join(parts)
    gone = {fingerprint(one.certificate) for one in retired}
    once = merged(bundle, *trusted, retired=tuple(retired))
    assert merged(once, *trusted, retired=tuple(retired)) == once
    names = [fingerprint(one) for one in parse_bundle(once)]
    expected = {fingerprint(one.certificate) for one in trusted if one is not EXPIRED}
    assert expected - gone <= set(names)
    assert not gone & set(names)
    foreign = [fingerprint(one) for one in parse_bundle(bundle) if not own(one)]
    assert [name for name in names if name in foreign] == foreign


def test_an_empty_bundle_accepts_nothing() -> None:
    """The error says that it is empty."""
    assert (
        verification_error((OLD.certificate,), b"", NAME, NOW) == "the bundle holds no certificate"
    )


def issued(*, by: trustme.CA, name: str = NAME) -> list[x509.Certificate]:
    """Return the chain of a server: a leaf with a critical name, as some PKIs issue them."""
    pems = by.issue_cert(name).cert_chain_pems
    return [x509.load_pem_x509_certificate(one.bytes()) for one in pems]


COMPANY = trustme.CA()
TRUSTED = COMPANY.cert_pem.bytes()
CLOCK = dt.datetime.now(dt.UTC)
LEAF = issue_leaf(OLD, NAME, now=NOW, lifetime=86_400, backdating=300)


@pytest.mark.parametrize(
    ("chain", "bundle", "now", "why"),
    [
        pytest.param(issued(by=COMPANY), TRUSTED, CLOCK, None, id="a company's own CA"),
        pytest.param(
            issued(by=COMPANY.create_child_ca()), TRUSTED, CLOCK, None, id="its intermediate CA"
        ),
        pytest.param([LEAF.certificate], pem(OLD), NOW, None, id="our own CA"),
        pytest.param(
            issued(by=COMPANY, name="x.svc"), TRUSTED, CLOCK, "no matching", id="another name"
        ),
        pytest.param(
            issued(by=trustme.CA()), TRUSTED, CLOCK, "candidates exhausted", id="another CA"
        ),
        pytest.param([LEAF.certificate], pem(OLD), LATER, "not valid at", id="an expired leaf"),
        pytest.param(
            [
                issue_leaf(LEAF, NAME, now=NOW, lifetime=60, backdating=0).certificate,
                LEAF.certificate,
            ],
            pem(OLD),
            NOW,
            "cA must be asserted",
            id="a leaf that signs",
        ),
        pytest.param(
            [issue_leaf(OLD, "x.svc", now=NOW, lifetime=60, backdating=0).certificate],
            pem(OLD),
            NOW,
            "no matching",
            id="another name by our own CA",
        ),
    ],
)
def test_a_leaf_is_verified_as_the_api_server_does_it(
    chain: list[x509.Certificate], bundle: bytes, now: dt.datetime, why: str | None
) -> None:
    """By RFC 5280, without the additional rules of browsers."""
    error = verification_error(chain, bundle, NAME, now)
    assert error is None if why is None else why in (error or "accepted")
