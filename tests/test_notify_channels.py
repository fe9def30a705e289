"""Channels against servers of this machine: what arrives, what counts as confirmed, and what never gets out."""

import contextlib
import email
import email.policy
import hashlib
import hmac
import http.server
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offramp.notify import Channel, Message, NotifySettings, Outbox, Round, deliver
from offramp.notify.sending import mail

NOON = 1_795_348_800.0
HOSTILE = "<!channel> <https://evil.example|click> & @channel @everyone"


class Hook(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted and answers as it was told to."""

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.seen.append((self.path, dict(self.headers), body))
        answer = server.answers.pop(0) if server.answers else 200
        if answer == "hang":
            server.released.wait(20)
            return
        if answer == "drip":
            self._drip()
            return
        if answer == "cut":
            return
        self.send_response(answer)
        if answer == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_address[1]}/elsewhere")
        if answer == 429:
            self.send_header("Retry-After", "1800")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _drip(self):
        """Send a byte now and then, which no timeout of a socket notices."""
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.server.released.wait(0.05):
                self.wfile.write(b"x")

    def log_message(self, *_):
        """Say nothing."""


class Unix(socketserver.ThreadingUnixStreamServer):
    """Listens on a Unix socket."""

    def get_request(self):
        return super().get_request()[0], ("unix", 0)


@contextlib.contextmanager
def serving(server) -> Iterator:
    server.seen, server.answers, server.released = [], [], threading.Event()
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hook() -> Iterator:
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)) as server:
        yield server


class Mail(socketserver.StreamRequestHandler):
    """A mail server of few words."""

    def handle(self):
        server = self.server
        self.say(server.greeting)
        for raw in self.rfile:
            word = raw.split()[0].upper() if raw.split() else b""
            if word == b"DATA":
                self.say("354 go on")
                server.seen.append(self.letter())
                self.say(server.after_data)
                if server.after_data.startswith("cut"):
                    return
            elif word == b"RCPT" and any(name in raw.decode() for name in server.refused):
                self.say("550 no such user")
            elif word == b"QUIT":
                self.say(server.bye)
                return
            elif word in (b"EHLO", b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP"):
                self.say("250 ok")
            else:
                self.say("502 what is " + raw.decode("utf-8", "replace").strip())

    def say(self, text: str):
        self.wfile.write(f"{text}\r\n".encode())

    def letter(self) -> bytes:
        lines = []
        for raw in self.rfile:
            if raw == b".\r\n":
                break
            lines.append(raw.removeprefix(b".") if raw.startswith(b"..") else raw)
        return b"".join(lines)


@pytest.fixture
def post() -> Iterator:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    server.greeting, server.after_data, server.bye, server.refused = "220 hello", "250 kept", "221 bye", ()
    with serving(server):
        yield server


def url(server, path: str = "/hook") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def channel(server, kind: str = "webhook", **more) -> Channel:
    if kind == "email":
        fields = {"host": "127.0.0.1", "port": server.server_address[1], "encryption": "none"}
        fields |= {"sender": "offramp@example.com", "to": ("ada@example.com",)}
    else:
        fields = {"url": url(server)}
    return Channel(name="one", kind=kind, **{**fields, **more})


def told(**changed) -> Message:
    fields = {
        "id": "m",
        "severity": "critical",
        "title": "it fell",
        "text": "it fell\nfar",
        "facts": {"n": 1},
    }
    return Message(**{**fields, **changed})


def tell(folder: Path, one: Channel, *, now: float = NOON, timeout_s: float = 5, **changed) -> Round:
    settings = NotifySettings(channels=(one,), timeout_s=timeout_s)
    outbox = Outbox.of(folder)
    outbox.queue([told(**changed)], settings, now)
    # Private mode is fine with every server of these tests.
    return deliver(outbox, settings, now, private=True)


# ---- webhooks ------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_json_signed_over_its_bytes(hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_KEY", "s3cret")

    done = tell(tmp_path, channel(hook, url=url(hook, "/a?b=c"), secret_env="HOOK_KEY"))

    assert done == Round(delivered=1)
    ((path, headers, body),) = hook.seen
    assert path == "/a?b=c"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Offramp-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    said = json.loads(body)
    assert said.pop("delivery") == headers["X-Offramp-Delivery"]
    assert said == {
        "sent_at": NOON,
        "id": "m",
        "severity": "critical",
        "title": "it fell",
        "text": "it fell\nfar",
        "facts": {"n": 1},
    }


def test_a_webhook_without_a_key_is_not_signed(hook, tmp_path: Path):
    assert tell(tmp_path, channel(hook)).delivered == 1
    assert "X-Offramp-Signature" not in hook.seen[0][1]


def test_an_environment_proxy_is_not_asked(hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    assert tell(tmp_path, channel(hook)).delivered == 1


def test_a_name_of_this_machine_is_resolved_and_asked_for_by_name(hook, tmp_path: Path):
    port = hook.server_address[1]

    assert tell(tmp_path, channel(hook, url=f"http://localhost:{port}/x")).delivered == 1
    assert hook.seen[0][1]["Host"] == f"localhost:{port}"


def test_a_unix_socket_is_posted_to(tmp_path: Path):
    with serving(Unix(str(tmp_path / "s"), Hook)) as server:
        assert tell(tmp_path, channel(server, url=f"unix:{tmp_path}/s")).delivered == 1

    assert server.seen[0][0] == "/"


@pytest.mark.parametrize("answer", [302, 400, 404, 500, "cut"])
def test_what_was_not_confirmed_is_told_again_with_the_same_delivery_id_and_then_never(
    hook, tmp_path: Path, answer: int | str
):
    hook.answers[:] = [answer]

    first = tell(tmp_path, channel(hook))
    early = tell(tmp_path, channel(hook), now=NOON + 59)
    second = tell(tmp_path, channel(hook), now=NOON + 60)
    later = [tell(tmp_path, channel(hook), now=NOON + hours * 3600) for hours in (1, 2, 30)]

    assert (first.delivered, first.failed, first.waiting) == (0, 1, 1)
    assert (early.failed, early.waiting) == (0, 1)
    assert second == Round(delivered=1)
    assert later == [Round()] * 3
    assert [path for path, _, _ in hook.seen] == ["/hook", "/hook"]
    assert len({headers["X-Offramp-Delivery"] for _, headers, _ in hook.seen}) == 1


def test_a_server_that_asks_for_half_an_hour_gets_it(hook, tmp_path: Path):
    hook.answers[:] = [429]
    tell(tmp_path, channel(hook))

    assert tell(tmp_path, channel(hook), now=NOON + 1799) == Round(waiting=1)
    assert tell(tmp_path, channel(hook), now=NOON + 1800).delivered == 1


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_server_that_never_ends_its_answer_does_not_hold_the_monitor(hook, tmp_path: Path, answer: str):
    hook.answers[:] = [answer]
    began = time.monotonic()

    done = tell(tmp_path, channel(hook), timeout_s=0.2)

    assert done.failed == 1 and "no answer" in done.notes[0]
    assert time.monotonic() - began < 5


# ---- Slack ---------------------------------------------------------------------------------------------------------


def test_slack_text_links_to_nothing_and_calls_nobody(hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLACK_URL", url(hook, "/services/T0/B0/secret"))
    slack = Channel(name="one", kind="slack", url_env="SLACK_URL")

    assert tell(tmp_path, slack, title=HOSTILE, text=HOSTILE).delivered == 1

    path, _, body = hook.seen[0]
    said = json.loads(body)
    assert path == "/services/T0/B0/secret"
    assert said["text"].startswith(
        "[critical] &lt;!channel&gt; &lt;https://evil.example|click&gt; &amp; @\u200bchannel"
    )
    assert "<" not in said["text"] and "@channel" not in said["text"] and "@everyone" not in said["text"]
    assert (said["mrkdwn"], said["unfurl_links"], said["unfurl_media"]) == (False, False, False)


def test_a_failure_does_not_show_the_secret_address(hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLACK_URL", url(hook, "/services/T0/B0/secret"))
    slack = Channel(name="one", kind="slack", url_env="SLACK_URL")
    hook.answers[:] = [404]

    done = tell(tmp_path, slack)

    assert "404" in done.notes[0] and "secret" not in done.notes[0]
    assert "secret" not in "".join(one.read_text() for one in tmp_path.glob("*.jsonl"))


# ---- mail ----------------------------------------------------------------------------------------------------------


def test_a_mail_says_it_all_and_no_text_gets_into_its_head(post, tmp_path: Path):
    done = tell(
        tmp_path,
        channel(post, "email"),
        title="fell\r\nBcc: all@example.com\r\n\r\nhello",
        text="Genauigkeit fällt\n.\nQUIT\n" + "x" * 2_000,
    )

    assert done == Round(delivered=1)
    (raw,) = post.seen
    letter = email.message_from_bytes(raw, policy=email.policy.default)
    assert letter["Subject"] == "[offramp] critical: fell Bcc: all@example.com hello"
    assert letter["Bcc"] is None
    assert (letter["From"], letter["To"]) == ("offramp@example.com", "ada@example.com")
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Message-ID"].endswith("@example.com>")
    assert letter.get_content().splitlines()[:3] == ["Genauigkeit fällt", ".", "QUIT"]
    assert "x" * 2_000 in letter.get_content()
    assert max(map(len, raw.splitlines())) <= 998


def test_every_copy_of_a_mail_has_the_same_message_id(post):
    one = channel(post, "email")

    assert mail(one, told(), NOON)["Message-ID"] == mail(one, told(), NOON + 60)["Message-ID"]


def test_a_mail_that_was_taken_counts_even_if_the_goodbye_fails(post, tmp_path: Path):
    post.bye = "421 overloaded"

    assert tell(tmp_path, channel(post, "email")) == Round(delivered=1)


def test_a_mail_that_one_of_two_gets_is_not_sent_twice(post, tmp_path: Path):
    post.refused = ("gone@",)
    two = channel(post, "email", to=("ada@example.com", "gone@example.com"))

    first, second = tell(tmp_path, two), tell(tmp_path, two, now=NOON + 3600)

    assert (first.delivered, first.failed) == (1, 0)
    assert "gone@example.com" in first.notes[0]
    assert second == Round() and len(post.seen) == 1


def test_a_mail_that_nobody_gets_is_tried_again(post, tmp_path: Path):
    post.refused = ("ada@",)

    done = tell(tmp_path, channel(post, "email"))

    assert (done.delivered, done.failed) == (0, 1) and "550" in done.notes[0]
    post.refused = ()
    assert tell(tmp_path, channel(post, "email"), now=NOON + 60).delivered == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("greeting", "554 go away", "554"),
        ("after_data", "452 mailbox full", "452"),
        ("after_data", "cut", "SMTP"),
        ("greeting", "what", "SMTP"),
    ],
)
def test_a_mail_server_in_trouble_is_a_failure_that_is_told(
    post, tmp_path: Path, field: str, value: str, said: str
):
    setattr(post, field, value)

    done = tell(tmp_path, channel(post, "email"), timeout_s=2)

    assert (done.delivered, done.failed) == (0, 1) and said in done.notes[0]


def test_a_server_without_starttls_gets_neither_mail_nor_password(
    post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MAIL_PASSWORD", "s3cret")
    guarded = channel(post, "email", encryption="starttls", user="me", password_env="MAIL_PASSWORD")

    done = tell(tmp_path, guarded)

    assert done.failed == 1 and "STARTTLS" in done.notes[0]
    assert post.seen == []
