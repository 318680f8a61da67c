"""A person's git client over TLS, with a certificate of the installation's own authority."""

import subprocess

import pytest

from tests.changes.conftest import REFUNDS, box
from tests.portal.test_git_http import Clone, Server, request_of


class TlsServer(Server):
    scheme = "https"

    def __init__(self, home):
        self.certificate, key = home / "certificate.pem", home / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", key, "-out", self.certificate),
            ],
            check=True,
            capture_output=True,
        )
        self.serve_options = ("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(key))
        self.git_options = ("-c", f"http.sslCAInfo={self.certificate}")
        super().__init__(home)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "home").mkdir()
    running = TlsServer(tmp_path / "home")
    try:
        yield running
    finally:
        running.stop()


def test_clone_and_push_go_over_tls_and_a_certificate_that_nobody_vouches_for_is_refused(server, tmp_path):
    rita = Clone(server, "rita", tmp_path / "rita")
    rita.write(REFUNDS, box(5))
    rita.commit("Over TLS")
    rita.push("change/over-tls")
    found = request_of(server, "change/over-tls")
    assert (found["title"], found["state"]) == ("Over TLS", "open")
    server.git_options = ()
    refused = rita.run("fetch", "origin", check=False)
    assert refused.returncode != 0
    assert "certificate" in refused.stderr
