"""Certificates from mounted files: another keeper, for those who have a PKI or cert-manager.

A folder with ``tls.crt``, ``tls.key`` and perhaps ``ca.crt``, usually a Secret mounted as a volume.
It is read in every round. kubelet swaps such a volume by renaming the symbolic link ``..data``:
all three files are read from the folder that the link names at one moment, so that a pair is never
made of two versions.

The rule for taking a new pair into use is the same as for our own leaves: not before every bundle
has covered it for ``propagation`` seconds, unless the pair in use is no good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from certs.authority import UnusableError, is_valid
from certs.bundle import certificates
from certs.keeper import Publication, Standing
from certs.serving import Leaf, LiveContext

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from certs.observed import Observed
    from certs.settings import CertificateSettings

log = structlog.get_logger("certs")


class FilesKeeper:
    """Takes the pair, and the CA to publish, from *directory*."""

    def __init__(
        self, directory: Path, settings: CertificateSettings, now: Callable[[], dt.datetime]
    ) -> None:
        self.standing = Standing()
        self._directory = directory
        self._settings = settings
        self._now = now
        self._found: Leaf | None = None
        self._ca: tuple[x509.Certificate, ...] = ()

    def step(self, _seen: Observed, _leaf: Leaf | None) -> Publication | None:
        """Read the files; publish what ``ca.crt`` holds, if bundles are ours to write."""
        self._read()
        if not self._ca or not self._settings.write_bundles:
            return None
        # Nothing marks the CAs of others as theirs: whatever has expired may go.
        return Publication(self._ca, (), lambda _certificate: True)

    def next_leaf(self, leaf: Leaf | None, seen: Observed) -> tuple[Leaf, str] | None:
        """Take the pair in the files, once it is covered."""
        found = self._found
        if found is None or (leaf and leaf.chain_pem == found.chain_pem):
            return None
        why = self._why(leaf, found, seen)
        return (found, why) if why else None

    def offline_leaf(self, leaf: Leaf | None) -> tuple[Leaf, str] | None:
        """Take the pair in the files if there is none in use that is valid."""
        self._read()
        if self._found is None or (leaf and is_valid(leaf.certificate, self._now())):
            return None
        if leaf and leaf.chain_pem == self._found.chain_pem:
            return None
        return self._found, "the files hold it and the API server does not answer"

    def _why(self, leaf: Leaf | None, found: Leaf, seen: Observed) -> str | None:
        if leaf is None:
            return "the files hold it"
        if not is_valid(leaf.certificate, self._now()):
            return "the one in use is not valid at the API server's time"
        name, now = self._settings.dns_name, self._now()
        refused = seen.refusals(found.chain, name, now)
        if not refused and seen.steady_for >= self._settings.propagation:
            return "the files hold another, and every bundle covers it"
        if len(seen.refusals(leaf.chain, name, now)) == len(seen.entries):
            return "no bundle covers the one in use"
        self.standing = Standing(
            waits_for=f"the bundles to have covered the new {self._directory}/tls.crt for "
            f"{self._settings.propagation:g} s"
        )
        return None

    def _read(self) -> None:
        try:
            found, ca = _load(self._directory)
        except UnusableError as error:
            waits = f"usable files in {self._directory}: {error}"
            if self.standing.waits_for != waits:
                log.warning("mounted certificate not usable", error=str(error))
            self.standing = Standing(waits_for=waits)
            return
        self._found, self._ca = found, ca
        self.standing = Standing(ca=ca[0] if ca else None)


def _load(directory: Path) -> tuple[Leaf, tuple[x509.Certificate, ...]]:
    """Read one version of the files; raises :class:`UnusableError`."""
    link = directory / "..data"
    try:
        version = link.resolve(strict=True) if link.is_symlink() else directory
        chain_pem = (version / "tls.crt").read_bytes()
        key_pem = (version / "tls.key").read_bytes()
        ca = version / "ca.crt"
        ca_pem = ca.read_bytes() if ca.exists() else b""
        chain = x509.load_pem_x509_certificates(chain_pem)
    except OSError as error:
        raise UnusableError(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise UnusableError(f"tls.crt: {error}") from None
    leaf = Leaf(chain[0], chain_pem, key_pem, intermediates=tuple(chain[1:]))
    LiveContext().load(leaf)  # a certificate and a key of two versions do not load
    return leaf, tuple(certificates(ca_pem))
