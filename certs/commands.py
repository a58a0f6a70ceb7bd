"""The commands of ``python -m certs``: show the status, request a rotation and follow it.

They call the API server as kubectl would. They read the whole Secret, with the CA's key, but print
no key. A rotation is requested by an annotation on the Secret; a replica carries it out.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certs.authority import CertificateError, fingerprint
from certs.ca_secret import COMPROMISED, REQUEST, parse
from certs.file_source import MountedFiles, load_files
from certs.kube_store import ConfigurationStore, SecretStore
from certs.server_clock import DatedKube, ServerClock
from certs.status import CertificateStatus, as_json, as_table, assess, assess_files
from certs.transitions import Phase
from dispatcher.kube.errors import CONFLICT, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

    from certs.settings import CertificateSettings

POLL = 0.5
"""Seconds between reads of the status while a rotation is followed."""

COST = """\
The old CA stops being trusted as soon as the bundles are rewritten. Until every replica has a new
leaf and every API server has read the new bundles (seconds), calls of the webhook fail. Meanwhile
pods are admitted without the webhook (failurePolicy: Ignore), as far as the policies allow.
"""


@dataclass(frozen=True, slots=True)
class RotateOptions:
    """The options of ``rotate``; *timeout* is in seconds."""

    wait: bool = False
    timeout: float = 300
    compromised: bool = False


class CommandContext:
    """What the commands work with: the API server, the settings, and where to write."""

    def __init__(
        self,
        kube: DatedKube,
        settings: CertificateSettings,
        out: TextIO,
        progress: TextIO,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.out = out
        self.progress = progress
        self.sleep = sleep
        self.monotonic = monotonic
        self._kube = kube
        self._clock = ServerClock(kube)
        self._store = SecretStore(kube, settings)
        self._configurations = ConfigurationStore(kube, settings, monotonic)

    def read_status(self) -> CertificateStatus:
        """Read everything; raises :class:`KubeError`."""
        settings = self.settings
        observed = self._configurations.observe()
        if settings.directory:
            files = _load_files(settings.directory)
            return assess_files(files, observed, self._clock.now(), settings)

        secret = self._store.read()
        now = self._clock.now()
        return assess(parse(secret, settings.dns_name, now), observed, now, settings)

    def request_rotation(self, value: str) -> None:
        """Annotate the Secret with *value*; raises :class:`KubeError`."""
        try:
            self._annotate(value)
        except KubeError as error:
            # Replicas write the Secret rarely: two conflicts in a row have another cause.
            if error.status != CONFLICT:
                raise
            self._annotate(value)

    def _annotate(self, value: str) -> None:
        # An update, not a patch: the ServiceAccount of the webhook may update the Secret, so the
        # command works in the webhook's pods, too.
        secret = self._kube.get(self._store.path)
        metadata = secret["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), REQUEST: value}
        self._kube.update(self._store.path, secret)


def show_status(context: CommandContext, output: str) -> int:
    """Print the status as *output* (table or json); return the exit code, 1 without a usable CA."""
    status = context.read_status()
    _print(context, status, output)
    return 0 if status.usable else 1


def rotate(context: CommandContext, options: RotateOptions, output: str) -> int:
    """Request a rotation and follow it, if *options* say so; return the exit code."""
    settings, write = context.settings, context.progress.write
    if settings.directory:
        write(
            f"python -m certs: certificates come from files in {settings.directory}, so there is "
            "no CA to rotate: renew the files where they are issued\n"
        )
        return 1

    before = context.read_status()
    old_signer = _signer(before)
    if old_signer is None:
        write(
            f"python -m certs: Secret {settings.namespace}/{settings.secret} holds no usable CA. "
            f"A running replica creates one; check: kubectl get pods -n {settings.namespace}\n"
        )
        return 1

    _request(context, options, before)
    if not options.wait:
        write('a replica carries it out; follow it with "python -m certs status"\n')
        return 0
    return _follow(context, options, old_signer, output)


def _request(context: CommandContext, options: RotateOptions, before: CertificateStatus) -> None:
    """Request a rotation, unless one has just begun."""
    write = context.progress.write
    if options.compromised:
        write(COST)
        context.request_rotation(COMPROMISED)
        write("rotation requested\n")
        return

    if before.phase == Phase.PUBLISH:
        write(f"a rotation is in progress; it waits for {before.waits_for}\n")
        return

    context.request_rotation("requested")
    write("rotation requested\n")
    if before.phase == Phase.PROMOTE:
        write(
            "the previous rotation is still in progress; it waits for "
            f"{context.read_status().waits_for}. --compromised would not wait\n"
        )


def _follow(context: CommandContext, options: RotateOptions, old_signer: str, output: str) -> int:
    """Report progress until another CA signs, and no bundle trusts a compromised one."""
    started_at, last_line = context.monotonic(), ""
    while True:
        status, line = _try_read_status(context)
        elapsed = context.monotonic() - started_at
        if line != last_line:
            context.progress.write(f"{elapsed:5.0f} s  {line}\n")
            last_line = line

        if status and _is_done(status, old_signer, distrusted=options.compromised):
            _print(context, status, output)
            return 0
        if elapsed > options.timeout:
            context.progress.write(
                f"python -m certs: not done after {options.timeout:g} s: {line} "
                "(see docs/certificates.md, If a rotation is stuck)\n"
            )
            return 1
        context.sleep(POLL)


def _try_read_status(context: CommandContext) -> tuple[CertificateStatus | None, str]:
    """Return the status, None if the API server does not answer, and a line about it."""
    try:
        status = context.read_status()
    except KubeError as error:
        return None, f"no answer: {error}"
    return status, f"{status.phase}: waits for {status.waits_for}"


def _is_done(status: CertificateStatus, old_signer: str, *, distrusted: bool) -> bool:
    """Tell whether another CA signs and, if *distrusted*, no bundle holds the old one."""
    is_old_trusted = any(
        fingerprint(authority.certificate) == old_signer and authority.trusted_by
        for authority in status.authorities
    )
    return _signer(status) not in (None, old_signer) and not (distrusted and is_old_trusted)


def _signer(status: CertificateStatus) -> str | None:
    """Return the fingerprint of the CA that signs, None if there is none."""
    signers = [fingerprint(a.certificate) for a in status.authorities if a.role == "signs"]
    return signers[0] if signers else None


def _print(context: CommandContext, status: CertificateStatus, output: str) -> None:
    text = json.dumps(as_json(status), indent=2) if output == "json" else as_table(status)
    context.out.write(f"{text}\n")


def _load_files(directory: Path) -> MountedFiles | CertificateError:
    try:
        return load_files(directory)
    except CertificateError as error:
        return error
