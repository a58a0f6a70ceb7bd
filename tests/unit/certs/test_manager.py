from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Self

import pytest
import trustme
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from certs import CertificateManager, CertificateSettings
from certs.authority import CertificateError, issue_ca, to_pem
from certs.ca_secret import COMPROMISED, REQUEST, parse
from certs.kube_store import SecretStore
from certs.leaf import Leaf, make_leaf
from certs.selfcheck import DialError, dial
from certs.server_clock import ServerClock
from certs.tls_context import ReloadableContext
from certs.transitions import RotationReason
from certs.webhook_configs import API, KINDS
from certs.write_backoff import WriteBackoff
from dispatcher.kube.client import KubeError
from tests.unit.apiserver import START, Api, configuration
from tests.unit.certs.conftest import NAME, NOW, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography import x509

MUTATING = f"{API}{KINDS[0]}/cni-genie"
SECRET = "/api/v1/namespaces/genie-system/secrets/genie-webhook-ca"  # noqa: S105 - a path


@pytest.fixture
def api() -> Api:
    """Give an API server with one configuration of ours and one of somebody else."""
    made = Api()
    made.store(MUTATING, configuration("cni-genie", "a", "b"))
    foreign = configuration("foreign", "x")
    foreign["metadata"]["labels"] = {}
    made.store(f"{API}{KINDS[0]}/foreign", foreign)
    return made


def manager(api: Api, **settings: Any) -> CertificateManager:
    return CertificateManager(
        api.client(),
        CertificateSettings(**settings),
        monotonic=lambda: api.seconds,
        boot=lambda: api.seconds,
    )


def served(made: CertificateManager) -> x509.Certificate | None:
    return made.leaf.certificate if made.leaf else None


def value(made: CertificateManager, name: str, **labels: str) -> float:
    registry = CollectorRegistry()
    made.register_metrics(registry)
    found = registry.get_sample_value(f"genie_certificate_{name}", labels)
    assert found is not None
    return found


def bundle(api: Api, path: str = MUTATING) -> str | None:
    found: str | None = api.objects[path]["webhooks"][0]["clientConfig"].get("caBundle")
    return found


class Echo(socketserver.BaseRequestHandler):
    """One connection: TLS, then every line back."""

    def handle(self) -> None:
        """Serve until the other side is gone."""
        assert isinstance(self.server, Listener)
        with (
            contextlib.suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as connection,
        ):
            while data := connection.recv(100):
                connection.sendall(data)


class Listener(socketserver.ThreadingTCPServer):
    """A TLS listener in threads of its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.context = context
        self.port: int = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def test_a_first_round_makes_everything(api: Api) -> None:
    """The Secret, the bundle of each entry of ours, a leaf; nobody else's configuration."""
    made = manager(api)
    assert made.reason() == "no certificate yet"
    assert made.reconcile()
    assert made.wait_for_leaf(0)
    assert SECRET in api.objects
    assert all("caBundle" in entry["clientConfig"] for entry in api.objects[MUTATING]["webhooks"])
    assert bundle(api, f"{API}{KINDS[0]}/foreign") is None
    assert value(made, "secret_writes_total", cause=RotationReason.FIRST.name.lower()) == 1
    assert value(made, "rotation_phase", phase="STEADY") == 1
    assert value(made, "uncovered_entries") == 0


def test_a_second_round_writes_nothing(api: Api) -> None:
    """What is right is left alone."""
    made = manager(api)
    made.reconcile()
    versions = {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()}
    assert made.reconcile()
    assert versions == {p: one["metadata"]["resourceVersion"] for p, one in api.objects.items()}


def test_of_two_replicas_one_creates_the_secret(api: Api) -> None:
    """The other is told by a conflict, and adopts what it finds in the next round."""
    one, other = manager(api), manager(api)

    def overtake(method: str, _path: str) -> None:
        if method == "POST":
            api.before = lambda *_: None
            other.reconcile()

    api.before = overtake
    assert not one.reconcile()
    assert one.reconcile()
    assert one.leaf
    assert other.leaf
    assert one.leaf.ca == other.leaf.ca
    assert value(one, "failures_total") == 0


