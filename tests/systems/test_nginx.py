"""What only nginx has: requests that reach servers or are refused, certificates, reloads without loss."""

import http.client
import json
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.systems.catalogue import Kind

pytestmark = [pytest.mark.systems]
SITE = Kind("nginx", "ReverseProxySite")


@pytest.fixture
def stage(stages):
    return stages("nginx")


def served(stage, colour):
    return [{"address": "127.0.0.1", "port": stage.testbed.extra[colour]}]


def site(stage, colour="blue", **fields):
    """A site without anything but one server."""
    resource = SITE.resource()
    spec = {"name": resource["spec"]["name"], "hosts": resource["spec"]["hosts"]}
    return SITE.at(resource["name"], {**spec, "paths": [{"servers": served(stage, colour)}], **fields})


def answer(stage, resource, path="/", **options):
    return stage.module.request(stage.testbed, resource["spec"]["hosts"][0], path, **options)


def reached(stage, resource, path="/"):
    return json.loads(answer(stage, resource, path)[2])["server"]


def file_of(stage, resource):
    return Path(stage.testbed.connection["sites_directory"]) / f"{resource['spec']['name']}.conf"


@contextmanager
def steady_requests(stage, resource, path="/", *, least):
    """Asks all the time; no answer may be another than 200."""
    answers, done = [], threading.Event()

    def ask():
        while not done.wait(0.005):
            answers.append(answer(stage, resource, path)[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()
    assert len(answers) >= least
    assert set(answers) == {200}


def test_the_longest_path_wins_and_a_path_is_not_a_prefix_of_a_longer_word(stage):
    paths = [{"servers": served(stage, "blue")}, {"path": "/api", "servers": served(stage, "green")}]
    resource = site(stage, paths=paths)
    assert stage.play(replaced=[resource]).code == 0
    found = {path: reached(stage, resource, path) for path in ("/", "/api", "/api/v1", "/apix", "/x/api")}
    assert found == {"/": "blue", "/api": "green", "/api/v1": "green", "/apix": "blue", "/x/api": "blue"}
    assert stage.play(deleted=[resource]).code == 0
    assert answer(stage, resource)[0] == 404


def test_headers_are_set_on_requests_and_on_answers_of_every_sort(stage):
    headers = {"request_headers": {"X-Team": "payments"}, "response_headers": {"X-Frame-Options": "DENY"}}
    resource = site(stage, **headers)
    stage.play(replaced=[resource])
    connection = http.client.HTTPConnection("127.0.0.1", stage.testbed.extra["http"], timeout=5)
    given = {"Host": resource["spec"]["hosts"][0], "X-Team": "nobody", "X-Forwarded-For": "6.6.6.6"}
    connection.request("GET", "/x?y=1", headers=given)
    response = connection.getresponse()
    said = json.loads(response.read())
    assert (said["path"], said["host"]) == ("/x?y=1", resource["spec"]["hosts"][0])
    assert said["headers"]["x-team"] == "payments"
    assert said["headers"]["x-real-ip"] == "127.0.0.1"
    assert said["headers"]["x-forwarded-for"] == "6.6.6.6, 127.0.0.1"
    assert said["headers"]["x-forwarded-proto"] == "http"
    assert response.getheader("X-Frame-Options") == "DENY"
    status, found, _ = answer(stage, resource, body=b"x" * 1_100_000)
    assert (status, found["x-frame-options"]) == (413, "DENY")


def test_an_upload_may_be_as_large_as_the_site_says(stage):
    resource = site(stage, max_body_size=2)
    stage.play(replaced=[resource])
    assert answer(stage, resource, body=b"x" * 1_900_000)[0] == 200
    assert answer(stage, resource, body=b"x" * 2_200_000)[0] == 413


def test_who_asks_too_often_is_refused_and_others_are_not(stage):
    limited, free = site(stage, rate_limit={"requests": 1, "per": "minute", "burst": 2}), site(stage)
    stage.play(replaced=[limited, free])
    assert [answer(stage, limited)[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    assert {answer(stage, free)[0] for _ in range(5)} == {200}


def test_a_connection_becomes_a_websocket_only_where_the_site_says_so(stage):
    paths = [{"servers": served(stage, "blue")}, {"path": "/live", "servers": served(stage, "blue"), "websocket": True}]
    resource = site(stage, paths=paths)
    stage.play(replaced=[resource])
    for path, status in (("/live", b"101"), ("/", b"200")):
        with socket.create_connection(("127.0.0.1", stage.testbed.extra["http"]), timeout=5) as connection:
            host = resource["spec"]["hosts"][0]
            asked = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            connection.sendall(asked.encode())
            with connection.makefile("rb") as answers:
                assert answers.readline().split()[1] == status
                if status == b"101":
                    while answers.readline().strip():
                        continue
                    connection.sendall(b"hello\n")
                    assert answers.readline() == b"hello\n"


def over_tls(stage, host):
    """The body of an answer over TLS, and the certificate that was shown; fails if it is not the test bed's."""
    context = ssl.create_default_context(cafile=stage.testbed.extra["certificate"])
    with (
        socket.create_connection(("127.0.0.1", stage.testbed.extra["https"]), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")[2]
        return json.loads(body), ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def test_a_site_with_https_shows_the_certificate_that_it_names_and_sends_http_there(stage):
    resource = site(stage, tls=SITE.example.updates["tls"])
    host = resource["spec"]["hosts"][0]
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        over_tls(stage, host)
    assert stage.play(replaced=[resource]).code == 0
    said, certificate = over_tls(stage, host)
    assert (said["server"], said["headers"]["x-forwarded-proto"]) == ("blue", "https")
    assert certificate == Path(stage.testbed.extra["certificate"]).read_text()
    status, headers, _ = answer(stage, resource, "/shop?a=b")
    assert (status, headers["location"]) == (301, f"https://{host}:{stage.testbed.extra['https']}/shop?a=b")


def test_a_file_that_cannot_be_used_is_refused_and_the_other_sites_of_the_same_work_are_not(stage):
    good = [site(stage), site(stage, tls=SITE.example.updates["tls"]), site(stage, "green")]
    other = {**SITE.example.updates["tls"], "certificate": "/etc/ssl/certs/other.pem"}
    missing = {**SITE.example.updates["tls"], "certificate": "/srv/missing.pem"}
    swapped = {"certificate": "/srv/site.key", "key": "/srv/site.pem"}
    bad = [site(stage, tls=tls) for tls in (other, missing, swapped)]
    resources = [good[0], bad[0], bad[1], good[1], bad[2], good[2]]
    for check in (True, False):
        played = stage.play(replaced=resources, check=check)
        said = [played.of(resource)["message"] for resource in bad]
        assert said[0] == "tls.certificate: /etc/ssl/certs/other.pem does not lie in /srv."
        assert said[1].startswith('nginx refuses it: cannot load certificate "/srv/missing.pem"')
        assert said[2].startswith('nginx refuses it: cannot load certificate "/srv/site.key"')
        assert sorted(played.changed) == sorted(resource["path"] for resource in good)
    assert [reached(stage, good[0]), reached(stage, good[2])] == ["blue", "green"]
    assert not any(file_of(stage, resource).exists() for resource in bad)


def test_no_request_is_lost_over_a_reload_not_even_one_that_takes_long(stage):
    steady = site(stage)
    stage.play(replaced=[steady])
    with steady_requests(stage, steady, least=30), steady_requests(stage, steady, "/slow", least=2):
        for _ in range(2):
            others = [site(stage, "green") for _ in range(3)]
            assert stage.play(replaced=others).code == 0
            assert reached(stage, others[0]) == "green"
            assert stage.play(deleted=others).code == 0
            assert answer(stage, others[0])[0] == 404


def test_a_refused_change_leaves_the_old_site_serving(stage):
    resource = site(stage)
    stage.play(replaced=[resource])
    file = file_of(stage, resource)
    before = file.read_text()
    wrong = SITE.changed(resource, **SITE.example.refused)
    for check in (True, False):
        message = stage.play(replaced=[wrong], check=check).of(resource)["message"]
        assert message == 'nginx refuses it: host not found in upstream "does-not-exist.invalid:80".'
    assert file.read_text() == before
    assert reached(stage, resource) == "blue"


def test_a_name_that_has_no_address_any_more_is_told_with_the_site_that_it_stands_in(stage):
    lost, other = site(stage), site(stage, "green")
    stage.play(replaced=[lost])
    file, gone = file_of(stage, lost), "does-not-exist.invalid"
    file.write_text(file.read_text().replace("server 127.0.0.1:", f"server {gone}:"))
    message = stage.play(replaced=[other], check=True).of(other)["message"]
    why = f'host not found in upstream "{gone}:{stage.testbed.extra["blue"]}".'
    assert message == f"nginx's configuration is not valid even without this, because of {lost['path']}: {why}"
    assert stage.play(replaced=[other, lost]).code == 0


def test_when_nginxs_own_configuration_is_broken_nothing_is_written_and_the_sentence_says_so(stage):
    resource = site(stage)
    config = Path(stage.testbed.connection["configuration"])
    good = config.read_text()
    config.write_text(good.replace("http {", "http {\n    nonsense on;"))
    try:
        message = stage.play(replaced=[resource]).of(resource)["message"]
    finally:
        config.write_text(good)
    assert message == 'nginx\'s configuration would not be valid: unknown directive "nonsense".'
    assert not file_of(stage, resource).exists()


def test_a_main_configuration_that_does_not_include_the_sites_is_said(stage, monkeypatch, tmp_path):
    resource = site(stage)
    monkeypatch.setitem(stage.testbed.connection, "sites_directory", str(tmp_path))
    message = stage.play(replaced=[resource], check=True).of(resource)["message"]
    assert message.endswith(f"nginx.conf does not include {tmp_path}/*.conf.")


def test_a_reload_that_fails_leaves_the_old_files_and_the_old_sites_serving(stage, monkeypatch):
    resource = site(stage)
    stage.play(replaced=[resource])
    before = file_of(stage, resource).read_text()
    new = site(stage)
    with monkeypatch.context() as patched:
        patched.setitem(stage.testbed.connection, "http_port", stage.testbed.extra["green"])
        played = stage.play(replaced=[new, resource])
    for each in (new, resource):
        message = played.of(each)["message"]
        assert message.startswith("nginx did not take the new configuration, the old one still serves: bind() to 127.0")
        assert "Address already in use" in message
    assert not file_of(stage, new).exists()
    assert file_of(stage, resource).read_text() == before
    assert reached(stage, resource) == "blue"
    assert stage.play(replaced=[new, resource]).changed == [new["path"]]
    assert reached(stage, new) == "blue"


def test_what_a_crash_left_between_files_and_reload_is_finished_by_the_next_run(stage):
    resource, other = site(stage), site(stage)
    stage.play(replaced=[resource])
    file, path = file_of(stage, resource), file_of(stage, other)
    written = file.read_text().replace(resource["spec"]["name"], other["spec"]["name"])
    written = written.replace(resource["spec"]["hosts"][0], other["spec"]["hosts"][0])
    path.write_text(written.replace(resource["path"], other["path"]))
    pending = file.with_name("reload-pending")
    pending.touch()
    assert answer(stage, other)[0] == 404

    assert stage.play(replaced=[other], check=True).changed == []
    assert pending.exists()
    assert stage.play(replaced=[other]).code == 0
    assert not pending.exists()
    assert reached(stage, other) == "blue"


def test_a_host_has_one_site_and_may_go_over_to_another_one(stage):
    first, second, third = site(stage), site(stage, "green"), site(stage)
    stage.play(replaced=[first, third])
    wanted = SITE.changed(second, hosts=[*second["spec"]["hosts"], *first["spec"]["hosts"]])
    for check in (True, False):
        message = stage.play(replaced=[wanted], check=check).of(second)["message"]
        assert message == f"nginx refuses it: {first['spec']['hosts'][0]} is served by another site already."
    left = SITE.changed(first, hosts=[f"old.{first['spec']['hosts'][0]}"])
    with steady_requests(stage, first, least=5):
        assert stage.play(replaced=[wanted, left]).code == 0
    assert reached(stage, first) == "green"


def test_a_site_gets_another_name_in_one_request_and_no_request_is_lost(stage):
    old = site(stage)
    new = site(stage, "green", hosts=old["spec"]["hosts"])
    refused = site(stage, hosts=old["spec"]["hosts"], **SITE.example.refused)
    stage.play(replaced=[old])
    for check in (True, False):
        played = stage.play(replaced=[refused], deleted=[old], check=check)
        assert played.of(refused)["message"].startswith("nginx refuses it: host not found in upstream")
        said = f"{old['spec']['hosts'][0]} stays here, as {refused['path']} is refused, which is to take it; "
        assert played.of(old)["message"] == f"{said}correct that one."
    with steady_requests(stage, old, least=5):
        predicted = stage.play(replaced=[new], deleted=[old], check=True)
        played = stage.play(replaced=[new], deleted=[old])
    assert played.code == 0
    assert [played.of(each) for each in (new, old)] == [predicted.of(each) for each in (new, old)]
    assert [stage.read(new), file_of(stage, old).exists()] == [played.of(new)["after"], False]
    assert reached(stage, old) == "green"


@pytest.mark.parametrize("process", ["another one", "none"])
def test_an_nginx_that_does_not_run_is_said_and_no_other_process_gets_its_signal(stage, process, tmp_path, monkeypatch):
    other = subprocess.Popen(["sleep", "60"])
    if process == "none":
        other.kill()
        other.wait()
    file = tmp_path / "nginx.pid"
    file.write_text(f"{other.pid}\n")
    monkeypatch.setitem(stage.testbed.connection, "pid_file", str(file))
    try:
        message = stage.play(replaced=[site(stage)]).resources[0]["message"]
        assert message.startswith(f"nginx does not run on 127.0.0.1 port {stage.testbed.connection['port']}: {file}")
        assert process == "none" or other.poll() is None
    finally:
        other.kill()
        other.wait()


BREAKING_OUT = [
    ("hosts", ["a.example.com; return 200"], "hosts.0: a.example.com; return 200 cannot be written"),
    ("hosts", ["a.example.com"] * 2, "hosts: a.example.com is there twice."),
    ("paths", [], "paths: must have at least one entry."),
    ("paths", [{"path": "/a/../b", "servers": [{"address": "a", "port": 1}]}], "paths.0.path: /a/../b cannot be"),
    ("paths", [{"servers": [{"address": "a:1 resolve", "port": 1}]}], "paths.0.servers.0.address: a:1 resolve cannot"),
    ("paths", [{"servers": [{"address": "a", "port": 1}], "timeout": True}], "paths.0.timeout: must be a number"),
    ("tls", {"certificate": "/srv/../etc/x", "key": "/srv/x"}, "tls.certificate: /srv/../etc/x cannot be written"),
    ("tls", {"certificate": "/srvx/a", "key": "/srv/x"}, "tls.certificate: /srvx/a does not lie in /srv."),
    ("response_headers", {"X-A": 'a" always; deny all; #'}, "response_headers.X-A: a"),
    ("response_headers", {"X-A": "a$request_uri"}, "response_headers.X-A: a$request_uri cannot be written"),
    ("response_headers", {"X A": "a"}, "response_headers: X A cannot be written"),
    ("request_headers", {"host": "other"}, "request_headers: host is set by nginx itself."),
    ("request_headers", {"X-Forwarded-For": "1.2.3.4"}, "request_headers: X-Forwarded-For is set by nginx itself."),
    ("request_headers", {"X-A": "a", "x-a": "b"}, "request_headers: x-a is there twice."),
    ("rate_limit", {"requests": 1, "per": "s burst=1"}, "rate_limit.per: s burst=1 is none of second, minute."),
    ("surprise", 1, "spec: there is no field surprise."),
]


def test_values_that_could_break_out_are_refused_by_the_module_too(stage):
    resources = [site(stage, **{field: value}) for field, value, _ in BREAKING_OUT]
    before = sorted(Path(stage.testbed.connection["sites_directory"]).iterdir())
    played = stage.play(replaced=resources)
    for resource, (_, _, said) in zip(resources, BREAKING_OUT, strict=True):
        assert played.of(resource)["message"].startswith(said)
    assert sorted(Path(stage.testbed.connection["sites_directory"]).iterdir()) == before
