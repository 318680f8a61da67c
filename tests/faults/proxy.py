"""A way between two servers on loopback that can be cut, closed and made slow."""

import contextlib
import socket
import threading
import time


class Proxy:
    """Passes on every connection to `port` of this host; `mode` is open, closed, or slow."""

    CHUNK = 16_384
    SLOW_SECONDS = 0.1  # for each chunk

    def __init__(self, target):
        self.target, self.mode = target, "open"
        self._pairs, self._lock = set(), threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """End every connection that is open now, in the middle of whatever it carries."""
        with self._lock:
            for one in [one for pair in self._pairs for one in pair]:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def stop(self):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                if self.mode == "closed":
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for one, other in (pair, pair[::-1]):
                threading.Thread(target=self._pass, args=(one, other, pair), daemon=True).start()

    def _pass(self, one, other, pair):
        with contextlib.suppress(OSError):
            while data := one.recv(self.CHUNK):
                if self.mode == "slow":
                    time.sleep(self.SLOW_SECONDS)
                other.sendall(data)
        for each in pair:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._pairs.discard(pair)