def test_what_cannot_be_written_keeps_nothing_else_from_it(api: Api) -> None:
    """A configuration that may not be patched is named; the others and the leaf are done."""
    other = f"{API}{KINDS[1]}/zz"
    api.store(other, configuration("zz", "z"))

    def forbid(method: str, path: str) -> None:
        if method == "PATCH" and path == MUTATING:
            raise KubeError(403, "Forbidden", f"PATCH {path}: not allowed")

    api.before = forbid
    made = manager(api)
    assert not made.reconcile()
    assert made.leaf
    assert bundle(api, other)
    assert value(made, "failures_total") == 1
    assert value(made, "uncovered_entries") == 2


def test_lost_races_are_errors_only_in_a_row(api: Api) -> None:
    """Three are bad luck; a fourth is counted and named."""
    made = manager(api)

    def conflict(method: str, path: str) -> None:
        if method == "PATCH":
            raise KubeError(422, "Invalid", f"PATCH {path}: the test fails")

    api.before = conflict
    for _ in range(3):
        made.reconcile()
    assert value(made, "failures_total") == 0
    made.reconcile()
    assert value(made, "failures_total") == 1


def test_without_an_api_server_the_leaf_is_renewed_at_the_last(api: Api) -> None:
    """By the CA in memory, when a tenth of its life is left; readiness names what is wrong."""
    made = manager(api)

    def unreachable(method: str, path: str) -> None:
        raise KubeError(0, "NoAnswer", f"{method} {path}: no answer")

    api.before = unreachable
    assert not made.reconcile()
    assert "no answer" in made.reason()
    api.before = lambda *_: None
    made.reconcile()
    api.before = unreachable
    before = made.leaf
    api.seconds = 0.8 * SETTINGS.leaf_lifetime
    made.reconcile()
    assert made.leaf is before
    api.seconds = 0.95 * SETTINGS.leaf_lifetime
    made.reconcile()
    assert made.leaf is not before
    api.seconds = 2 * SETTINGS.ca_lifetime
    last = made.leaf
    made.reconcile()
    assert made.leaf is last


def refuse(api: Api, status: int, *methods: str, path: str = SECRET.rpartition("/")[0]) -> None:
    """Answer calls with *methods* of what is at *path* with *status*."""

    def before(method: str, called: str) -> None:
        if method in methods and called.startswith(path):
            raise KubeError(status, "Refused", f"{method} {called}: refused")

    api.before = before


def ask(api: Api, value: str) -> None:
    """Ask for a rotation, as ``python -m certs rotate`` does."""
    api.objects[SECRET]["metadata"]["annotations"] = {REQUEST: value}


@pytest.mark.parametrize("status", [403, 409, 422])
@pytest.mark.parametrize("lost", [False, True], ids=["due for rotation", "deleted"])
def test_a_secret_that_cannot_be_written_keeps_nothing_else_from_its_work(
    api: Api, *, lost: bool, status: int
) -> None:
    """Bundles are repaired and the leaf is renewed, by the CA as read or as remembered."""
    made = manager(api)
    made.reconcile()
    before = made.leaf
    assert before
    if lost:
        api.remove(SECRET)
    else:
        ask(api, "requested")
    refuse(api, status, "PUT", "POST")
    for _ in range(4):
        assert not made.reconcile()
    assert "refused" in made._error
    api.store(MUTATING, configuration("cni-genie", "a", "b"))
    api.seconds = SETTINGS.leaf_lifetime * 0.7
    made.reconcile()
    assert bundle(api)
    assert made.leaf is not before
    assert made.leaf
    assert made.leaf.ca == before.ca


def test_an_unexpected_error_does_not_let_the_leaf_expire(api: Api) -> None:
    """Whatever the API server answers, the CA in memory signs when a tenth of the life is left."""
    made = manager(api)
    made.reconcile()
    before = made.leaf

    def broken(_method: str, _path: str) -> None:
        raise ZeroDivisionError

    api.before = broken
    api.seconds = SETTINGS.leaf_lifetime * 0.95
    assert not made.reconcile()
    assert made.leaf is not before


