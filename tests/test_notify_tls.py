"""Encrypted channels: a certificate that the machine trusts lets a message through, any other keeps it here."""

import contextlib
import http.server
import socketserver
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from test_notify_channels import Hook, Mail, channel, serving, tell

SECRET = "hunter2"


class Upgrading(Mail):
    """A mail server that encrypts when it is asked to, and takes a password then only."""

    def finish(self):
        super().finish()
        # The server closes the socket it knows, which the upgrade left empty.
        if self.encrypted:
            self.request.close()

    def handle(self):
        server, self.encrypted = self.server, False
        self.say(server.greeting)
        while raw := self.rfile.readline():
            word = raw.split()[0].upper()
            server.words.append((word.decode(), self.encrypted))
            if word == b"EHLO":
                more = "AUTH PLAIN" if self.encrypted else "STARTTLS"
                self.say(f"250-me\r\n250 {more if server.upgrades else 'HELP'}")
            elif word == b"STARTTLS":
                self.say("220 now")
                self.request = server.context.wrap_socket(self.request, server_side=True)
                self.setup()
                self.encrypted = True
            elif word == b"AUTH":
                self.say("235 welcome")
            elif word == b"DATA":
                self.say("354 go on")
                server.seen.append(self.letter())
                self.say("250 kept")
            else:
                self.say("250 ok")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine trust the authority, the way an administrator does."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


@contextlib.contextmanager
def encrypted(server, authority: trustme.CA, name: str = "127.0.0.1") -> Iterator:
    """Serve with TLS from the first byte, by a certificate for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


def web(authority: trustme.CA, name: str = "127.0.0.1"):
    return encrypted(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook), authority, name)


def mail_server(handler: type) -> socketserver.ThreadingTCPServer:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.greeting, server.after_data, server.bye, server.refused = "220 hello", "250 kept", "221 bye", ()
    return server


@contextlib.contextmanager
def upgrading(authority: trustme.CA, *, upgrades: bool = True) -> Iterator:
    server = mail_server(Upgrading)
    server.context, server.words, server.upgrades = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), [], upgrades
    authority.issue_cert("127.0.0.1").configure_cert(server.context)
    with serving(server):
        yield server


def https(server) -> str:
    return f"https://127.0.0.1:{server.server_address[1]}/hook"


@pytest.mark.usefixtures("trusted")
def test_a_webhook_with_a_trusted_certificate_is_told(authority: trustme.CA, tmp_path: Path):
    with web(authority) as server:
        done = tell(tmp_path, channel(server, url=https(server)))

        assert done.delivered == 1
        assert len(server.seen) == 1


def test_a_webhook_whose_certificate_nobody_vouches_for_gets_nothing(authority: trustme.CA, tmp_path: Path):
    with web(authority) as server:
        done = tell(tmp_path, channel(server, url=https(server)))

        assert (done.delivered, done.failed, done.waiting) == (0, 1, 1)
        assert "certificate verify failed" in done.notes[0]
        assert server.seen == []


@pytest.mark.usefixtures("trusted")
def test_a_webhook_with_somebody_elses_certificate_gets_nothing(authority: trustme.CA, tmp_path: Path):
    with web(authority, "hooks.example.com") as server:
        done = tell(tmp_path, channel(server, url=https(server)))

        assert (done.delivered, done.waiting) == (0, 1)
        assert server.seen == []


@pytest.mark.usefixtures("trusted")
def test_mail_is_encrypted_from_the_first_byte(authority: trustme.CA, tmp_path: Path):
    with encrypted(mail_server(Mail), authority) as server:
        done = tell(tmp_path, channel(server, "email", encryption="tls"))

        assert done.delivered == 1
        assert b"it fell" in server.seen[0]


def test_mail_stays_here_when_nobody_vouches_for_the_server(authority: trustme.CA, tmp_path: Path):
    with encrypted(mail_server(Mail), authority) as server:
        done = tell(tmp_path, channel(server, "email", encryption="tls"))

        assert (done.delivered, done.waiting) == (0, 1)
        assert server.seen == []


@pytest.mark.usefixtures("trusted")
def test_mail_gives_its_password_after_the_upgrade_alone(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MAIL_KEY", SECRET)
    with upgrading(authority) as server:
        one = channel(server, "email", encryption="starttls", user="ada", password_env="MAIL_KEY")
        done = tell(tmp_path, one)

        assert done.delivered == 1
        assert ("AUTH", True) in server.words
        assert {word for word, safe in server.words if not safe} == {"EHLO", "STARTTLS"}


@pytest.mark.parametrize("upgrades", [True, False])
def test_mail_says_neither_password_nor_letter_without_a_trusted_upgrade(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upgrades: bool
):
    monkeypatch.setenv("MAIL_KEY", SECRET)
    with upgrading(authority, upgrades=upgrades) as server:
        one = channel(server, "email", encryption="starttls", user="ada", password_env="MAIL_KEY")
        done = tell(tmp_path, one)

        assert (done.delivered, done.waiting) == (0, 1)
        assert SECRET not in done.notes[0]
        assert server.seen == []
        assert {word for word, _ in server.words} <= {"EHLO", "STARTTLS", "QUIT"}
