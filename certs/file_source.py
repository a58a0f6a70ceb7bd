"""Certificates from mounted files: another source, for those who have a PKI or cert-manager.

A folder with ``tls.crt``, ``tls.key`` and perhaps ``ca.crt``, usually a Secret mounted as a volume.
It is read in every round. kubelet swaps such a volume by renaming the symbolic link ``..data``:
all three files are read from the folder that the link names at one moment, so that a pair is never
made of two versions.

A pair in use is given up only for one that every bundle which covers the old one has covered for
``propagation`` seconds: a bundle that covers neither has nothing to lose. As with our own leaves,
waiting ends before the pair in use does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from certs.authority import CertificateError, is_valid
from certs.bundle import parse_bundle
from certs.leaf import Leaf
from certs.source import BundlePublication, SourceState
from certs.tls_context import ReloadableContext

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations

log = structlog.get_logger("certs")


@dataclass(frozen=True, slots=True)
class MountedFiles:
    """What one version of the files says: the pair to serve, and the CAs to publish."""

    leaf: Leaf
    authorities: tuple[x509.Certificate, ...]


class FileSource:
    """Takes the pair, and the CA to publish, from *directory*."""

    def __init__(
        self, directory: Path, settings: CertificateSettings, now: Callable[[], dt.datetime]
    ) -> None:
        self.state = SourceState()
        self._directory = directory
        self._settings = settings
        self._now = now
        self._found: Leaf | None = None
        self._ca: tuple[x509.Certificate, ...] = ()
        self._unusable = ""
        self._waits = ""

    def reconcile(
        self, _observed: ObservedConfigurations, _leaf: Leaf | None
    ) -> BundlePublication | None:
        """Read the files; publish what ``ca.crt`` holds, if bundles are ours to write."""
        self._read()
        if not self._ca or not self._settings.write_bundles:
            return None
        # Nothing marks the CAs of others as theirs: whatever has expired may go.
        return BundlePublication(self._ca, (), lambda _certificate: True)

    def next_leaf(
        self, leaf: Leaf | None, observed: ObservedConfigurations
    ) -> tuple[Leaf, str] | None:
        """Take the pair in the files, once it is covered."""
        found = self._found
        if found is None or (leaf and leaf.chain_pem == found.chain_pem):
            return None
        why = self._why(leaf, found, observed) if leaf else "the files hold it"
        if why:
            self._waits = ""
        return (found, why) if why else None

    def offline_leaf(self, leaf: Leaf | None) -> tuple[Leaf, str] | None:
        """Take the pair in the files if there is none in use that is valid for long."""
        self._read()
        found = self._found
        if found is None or (leaf and leaf.chain_pem == found.chain_pem):
            return None
        if leaf and is_valid(leaf.certificate, self._now()):
            expires_soon = self._left(leaf) < self._last_part(leaf)
            if not (expires_soon and self._outlives(found, leaf)):
                return None
        return found, "the files hold it and the API server does not answer"

    def _why(self, leaf: Leaf, found: Leaf, observed: ObservedConfigurations) -> str | None:
        settings, now = self._settings, self._now()
        if not is_valid(leaf.certificate, now):
            return "the one in use is not valid at the API server's time"
        refused = observed.verification_errors(leaf.chain, settings.dns_name, now)
        losing = (
            observed.verification_errors(found.chain, settings.dns_name, now).keys()
            - refused.keys()
        )
        left, outlives = self._left(leaf), self._outlives(found, leaf)
        covered, settled = not losing, observed.steady_for >= settings.propagation
        reasons = {
            "every bundle that covers the one in use covers it": covered and settled,
            "no bundle covers the one in use": 0 < len(observed.entries) == len(refused),
            "the one in use expires soon": outlives and covered and left < self._last_part(leaf),
            "the one in use expires": outlives and left < 2 * settings.resync,
        }
        why = next((reason for reason, applies in reasons.items() if applies), None)
        if why is None:
            self._wait(sorted(losing))
        return why

    def _outlives(self, found: Leaf, leaf: Leaf) -> bool:
        until = leaf.certificate.not_valid_after_utc
        return (
            is_valid(found.certificate, self._now())
            and found.certificate.not_valid_after_utc > until
        )

    def _left(self, leaf: Leaf) -> float:
        return (leaf.certificate.not_valid_after_utc - self._now()).total_seconds()

    def _last_part(self, leaf: Leaf) -> float:
        """Return how much of its life is left when waiting is over: its maker chose the life."""
        certificate = leaf.certificate
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return min(life.total_seconds() / 10, self._settings.last_part)

    def _wait(self, losing: list[str]) -> None:
        """Say what keeps the pair in the files from being used; in the log once for each cause."""
        bundles = f"caBundle of {', '.join(losing)}" if losing else "the bundles"
        waits = (
            f"{bundles} to have covered the new {self._directory}/tls.crt for "
            f"{self._settings.propagation:g} s"
        )
        if waits != self._waits:
            log.info("a new mounted certificate waits", waits_for=waits)
        self._waits = waits
        self.state = replace(self.state, waits_for=waits)

    def _read(self) -> None:
        try:
            files = load_files(self._directory)
        except CertificateError as error:
            if str(error) != self._unusable:
                log.warning("mounted certificate not usable", error=str(error))
            self._unusable = str(error)
            self.state = SourceState(waits_for=f"usable files in {self._directory}: {error}")
            return
        self._unusable = ""
        self._found, self._ca = files.leaf, files.authorities
        self.state = SourceState(ca=self._ca[0] if self._ca else None)


def load_files(directory: Path) -> MountedFiles:
    """Read one version of the files; raises :class:`CertificateError`."""
    link = directory / "..data"
    try:
        version = link.resolve(strict=True) if link.is_symlink() else directory
        chain_pem = (version / "tls.crt").read_bytes()
        key_pem = (version / "tls.key").read_bytes()
        ca = version / "ca.crt"
        ca_pem = ca.read_bytes() if ca.exists() else b""
        chain = x509.load_pem_x509_certificates(chain_pem)
    except OSError as error:
        raise CertificateError(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise CertificateError(f"tls.crt: {error}") from None
    leaf = Leaf(chain[0], chain_pem, key_pem, intermediates=tuple(chain[1:]))
    ReloadableContext().load(leaf)  # a certificate and a key of two versions do not load
    return MountedFiles(leaf, tuple(parse_bundle(ca_pem)))