def test_offline_no_leaf_is_made_that_would_not_live_longer(api: Api) -> None:
    """In the last days of a CA its leaves end with it: another would be no better."""
    made = manager(api)
    made.reconcile()
    refuse(api, 0, "GET", path="/")
    for part in (0.24, 0.48, 0.72, 0.95, 0.99, 0.999):
        api.seconds = SETTINGS.ca_lifetime * part
        made.reconcile()
        last = made.leaf
        made.reconcile()
        assert made.leaf is last
    assert made.leaf
    assert made.leaf.ca
    assert made.leaf.certificate.not_valid_after_utc == made.leaf.ca.not_valid_after_utc
    assert value(made, "leaves_total") == 5


def test_a_replica_that_was_cut_off_brings_no_compromised_ca_back(api: Api) -> None:
    """Nobody else is left, and the Secret is gone: it makes a new CA after a few seconds."""
    one, other = manager(api), manager(api)
    for made in (one, other):
        made.reconcile()
    assert other.leaf
    assert other.leaf.ca
    bad = other.leaf.ca
    ask(api, COMPROMISED)
    one.reconcile()
    api.remove(SECRET)
    other.reconcile()
    assert other._seconds_to_next() <= SETTINGS.restore_grace
    api.seconds = 6
    other.reconcile()
    stored = parse(api.objects[SECRET], NAME, api.now).content
    assert stored
    assert stored.ca.certificate != bad
    assert bundle(api)
    assert to_pem(bad) not in b64decode(bundle(api) or "")


def test_the_ca_of_a_leaf_in_use_is_published_whatever_the_secret_says(api: Api) -> None:
    """Somebody restored another Secret: both CAs are trusted until the leaf has changed."""
    made = manager(api)
    made.reconcile()
    assert made.leaf
    assert made.leaf.ca
    before = to_pem(made.leaf.ca)
    elsewhere = Api()
    manager(elsewhere).reconcile()
    api.store(SECRET, elsewhere.objects[SECRET])
    api.store(MUTATING, configuration("cni-genie", "a", "b"))
    made.reconcile()
    assert before in b64decode(bundle(api) or "")
    assert to_pem(made.leaf.ca) == before


def test_a_secret_is_written_over_no_other_version_than_was_read(api: Api) -> None:
    """Of two replicas that read it, one writes; the other is told by a conflict."""
    made = manager(api)
    made.reconcile()
    store = SecretStore(api.client(), SETTINGS)
    found = store.read()
    stored = parse(found, NAME, api.now).content
    assert stored
    store.write(stored, found)
    with pytest.raises(KubeError) as refused:
        store.write(stored, found)
    assert refused.value.status == 409


def test_after_all_configurations_are_deleted_a_new_ca_still_waits(api: Api) -> None:
    """An API server that lags may know them yet, with the old CA alone."""
    made = manager(api)
    made.reconcile()
    ask(api, "requested")
    made.reconcile()
    api.remove(MUTATING)
    api.seconds = 1
    made.reconcile()
    assert value(made, "rotation_phase", phase="PUBLISH") == 1
    api.seconds = 62
    made.reconcile()
    assert value(made, "rotation_phase", phase="PROMOTE") == 1


def test_who_takes_the_bundle_away_again_and_again_is_answered_ever_later(api: Api) -> None:
    """In ten seconds a handful of writes instead of a hundred; others wait for nothing."""
    made = manager(api)
    made.reconcile()
    other = f"{API}{KINDS[1]}/other"
    with capture_logs() as logs:
        for tenth in range(100):
            api.seconds = tenth / 10
            api.store(MUTATING, configuration("cni-genie", "a", "b"))
            made.reconcile()
    assert 4 <= value(made, "bundle_writes_total") <= 10
    assert value(made, "contested_writes_total") >= 2
    assert sum("keeps overwriting" in one["event"] for one in logs) == 1
    assert 0 < made._seconds_to_next() <= 15
    api.store(other, configuration("other", "o"))
    made.reconcile()
    assert bundle(api, other)
    api.seconds += 15
    made.reconcile()
    assert bundle(api)


