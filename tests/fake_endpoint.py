"""A small OpenAI-compatible server in a thread, which can misbehave: the seam that endpoint tests talk to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | bytes | tuple[int, Any] | tuple[int, Any, dict[str, str]] | None
"""Text of the answer; raw bytes of the reply; or status, body and headers; `None` = never answer."""


class FakeEndpoint:
    """What the server was asked, and how it answers."""

    def __init__(self, say: Callable[[dict[str, Any], int], Answer]) -> None:
        self.say = say
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self.under_way = 0
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.usage = True
        self.base_url = ""


def completion(text: str, *, usage: bool = True) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    counted = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    return {"choices": [choice], **({"usage": counted} if usage else {})}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        fake: FakeEndpoint = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with fake.lock:
            number = len(fake.asked)
            fake.asked.append(body)
            fake.headers.append(dict(self.headers))
            fake.under_way += 1
            fake.most_at_once = max(fake.most_at_once, fake.under_way)
        try:
            answer = fake.say(body, number)
            if answer is None:
                fake.release.wait(5)
                self.close_connection = True
                return
            status, content, headers = 200, answer, {}
            if isinstance(answer, tuple):
                status, content, headers = (*answer, {})[:3]
            elif isinstance(answer, str):
                content = completion(answer, usage=fake.usage)
        finally:
            with fake.lock:
                fake.under_way -= 1
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def served(say: Callable[[dict[str, Any], int], Answer]) -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint(say)
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.fake = fake
    fake.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        fake.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
