"""Owns the tiny web servers behind the test beds of balancers and proxies: name=port for each, on the command line.

It must not know any system type.
"""

import http.server
import json
import sys
import threading
import time
from typing import Any

SLOW = 0.6  # seconds that an address with this word in it takes


class WebServer(http.server.BaseHTTPRequestHandler):
    """Says which server it is and what it was asked for; as a WebSocket it says again what it is told."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self.echo()
            return
        if "slow" in self.path:
            time.sleep(SLOW)
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer()

    def answer(self) -> None:
        said = {
            "server": getattr(self.server, "shown_name", ""),
            "host": self.headers.get("Host"),
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        body = json.dumps(said).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def echo(self) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.close_connection = True
        for line in self.rfile:
            self.wfile.write(line)

    def log_message(self, format: str, *args: Any) -> None:
        """The balancer's checks would fill a log."""


def serve(servers: list[str]) -> None:
    for each in servers:
        name, _, port = each.partition("=")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), WebServer)
        server.shown_name = name  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    serve(sys.argv[1:])
