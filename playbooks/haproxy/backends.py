"""Owns the tiny web servers behind the test bed's balancer: name=port for each, on the command line."""

import http.server
import json
import sys
import threading
from typing import Any


class Backend(http.server.BaseHTTPRequestHandler):
    """Says which server it is and what it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = getattr(self.server, "shown_name", "")
        body = json.dumps({"server": name, "host": self.headers.get("Host"), "path": self.path}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The balancer's checks would fill a log."""


def serve(backends: list[str]) -> None:
    for backend in backends:
        name, _, port = backend.partition("=")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Backend)
        server.shown_name = name  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    serve(sys.argv[1:])
