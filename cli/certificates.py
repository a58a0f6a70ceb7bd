"""Checks whether the API server and the webhook trust each other, and for how long (pure).

Two public sources, and no secret:

- the ``caBundle`` of each webhook entry: which CAs the API server trusts, and until when;
- the metrics of each webhook pod: until when its serving certificate (leaf) is valid, and whether
  every entry covers it. They are read through the API server, with the right ``get pods/proxy``.

Genie renews both early: a leaf at most a week old, a CA ten days before its end. So a date that is
near means that the renewal fails; the limits are those of the alert ``GenieCertificateExpiring``.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.checks import Check, CheckState
from dispatcher.kube.lenient import as_list, get_dict, get_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DAY = 86400.0
MIN_CA_SECONDS, MIN_LEAF_SECONDS = 3 * DAY, DAY
"""Less time than this, and the check warns."""

SUBJECT = "certificates"

_METRICS = re.compile(
    r"^genie_certificate_(leaf_expiry_timestamp_seconds|uncovered_entries) (\S+)$", re.MULTILINE
)


class Replica(NamedTuple):
    """A webhook pod: the end of its leaf in Unix seconds, and entries that do not cover the leaf.

    None where the pod does not answer, or the user may not ask it.
    """

    pod: str
    leaf_expiry: float | None
    uncovered: int = 0


class Entry(NamedTuple):
    """One item of ``webhooks``: the last end of a CA in its bundle, in Unix seconds.

    0: it has no bundle, or none that can be read. None: its certificates are no CAs.
    """

    name: str
    ca_expiry: float | None


def read_replica(pod: str, metrics: str | None) -> Replica:
    """Return what the *metrics* of a webhook pod say; None: they could not be read."""
    values = dict(_METRICS.findall(metrics or ""))
    try:
        expiry = float(values["leaf_expiry_timestamp_seconds"])
        uncovered = int(float(values["uncovered_entries"]))
    except (KeyError, ValueError, OverflowError):
        return Replica(pod, None)
    return Replica(pod, expiry if math.isfinite(expiry) else None, uncovered)


def read_entries(configuration: Mapping[str, Any]) -> list[Entry]:
    """Return the entries of a webhook configuration."""
    entries = [each for each in as_list(configuration.get("webhooks")) if isinstance(each, dict)]
    return [
        Entry(
            get_text(each, "name"), _ca_expiry(get_text(get_dict(each, "clientConfig"), "caBundle"))
        )
        for each in entries
    ]


def certificate_check(
    entries: Sequence[Entry], replicas: Iterable[Replica], now: float, fix: str
) -> Check:
    """Return the check of *entries* and *replicas* at *now*, in Unix seconds.

    *fix* is the command that shows more.
    """
    replicas = list(replicas)
    for state, message in _problems(entries, replicas, now):
        return Check(SUBJECT, state, message, f"see what is missing: {fix}")

    cas = [each.ca_expiry for each in entries if each.ca_expiry is not None]
    leaves = [each.leaf_expiry for each in replicas if each.leaf_expiry is not None]
    parts = [f"CA valid until {_date(min(cas))}" if cas else "no CA in the bundles"]
    if leaves:
        parts.append(f"leaves until {_date(min(leaves))}")
    if len(leaves) < len(replicas) or not replicas:
        parts.append("not every leaf could be read")
    return Check(SUBJECT, CheckState.OK, ", ".join(parts))


def _problems(
    entries: Sequence[Entry], replicas: Sequence[Replica], now: float
) -> Iterator[tuple[CheckState, str]]:
    """Yield what is wrong, the worst first."""
    without = [each.name for each in entries if each.ca_expiry == 0]
    if without:
        names = ", ".join(without)
        yield CheckState.FAILED, f"no CA in {names}: the API server cannot call the webhook"

    cas = [(each.ca_expiry, f"the CA in {each.name}") for each in entries if each.ca_expiry]
    leaves = [
        (each.leaf_expiry, f"the leaf of {each.pod}") for each in replicas if each.leaf_expiry
    ]
    for expiry, subject in sorted([*cas, *leaves]):
        if expiry <= now:
            yield CheckState.FAILED, f"{subject} has expired on {_date(expiry)}"

    for replica in replicas:
        if replica.uncovered:
            message = f"the leaf of {replica.pod} is not covered by {replica.uncovered} entries"
            yield CheckState.FAILED, f"{message}: the API server does not trust it"

    near = [each for each in cas if each[0] < now + MIN_CA_SECONDS]
    near += [each for each in leaves if each[0] < now + MIN_LEAF_SECONDS]
    for expiry, subject in sorted(near):
        yield CheckState.WARNING, f"{subject} expires on {_date(expiry)}: the renewal fails"


def _ca_expiry(bundle: str) -> float | None:
    """Return the last end of a CA in *bundle*, PEM in base64; see :class:`Entry`."""
    import ssl  # noqa: PLC0415 - --help does without TLS

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode("ascii"))
    except (ssl.SSLError, ValueError, binascii.Error):
        return 0.0
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    return float(max(ends)) if ends else None


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(seconds))
