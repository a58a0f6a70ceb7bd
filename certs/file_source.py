"""The source that reads certificates from mounted files: from cert-manager or a company's own PKI.

The directory holds ``tls.crt``, ``tls.key`` and perhaps ``ca.crt``; usually it is a mounted Secret.
It is read in every reconciliation.
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
    """One version of the files: the leaf to serve, and the CAs to publish."""

    leaf: Leaf
    authorities: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class MountedChange:
    """A served leaf (old) and another one in the files (new), as the rules see them.

    *covering_old* counts the webhook entries whose bundle covers the old leaf, *covering_old_only*
    those of them whose bundle does not cover the new one. Times are in seconds.
    """

    is_old_valid: bool
    entries: int
    covering_old: int
    covering_old_only: int
    steady_for: float
    old_seconds_left: float
    last_part: float
    is_new_valid_longer: bool
    settings: CertificateSettings


TAKEOVER_RULES: tuple[tuple[str, Callable[[MountedChange], bool]], ...] = (
    (
        "the old leaf is not valid at the API server's time",
        lambda change: not change.is_old_valid,
    ),
    (
        "every bundle that covers the old leaf covers the new one",
        # A bundle that covers neither leaf is not waited for.
        lambda change: (
            not change.covering_old_only and change.steady_for >= change.settings.propagation
        ),
    ),
    (
        "no bundle covers the old leaf",
        lambda change: change.entries > 0 and not change.covering_old,
    ),
    (
        "the old leaf expires soon",
        lambda change: (
            change.is_new_valid_longer
            and not change.covering_old_only
            and change.old_seconds_left < change.last_part
        ),
    ),
    (
        "the old leaf expires now",
        lambda change: (
            change.is_new_valid_longer and change.old_seconds_left < 2 * change.settings.resync
        ),
    ),
)
"""Why the leaf in the files takes over from the served one: the first rule that applies."""


class FileSource:
    """Serves the leaf in *directory*, and publishes the CA there."""

    def __init__(
        self, directory: Path, settings: CertificateSettings, now: Callable[[], dt.datetime]
    ) -> None:
        self.state = SourceState()
        self._directory = directory
        self._settings = settings
        self._now = now
        self._files: MountedFiles | None = None
        self._last_error = ""
        self._last_wait = ""

    def reconcile(
        self, _observed: ObservedConfigurations, _leaf: Leaf | None
    ) -> BundlePublication | None:
        """Read the files; publish the CAs in ``ca.crt``, if the settings allow it."""
        self._reload()
        if not self._files or not self._files.authorities or not self._settings.write_bundles:
            return None
        # Nothing marks which CAs in a bundle came from these files, so every expired CA may go.
        return BundlePublication(self._files.authorities, (), lambda _certificate: True)

    def next_leaf(
        self, leaf: Leaf | None, observed: ObservedConfigurations
    ) -> tuple[Leaf, str] | None:
        """Return the leaf in the files, once it may take over from *leaf*."""
        new = self._new_leaf(leaf)
        if new is None:
            return None
        if leaf is None:
            return new, "there is no leaf yet"

        now, dns_name = self._now(), self._settings.dns_name
        old_errors = observed.verification_errors(leaf.chain, dns_name, now)
        new_errors = observed.verification_errors(new.chain, dns_name, now)
        covering_old_only = sorted(new_errors.keys() - old_errors.keys())
        change = MountedChange(
            is_old_valid=is_valid(leaf.certificate, now),
            entries=len(observed.entries),
            covering_old=len(observed.entries) - len(old_errors),
            covering_old_only=len(covering_old_only),
            steady_for=observed.steady_for,
            old_seconds_left=leaf.seconds_left(now),
            last_part=self._last_part(leaf),
            is_new_valid_longer=self._is_valid_longer(new, leaf),
            settings=self._settings,
        )
        for reason, applies in TAKEOVER_RULES:
            if applies(change):
                self._last_wait = ""
                return new, reason
        self._report_wait(covering_old_only)
        return None

    def offline_leaf(self, leaf: Leaf | None) -> tuple[Leaf, str] | None:
        """Return the leaf in the files, if *leaf* is None, not valid or about to expire."""
        self._reload()
        new = self._new_leaf(leaf)
        if new is None:
            return None

        now = self._now()
        if leaf and is_valid(leaf.certificate, now):
            expires_soon = leaf.seconds_left(now) < self._last_part(leaf)
            if not (expires_soon and self._is_valid_longer(new, leaf)):
                return None
        return new, "the files hold a new leaf and the API server does not answer"

    def _new_leaf(self, leaf: Leaf | None) -> Leaf | None:
        """Return the leaf in the files, unless there is none or it is *leaf* itself."""
        new = self._files.leaf if self._files else None
        return None if new and leaf and new.chain_pem == leaf.chain_pem else new

    def _is_valid_longer(self, new: Leaf, old: Leaf) -> bool:
        """Tell whether *new* is valid and expires after *old*: someone may mount an old pair."""
        expiry = new.certificate.not_valid_after_utc
        return is_valid(new.certificate, self._now()) and (
            expiry > old.certificate.not_valid_after_utc
        )

    def _last_part(self, leaf: Leaf) -> float:
        """Return the remaining seconds at which a new leaf is served without waiting longer.

        At most a tenth of the lifetime of *leaf*, which its issuer chose and not the settings.
        """
        certificate = leaf.certificate
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return min(life.total_seconds() / 10, self._settings.last_part)

    def _report_wait(self, covering_old_only: list[str]) -> None:
        """Set what the new leaf waits for, and log it once for each cause."""
        bundles = (
            f"caBundle of {', '.join(covering_old_only)}" if covering_old_only else "the bundles"
        )
        waits_for = (
            f"{bundles} to have covered the new {self._directory}/tls.crt for "
            f"{self._settings.propagation:g} s"
        )
        if waits_for != self._last_wait:
            log.info("new mounted certificate not served yet", waits_for=waits_for)
        self._last_wait = waits_for
        self.state = replace(self.state, waits_for=waits_for)

    def _reload(self) -> None:
        """Read the files; if they are unusable, keep the last usable ones and log why, once."""
        try:
            files = load_files(self._directory)
        except CertificateError as error:
            if str(error) != self._last_error:
                log.warning("mounted certificate unusable", error=str(error))
            self._last_error = str(error)
            self.state = SourceState(waits_for=f"usable files in {self._directory}: {error}")
            return

        self._last_error = ""
        self._files = files
        self.state = SourceState(ca=files.authorities[0] if files.authorities else None)


def load_files(directory: Path) -> MountedFiles:
    """Load one version of the files; raises :class:`CertificateError`."""
    try:
        # kubelet updates a volume by renaming the symbolic link "..data". All files are read from
        # the folder that it names at one moment, or certificate and key may not belong together.
        link = directory / "..data"
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
    ReloadableContext().load(leaf)  # raises if the key does not belong to the certificate
    return MountedFiles(leaf, tuple(parse_bundle(ca_pem)))