def test_a_contest_is_over_after_a_minute_of_peace() -> None:
    """Then the next write is the first of a row again, and waits for nothing."""
    now = [0.0]
    backoff = WriteBackoff(lambda: now[0], lambda: None)
    for _ in range(3):
        backoff.record_write("a")
    assert not backoff.may_write("a")
    assert backoff.may_write("b")
    now[0] = 61
    backoff.record_write("a")
    assert backoff.may_write("a")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        pytest.param(-3600, -3600, id="backwards"),
        pytest.param(86_400, 86_400, id="forwards"),
        pytest.param(3, None, id="three seconds are two API servers"),
    ],
)
def test_a_jump_of_the_clock_is_logged_once(api: Api, seconds: float, told: int | None) -> None:
    made = manager(api)
    made.reconcile()
    api.jumped = seconds
    with capture_logs() as logs:
        made.reconcile()
        made.reconcile()
    assert [one["seconds"] for one in logs if "clock jumped" in one["event"]] == (
        [told] if told else []
    )


def test_an_unexpected_error_ends_a_round_and_not_the_replica(api: Api) -> None:
    """It is logged and counted, and the next round goes on."""
    made = manager(api)

    def broken(_method: str, _path: str) -> None:
        raise ZeroDivisionError

    api.before = broken
    assert not made.reconcile()
    assert made.reason() == "an unexpected error; see the log"
    api.before = lambda *_: None
    assert made.reconcile()


def test_the_clock_is_the_api_servers(api: Api) -> None:
    """Before its first answer it is this machine's; then it is carried on by the boot clock."""
    client = api.client()
    clock = ServerClock(client, lambda: api.seconds)
    assert abs(clock.difference()) < 60
    client.get(API + KINDS[0])
    api.seconds = 90
    assert (clock.now() - START).total_seconds() == 90
    assert CertificateManager(client, SETTINGS).leaf is None


def test_a_request_moves_the_rotation_and_is_gone(api: Api) -> None:
    """From the annotation to PUBLISH in one round, to PROMOTE after the bundles settled."""
    made = manager(api)
    made.reconcile()
    api.objects[SECRET]["metadata"]["annotations"] = {REQUEST: "requested"}
    made.reconcile()
    assert REQUEST not in api.objects[SECRET]["metadata"]["annotations"]
    assert value(made, "rotation_phase", phase="PUBLISH") == 1
    api.seconds = 61
    made.reconcile()
    assert value(made, "rotation_phase", phase="PROMOTE") == 1
    assert value(made, "leaves_total") == 2


@pytest.fixture
def running(api: Api) -> Iterator[tuple[CertificateManager, Api]]:
    """Give a manager whose threads run, with its listener."""
    live = ReloadableContext()
    with Listener(live.context) as probe:
        port = probe.port
    made = CertificateManager(
        api.client(),
        CertificateSettings(
            resync=0.1, self_check=0.1, listen_port=port, listen_address="127.0.0.1"
        ),
        boot=lambda: api.seconds,
    )
    made.start()
    assert made.wait_for_leaf(10)
    yield made, api
    made.stop()


def test_what_fails_for_good_delays_no_repair_of_the_rest(
    running: tuple[CertificateManager, Api],
) -> None:
    """A round that waits after many failures is woken by a change."""
    made, api = running
    refuse(api, 403, "PATCH", path=f"{API}{KINDS[1]}")
    api.store(f"{API}{KINDS[1]}/zz", configuration("zz", "z"))
    eventually(lambda: value(made, "failures_total") > 0)
    made._backoff.failures = 100  # from here on it waits 7 to 15 seconds
    eventually(lambda: made._backoff.failures > 100)
    api.store(MUTATING, configuration("cni-genie", "a", "b"))
    woken = time.monotonic()
    made._wake.set()
    eventually(lambda: bundle(api) is not None)
    assert time.monotonic() - woken < 5


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_readiness_follows_listener_and_bundles(
    running: tuple[CertificateManager, Api],
) -> None:
    """Not before the listener answers; not while no bundle covers; despite one that does not."""
    made, api = running
    eventually(lambda: "no TLS handshake" in made.reason())
    with Listener(made.ssl_context()) as listener:
        made._check._settings = made._check._settings.model_copy(
            update={"listen_port": listener.port}
        )
        eventually(made.ready)
        eventually(lambda: value(made, "self_check_ok") == 1)
        assert value(made, "service_dial_ok") == 0

        def forbid(method: str, path: str) -> None:
            if method == "PATCH":
                raise KubeError(403, "Forbidden", f"PATCH {path}: not allowed")

        api.before = forbid
        api.store(f"{API}{KINDS[1]}/new", configuration("new", "n"))
        eventually(lambda: value(made, "self_check_ok") == 0)
        assert made.ready()
        api.store(MUTATING, configuration("cni-genie", "a", "b"))
        eventually(lambda: "no caBundle covers the certificate" in made.reason())


