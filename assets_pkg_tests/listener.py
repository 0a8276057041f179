"""Somebody who is told by notifiers: a real HTTP server."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "s3cr3t-t0ken"


class Listener:
    """An HTTP server that keeps what it is told; it answers with `statuses`, in turn, then with 200."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.kill: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                listener.may_answer.wait(30)
                if listener.kill:
                    listener.messages.append(message)
                    os.kill(listener.kill.pop(), signal.SIGKILL)
                    return
                status = listener.statuses.pop(0) if listener.statuses else 200
                if status == 200:
                    listener.messages.append(message)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """With a secret wherever a URL of apprise can hold one."""
        return f"json://me:{SECRET}-1@127.0.0.1:{self.port}/{SECRET}-2?+X-Token={SECRET}-3&-key={SECRET}-4"

    @property
    def name(self) -> str:
        return f"json://127.0.0.1:{self.port}/…"

    def titles(self) -> list[str]:
        return [each["title"] for each in self.messages]

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
