"""``python -m certs``: see how the certificates stand, and ask for a rotation.

It asks the API server as kubectl would (kubeconfig, or the ServiceAccount inside a pod). It reads
the whole Secret, the CA's key included, but prints no key: a rotation is asked for by an
annotation, and done by a replica.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from certs.authority import CertificateError, fingerprint
from certs.ca_secret import COMPROMISED, REQUEST, parse
from certs.file_source import MountedFiles, load_files
from certs.kube_store import ConfigurationStore, SecretStore
from certs.server_clock import DatedKube, ServerClock
from certs.settings import CertificateSettings, load
from certs.status import CertificateStatus, as_json, as_table, assess, assess_files
from dispatcher.kube.client import Kube
from dispatcher.kube.errors import CONFLICT, KubeError
from dispatcher.kube.settings import InvalidSettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import TextIO

POLL = 0.5
"""Seconds between looks while waiting: a rotation takes a minute, a person looks on."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""

COST = """\
The old CA is trusted no more as soon as the bundles are rewritten. Until every replica has its new
leaf and every API server has read the new bundles (seconds), calls of the webhook fail: pods that
are created meanwhile are admitted as failurePolicy Ignore and the policies have it.
"""


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

    @property
    def secret(self) -> str:
        """The Secret, as messages name it."""
        return f"Secret {self.settings.namespace}/{self.settings.secret}"

    def status(self) -> CertificateStatus:
        """Read everything; raises :class:`KubeError`."""
        settings = self.settings
        observed = self._configurations.read()
        if settings.directory:
            files = _load_files(settings.directory)
            return assess_files(files, observed, self._clock.now(), settings)
        found = self._store.read()
        now = self._clock.now()
        reading = parse(found, settings.dns_name, now)
        return assess(reading, observed, now, settings)

    def ask(self, value: str) -> None:
        """Ask for a rotation; raises :class:`KubeError`.

        An update, not a patch: the webhook's own ServiceAccount may do it, so this works in its
        pods too. The replicas write the Secret rarely; losing to them twice would be no accident.
        """
        try:
            self._annotate(value)
        except KubeError as error:
            if error.status != CONFLICT:
                raise
            self._annotate(value)

    def _annotate(self, value: str) -> None:
        secret = self._kube.get(self._store.path)
        metadata = secret["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), REQUEST: value}
        self._kube.update(self._store.path, secret)


def _load_files(directory: Path) -> MountedFiles | CertificateError:
    try:
        return load_files(directory)
    except CertificateError as error:
        return error


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit code.

    0, 1 if it failed, 2 if it was called wrongly, 130 if it was interrupted.
    """
    try:
        default = load()
        chosen = _parser(default).parse_args(arguments)
        named = {field: getattr(chosen, field) for field in ("service", "namespace", "secret")}
        settings = default.model_copy(update=named)
        terminal = CommandContext(Kube.load("cni-genie-certs"), settings, sys.stdout, sys.stderr)
        return run(chosen, terminal)
    except (KubeError, InvalidSettingsError) as error:
        sys.stderr.write(f"python -m certs: {error}\n")
        return 2 if isinstance(error, InvalidSettingsError) else 1
    except KeyboardInterrupt:
        sys.stderr.write("python -m certs: interrupted; what was asked for stays asked for\n")
        return INTERRUPTED


def run(chosen: argparse.Namespace, terminal: CommandContext) -> int:
    """Run the command in *chosen* on *terminal*; raises :class:`KubeError`."""
    if chosen.command == "status":
        status = terminal.status()
        _show(chosen, status, terminal)
        return 0 if status.usable else 1
    return _rotate(chosen, terminal)


def _show(chosen: argparse.Namespace, status: CertificateStatus, terminal: CommandContext) -> None:
    as_text = json.dumps(as_json(status), indent=2) if chosen.output == "json" else as_table(status)
    terminal.out.write(f"{as_text}\n")


def _rotate(chosen: argparse.Namespace, terminal: CommandContext) -> int:
    settings, say = terminal.settings, terminal.progress.write
    if settings.directory:
        say(
            f"python -m certs: certificates come from files in {settings.directory}, so there is "
            "nothing to rotate here: whoever makes the files renews them\n"
        )
        return 1
    before = terminal.status()
    old = _signer(before)
    if old is None:
        say(
            f"python -m certs: {terminal.secret} holds no usable CA, so nothing can be rotated: "
            f"a running replica makes one (kubectl get pods -n {settings.namespace})\n"
        )
        return 1
    _ask(chosen, terminal, before)
    if not chosen.wait:
        say('a replica takes it from here: see "python -m certs status"\n')
        return 0
    return _wait(chosen, terminal, old)


def _ask(chosen: argparse.Namespace, terminal: CommandContext, before: CertificateStatus) -> None:
    """Ask for what was chosen, unless it is what happens anyway."""
    say = terminal.progress.write
    if chosen.compromised:
        say(COST)
        terminal.ask(COMPROMISED)
        say("asked for\n")
    elif before.phase == "PUBLISH":
        say(f"under way already: it waits for {before.waits_for}\n")
    else:
        terminal.ask("requested")
        say("asked for\n")
        if before.phase == "PROMOTE":
            say(
                f"the last rotation is not over: it waits for {terminal.status().waits_for}. "
                "--compromised would not wait\n"
            )


def _wait(chosen: argparse.Namespace, terminal: CommandContext, old: str) -> int:
    """Follow the rotation until the new CA signs, and nothing trusts a compromised one."""
    started, said = terminal.monotonic(), ""
    while True:
        status, line = _look(terminal)
        elapsed = terminal.monotonic() - started
        if line != said:
            terminal.progress.write(f"{elapsed:5.0f} s  {line}\n")
            said = line
        if status and _is_done(status, old, until_distrusted=chosen.compromised):
            _show(chosen, status, terminal)
            return 0
        if elapsed > chosen.timeout:
            terminal.progress.write(
                f"python -m certs: not done after {chosen.timeout:g} s: {line} "
                "(docs/certificates.md says what to do when it is stuck)\n"
            )
            return 1
        terminal.sleep(POLL)


def _look(terminal: CommandContext) -> tuple[CertificateStatus | None, str]:
    """Return the status, None if it could not be read just now, and a line about it."""
    try:
        status = terminal.status()
    except KubeError as error:
        return None, f"no answer: {error}"
    return status, f"{status.phase}: waits for {status.waits_for}"


def _is_done(status: CertificateStatus, old: str, *, until_distrusted: bool) -> bool:
    trusts = any(
        fingerprint(one.certificate) == old and one.trusted_by for one in status.authorities
    )
    return _signer(status) not in (None, old) and not (until_distrusted and trusts)


def _signer(status: CertificateStatus) -> str | None:
    signing = [fingerprint(a.certificate) for a in status.authorities if a.role == "signs"]
    return signing[0] if signing else None


def _parser(default: CertificateSettings) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--namespace", default=default.namespace, help="of Service and Secret (%(default)s)"
    )
    common.add_argument(
        "--service", default=default.service, help="by which the webhook is called (%(default)s)"
    )
    common.add_argument("--secret", default=default.secret, help="with the CA (%(default)s)")
    common.add_argument(
        "--output",
        choices=["table", "json"],
        default="table",
        help="for people or for programs (%(default)s)",
    )
    parser = argparse.ArgumentParser(
        prog="python -m certs", description="The certificates of Genie's webhook."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "status",
        parents=[common],
        help="phase, what signs, what is trusted, expiry, and what is waited for",
    )
    rotate = commands.add_parser("rotate", parents=[common], help="ask for a new CA")
    rotate.add_argument("--wait", action="store_true", help="show progress until the new CA signs")
    rotate.add_argument(
        "--timeout", type=float, default=300, help="seconds to wait, at most (%(default)s)"
    )
    rotate.add_argument(
        "--compromised",
        action="store_true",
        help="distrust the old CA at once, without an overlap: calls fail for seconds",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