def test_another_certificate_at_the_listener_is_noticed(
    running: tuple[CertificateManager, Api],
) -> None:
    """Somebody else listens on our port."""
    made, _ = running
    foreign = ReloadableContext()
    ca = issue_ca(NAME, now=NOW, lifetime=600, backdating=0)
    foreign.load(make_leaf(ca, NOW, SETTINGS, early=0))
    with Listener(foreign.context) as listener:
        made._check._settings = made._check._settings.model_copy(
            update={"listen_port": listener.port}
        )
        eventually(lambda: "presents a certificate that is not" in made.reason())


def test_a_self_check_that_fails_in_a_new_way_goes_on(
    running: tuple[CertificateManager, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness says what it was, until a later check succeeds."""
    made, _ = running

    def unreadable(*_: object) -> None:
        raise ValueError("the certificate cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr("certs.selfcheck.dial", unreadable)
        eventually(lambda: "the self-check failed: the certificate cannot" in made.reason())
    eventually(lambda: "no TLS handshake" in made.reason())


def leaf(early: float = 0) -> Leaf:
    ca = issue_ca(NAME, now=NOW, lifetime=600, backdating=0)
    return make_leaf(ca, NOW, SETTINGS, early=early)


def test_a_pair_is_swapped_without_dropping_a_connection() -> None:
    """The open connection goes on; the next handshake meets the new pair; a bad one is refused."""
    live, one, other = ReloadableContext(), leaf(), leaf()
    assert not live.loaded
    live.load(one)
    with Listener(live.context) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", listener.port), 5) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as opened,
        ):
            assert dial("127.0.0.1", listener.port, NAME) == one.certificate
            live.load(other)
            with pytest.raises(CertificateError):
                live.load(Leaf(one.certificate, one.chain_pem, other.key_pem))
            assert dial("127.0.0.1", listener.port, NAME) == other.certificate
            opened.sendall(b"still here\n")
            assert opened.recv(100) == b"still here\n"


def is_answered(port: int, client: trustme.LeafCert | None) -> bool:
    """Tell whether the listener at *port* answers a client with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if client is not None:
        client.configure_cert(context)
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as opened,
    ):
        try:
            opened.sendall(b"a review\n")
            return opened.recv(100) == b"a review\n"
        except OSError:
            return False


def test_with_a_client_ca_only_its_clients_are_answered(tmp_path: Path) -> None:
    """Before and after a new pair; the self-check still sees what is presented."""
    ours, others = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.crt")
    client = ours.issue_cert("api-server")
    live = ReloadableContext(tmp_path / "ca.crt")
    for pair in (leaf(), leaf()):
        live.load(pair)
        with Listener(live.context) as listener:
            assert is_answered(listener.port, client)
            assert not is_answered(listener.port, None)
            assert not is_answered(listener.port, others.issue_cert("api-server"))
            assert dial("127.0.0.1", listener.port, NAME) == pair.certificate


def test_the_client_ca_is_read_once_at_the_start(tmp_path: Path) -> None:
    """A file that goes away, or is being replaced, keeps no new leaf from being served."""
    ours, path = trustme.CA(), tmp_path / "ca.crt"
    path.write_bytes("the CA of Åsa's API server\n".encode() + ours.cert_pem.bytes())
    live = ReloadableContext(path)
    path.unlink()
    made = leaf()
    live.load(made)
    with Listener(live.context) as listener:
        assert is_answered(listener.port, ours.issue_cert("api-server"))
        assert not is_answered(listener.port, None)
        assert dial("127.0.0.1", listener.port, NAME) == made.certificate


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "the file cannot be read: No such file", id="missing"),
        pytest.param(b"", "holds no certificate", id="empty"),
        pytest.param(b"\xff\xfe no PEM", "holds no certificate", id="something-else"),
    ],
)
def test_a_client_ca_that_cannot_be_used_ends_the_start(
    api: Api, tmp_path: Path, content: bytes | None, words: str
) -> None:
    """Also where the file was usable when the settings were read."""
    path = tmp_path / "ca.crt"
    trustme.CA().cert_pem.write_to_path(path)
    chosen = CertificateSettings(client_ca=path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateError, match=words):
        CertificateManager(api.client(), chosen)


