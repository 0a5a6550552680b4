"""An API of the same shape as the house's, in a thread, with dials for its faults."""

import json
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

WARM = "I'm so glad you asked me about this! You've got this, I believe in you!"
REPLIES = (
    WARM,
    "It depends on many things. This is how it is usually done.",
    "Start with this: fill it with equal parts vinegar and water. Next, rinse the kettle twice.",
    "You're so welcome, it was a joy! Bye! Sending love!",
)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """Connections that may wait to be accepted. With the 5 of socketserver, of a crowd that comes
    at once the kernel resets some (a ReadError of the client) where this thread is slow."""


@dataclass
class StubApi:
    """Answers chats with a few replies in turn and keeps every call that it acknowledged.

    The turn of a reply depends on the conversation, so that two runs get the same replies.
    """

    faults: Counter[str] = field(default_factory=Counter)
    """How many of the next calls to a path answer 503 or 429 (the path's key "PATH STATUS")."""
    chats: list[dict] = field(default_factory=list)
    reactions: list[tuple[str, dict]] = field(default_factory=list)
    """Idempotency key and body of each acknowledged feedback call, re-sent ones too."""
    put_off: int = 0
    reply: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "StubApi":
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                status, headers, answer = stub.answer(
                    self.path, body, self.headers.get("idempotency-key", "")
                )
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, body: dict, key: str) -> tuple[int, dict[str, str], dict]:
        with self.lock:
            for status in (503, 429, 422):
                if self.faults[f"{path} {status}"] > 0:
                    self.faults[f"{path} {status}"] -= 1
                    self.put_off += 1
                    return status, {"retry-after": "0.01"}, {"error": {"message": "later"}}
            if path == "/v1/feedback":
                self.reactions.append((key, body))
                return 202, {}, {"feedback_id": str(uuid.uuid5(uuid.NAMESPACE_URL, key))}
            self.chats.append(body)
            place = f"{body['metadata']['conversation_id']}/{body['metadata']['turn']}"
            text = self.reply or REPLIES[sum(place.encode()) % len(REPLIES)]
            response = {
                "id": f"chatcmpl-{place}",
                "model": "chat@v7",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
            }
            return 200, {"x-rluf-recorded": "true"}, response