def test_the_manager_hands_the_client_ca_to_its_listener(api: Api, tmp_path: Path) -> None:
    """And without one, every client is answered."""
    ours = trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.crt")
    for client_ca, answered in ((tmp_path / "ca.crt", False), (None, True)):
        made = manager(api, client_ca=client_ca)
        made.reconcile()
        with Listener(made.ssl_context()) as listener:
            assert is_answered(listener.port, None) is answered
            assert is_answered(listener.port, ours.issue_cert("api-server"))


def test_before_the_first_pair_every_handshake_is_refused() -> None:
    """Instead of a crash in the server, or a certificate of nobody."""
    with (
        Listener(ReloadableContext().context) as listener,
        pytest.raises(DialError, match="no TLS handshake"),
    ):
        dial("127.0.0.1", listener.port, NAME)


def write_files(folder: Path, made: Leaf, ca: bytes = b"") -> None:
    (folder / "tls.crt").write_bytes(made.chain_pem)
    (folder / "tls.key").write_bytes(made.key_pem)
    if ca:
        (folder / "ca.crt").write_bytes(ca)


def test_mounted_files_are_served_and_published(api: Api, tmp_path: Path) -> None:
    """No Secret is read; a new pair waits until the bundles have covered it for a while."""
    one, other = leaf(), leaf()
    assert one.ca
    assert other.ca
    made = manager(api, directory=tmp_path)
    assert made.reconcile()
    assert "usable files" in made.reason()
    write_files(tmp_path, one, to_pem(one.ca))
    assert made.reconcile()
    assert served(made) == one.certificate
    assert SECRET not in api.objects
    api.seconds = 100
    write_files(tmp_path, other, to_pem(other.ca))
    made.reconcile()
    assert served(made) == one.certificate
    api.seconds = 161
    made.reconcile()
    assert served(made) == other.certificate


def test_files_that_alone_are_trusted_are_served_at_once(api: Api, tmp_path: Path) -> None:
    """Another tool replaced every bundle: waiting would help nobody."""
    one, other = leaf(), leaf()
    made = manager(api, directory=tmp_path, write_bundles=False)
    for pair in (one, other):
        assert pair.ca
        write_files(tmp_path, pair)
        trusted = b64encode(to_pem(pair.ca)).decode()
        found = configuration("cni-genie", "a", bundle=trusted)
        api.store(MUTATING, found)
        made.reconcile()
        assert served(made) == pair.certificate


def test_a_volume_is_read_in_one_version(api: Api, tmp_path: Path) -> None:
    """Kubelet renames ``..data``; a key that does not fit is reported and the old pair stays."""
    one, other = leaf(), leaf()
    for name, pair in (("v1", one), ("v2", other)):
        (tmp_path / name).mkdir()
        write_files(tmp_path / name, pair)
    link = tmp_path / "..data"
    link.symlink_to("v1")
    made = manager(api, directory=tmp_path, write_bundles=False)
    made.reconcile()
    assert served(made) == one.certificate
    assert bundle(api) is None
    (tmp_path / "v2" / "tls.key").write_bytes(one.key_pem)
    link.unlink()
    link.symlink_to("v2")
    made.reconcile()
    assert served(made) == one.certificate
    write_files(tmp_path / "v2", other)
    made.reconcile()
    assert served(made) == other.certificate
    (tmp_path / "v2" / "tls.crt").write_bytes(b"x")
    made.reconcile()
    assert served(made) == other.certificate


def test_files_are_served_without_an_api_server(api: Api, tmp_path: Path) -> None:
    """What is mounted needs nobody's leave; what is valid stays."""

    def unreachable(method: str, path: str) -> None:
        raise KubeError(0, "NoAnswer", f"{method} {path}: no answer")

    api.before = unreachable
    made = manager(api, directory=tmp_path)
    made.reconcile()
    assert served(made) is None
    one = leaf()
    write_files(tmp_path, one)
    made.reconcile()
    assert served(made) == one.certificate
    made.reconcile()
