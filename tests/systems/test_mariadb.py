"""What only MariaDB has: passwords by two plugins, privileges in patterns, powers given by hand, databases in use."""

from functools import partial

import pytest

from tests.changes.trees import tree
from tests.systems.catalogue import Kind, server_of
from tests.systems.test_documents import CATALOG, document, path, planned, system

pytestmark = [pytest.mark.systems]
USER, DATABASE = Kind("mariadb", "MariaDbUser"), Kind("mariadb", "MariaDbDatabase")
BED = server_of("mariadb")
PLUGINS = ["mysql_native_password", "ed25519"]
WRONG_PASSWORD = "the password on the system is not the one that is kept for it"


@pytest.fixture
def stage(stages):
    stage = stages("mariadb")
    stage.prepare(USER)
    return stage


@pytest.fixture
def other(stage, otherwise):
    return partial(otherwise, stage)


@pytest.fixture
def sql(stage):
    return partial(BED.rows, stage.testbed)


def account(user):
    return f"'{user['spec']['name']}'@'{user['spec']['host']}'"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_application_signs_in_and_a_changed_secret_is_set_once(stage, plugin):
    user = USER.resource(authentication=plugin)
    enter = partial(BED.client, stage.testbed, user["spec"]["name"])
    first, second = 'first "pässword" \\ {{ 7 * 7 }}', "second of exactly 32 characters."
    assert stage.play(replaced=[user], secrets={"password": first}).failed == []
    assert enter(first) == (0, "1")

    changed = {"password": second}
    predicted = stage.play(replaced=[user], secrets=changed, check=True).of(user)
    assert predicted["reasons"] == [WRONG_PASSWORD]
    assert enter(first)[0] == 0
    assert stage.play(replaced=[user], secrets=changed).of(user) == predicted
    assert enter(second) == (0, "1")
    assert "Access denied" in enter(first)[1]
    assert stage.play(replaced=[user], secrets=changed).changed == []


def test_another_way_to_check_the_password_is_one_change_and_locking_keeps_everything(stage):
    user = USER.resource()
    secrets = {"password": USER.example.secrets["password"]}
    enter = partial(BED.client, stage.testbed, user["spec"]["name"], secrets["password"])
    stage.play(replaced=[user])
    stronger = USER.changed(user, authentication="ed25519")
    assert len(stage.play(replaced=[stronger]).of(user)["reasons"]) == 1
    assert enter()[0] == 0
    locked = USER.changed(stronger, login=False)
    assert stage.play(replaced=[locked]).of(user)["reasons"] == ["login changes from True to False"]
    assert "locked" in enter()[1]
    assert stage.play(replaced=[stronger]).failed == []
    assert enter()[0] == 0


def test_a_user_without_a_readable_password_is_refused_and_not_made(stage):
    user = USER.resource()
    event = stage.play(replaced=[user], secrets={}).of(user)
    assert event["message"] == "The password of the user could not be read; see where its secret is kept."
    assert stage.read(user) is None


def test_an_underscore_in_a_databases_name_gives_nothing_in_one_that_looks_alike(stage, sql):
    one = DATABASE.resource(name="alike_one")
    twin = DATABASE.resource(name="alikexone")
    user = USER.resource(privileges=[{"database": "alike_one", "privileges": ["SELECT"]}])
    assert stage.play(replaced=[one, twin, user]).failed == []
    for name in ("alike_one", "alikexone"):
        sql(f"CREATE TABLE {name}.things (size INT)")
    enter = partial(BED.client, stage.testbed, user["spec"]["name"], USER.example.secrets["password"])
    assert enter("SELECT COUNT(*) FROM alike_one.things") == (0, "0")
    assert "command denied" in enter("SELECT COUNT(*) FROM alikexone.things")[1]
    assert "command denied" in enter("INSERT INTO alike_one.things VALUES (1)")[1]


def test_what_was_given_by_hand_is_found_named_and_taken_back(stage, sql):
    user, beside = USER.resource(), USER.resource()
    stage.play(replaced=[user, beside])
    wanted, name = stage.read(user), account(user)
    sql("CREATE ROLE IF NOT EXISTS conformance_role")
    sql(f"GRANT conformance_role TO {name}, {account(beside)}")
    sql(f"REVOKE ADMIN OPTION FOR conformance_role FROM {BED.ADMIN}@'127.0.0.1'")  # as if a DBA had made it
    sql(f"GRANT SUPER ON *.* TO {name} WITH GRANT OPTION")
    sql(f"GRANT SELECT ON mysql.global_priv TO {name}")
    sql(f"GRANT SELECT ON `conformance\\_main`.* TO {name} WITH GRANT OPTION")
    sql(f"GRANT DROP ON `conformance_%`.* TO {name}")
    sql(f"ALTER USER {name} WITH MAX_QUERIES_PER_HOUR 5")
    both = stage.play(replaced=[user, beside], check=True)
    predicted = both.of(user)
    assert predicted["reasons"][0].startswith("privileges changes from")
    assert predicted["reasons"][1:] == [
        "privileges on the whole server were given to it there",
        "privileges on single tables or routines were given to it on the server",
        "the role conformance_role was given to it on the server",
        r"it may hand on its privileges on conformance\_main",
        "its privileges on conformance_% hold for every database whose name fits",
        "further limits were set for it on the server",
    ]
    assert both.of(beside)["reasons"] == ["the role conformance_role was given to it on the server"]
    assert stage.play(replaced=[user, beside]).resources == both.resources
    assert stage.play(replaced=[user, beside]).changed == []
    assert stage.read(user) == wanted
    assert stage.read(beside)["privileges"] == wanted["privileges"]
    left = "\n".join(row[0] for row in sql(f"SHOW GRANTS FOR {name}"))
    assert [word for word in ("SUPER", "GRANT OPTION", "global_priv", "conformance_role", "HOUR") if word in left] == []


def test_a_second_way_to_sign_in_and_an_expired_password_are_mended(stage, sql):
    user = USER.resource()
    stage.play(replaced=[user])
    verifier = sql(f"SELECT authentication_string FROM mysql.user WHERE User = '{user['spec']['name']}'")[0][0]
    sql(f"ALTER USER {account(user)} IDENTIFIED VIA mysql_native_password USING '{verifier}' OR unix_socket")
    sql(f"ALTER USER {account(user)} PASSWORD EXPIRE")
    event = stage.play(replaced=[user]).of(user)
    assert event["reasons"] == [
        "it may also sign in by unix_socket",
        "its password was made to expire on the server",
    ]
    assert stage.play(replaced=[user]).changed == []
    assert BED.client(stage.testbed, user["spec"]["name"], USER.example.secrets["password"]) == (0, "1")


def test_a_grant_that_forgot_to_escape_an_underscore_is_adopted_as_what_was_meant(stage, sql):
    user = USER.resource(privileges=[{"database": "conformance_main", "privileges": ["SELECT"]}])
    BED.make(stage.testbed, "MariaDbUser", user["spec"])
    sql(f"GRANT SELECT ON `conformance_main`.* TO {account(user)}")
    listed = stage.play(book="discover").gathered("MariaDbUser")
    found = next(item for item in listed if item["identity"]["name"] == user["spec"]["name"])
    assert found["spec"]["privileges"] == user["spec"]["privileges"]
    event = stage.play(replaced=[{**user, "adopt": True}]).of(user)
    assert "its privileges on conformance_main hold for every database whose name fits" in event["reasons"]
    assert "ON `conformance\\_main`.*" in sql(f"SHOW GRANTS FOR {account(user)}")[1][0]
    assert stage.play(replaced=[user]).changed == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "root"}, "cannot be the name of a user that is managed here"),
        ({"name": BED.ADMIN, "host": "127.0.0.1"}, "cannot be the name of a user that is managed here"),
        ({"privileges": [{"database": "mysql", "privileges": ["SELECT"]}]}, "cannot be the name of a database"),
        ({"privileges": [{"database": "a", "privileges": ["SUPER"]}]}, "knows no privilege SUPER in a database"),
        ({"privileges": [{"database": "a", "privileges": ["DROP"]}] * 2}, "is there twice"),
        (
            {"privileges": [{"database": "a", "privileges": ["DROP"], "x\0": 1}]},
            "privileges: there is no field x\\x00.",
        ),
        ({"login": "no"}, "login: must be true or false"),
        *(
            ({"host": host}, f"host: {host} is not a host, address or network like 10.1.2.0/255.255.255.0.")
            for host in ("10.1.2.0/24", "10.1.2.3/255.255.255.0", "10.1.2.0/0.0.0.255", "999.1.1.1")
        ),
    ],
)
def test_users_of_the_server_and_powers_over_it_are_refused(stage, fields, said):
    user = {**USER.resource(**fields), "adopt": True}
    for check in (True, False):
        assert said in stage.play(replaced=[user], check=check).of(user)["message"]


def test_a_user_that_cannot_be_given_its_privileges_is_not_left_half_made(other, stage, sql):
    sql("CREATE OR REPLACE USER clerk@'127.0.0.1' IDENTIFIED BY 'clerks password'")
    sql("GRANT CREATE USER ON *.* TO clerk@'127.0.0.1'")
    sql("GRANT SELECT ON mysql.* TO clerk@'127.0.0.1'")
    user, plain = USER.resource(), USER.resource(privileges=[])
    played = other({"password": "clerks password"}, user="clerk").play(replaced=[user, plain])
    assert played.changed == [plain["path"]]
    assert played.of(user)["message"].startswith("MariaDB refused it: Access denied for user 'clerk'")
    assert stage.read(user) is None


SMALL = "small@'127.0.0.1'"
MAIN = [{"database": "conformance_main", "privileges": ["ALL PRIVILEGES"]}]
BOTH = [*MAIN, {"database": "conformance_other", "privileges": ["SELECT"]}]


@pytest.fixture
def small(sql, other):
    """An account that may do some things, and one more by a role if that is its default."""
    sql(f"CREATE OR REPLACE USER {SMALL} IDENTIFIED BY 'its password'")
    sql("CREATE OR REPLACE ROLE users_of_all")
    for rights in (
        f"SELECT ON mysql.* TO {SMALL}",
        f"CREATE ON `small\\_%%`.* TO {SMALL}",
        f"ALTER ON `mine\\_%%`.* TO {SMALL}",
        f"ALL PRIVILEGES ON `conformance\\_main`.* TO {SMALL} WITH GRANT OPTION",
        "CREATE USER ON *.* TO users_of_all",
        f"users_of_all TO {SMALL}",
    ):
        sql(f"GRANT {rights}".replace("%%", "%"))
    yield other({"password": "its password"}, user="small")
    sql(f"DROP USER {SMALL}")
    sql("DROP ROLE users_of_all")


@pytest.mark.parametrize(("role", "refused"), [("users_of_all", "bcfgh"), ("NONE", "bcefghi")])
def test_what_our_own_account_may_not_do_is_told_before_it_is_tried(stage, small, sql, role, refused):
    sql(f"SET DEFAULT ROLE {role} FOR {SMALL}")
    mine, gone = DATABASE.resource(), DATABASE.resource()
    for database, name in ((mine, "mine_a"), (gone, "mine_b")):
        database["spec"]["name"] = f"{name}{database['path'][-3:].replace('-', '_')}"
    fewer, locked, away = (USER.resource(privileges=BOTH) for _ in range(3))
    assert stage.play(replaced=[mine, gone, fewer, locked, away]).failed == []
    new, big = DATABASE.resource(), DATABASE.resource()
    new["spec"]["name"] = f"small_{new['path'][-3:].replace('-', '_')}"
    replaced = {
        "a": new,
        "b": big,
        "d": DATABASE.changed(mine, character_set="utf8mb4"),
        "e": USER.resource(privileges=MAIN),
        "f": USER.resource(privileges=BOTH),
        "g": {**USER.changed(fewer, privileges=MAIN), "managed": True},
        "h": {**USER.changed(locked, privileges=MAIN, login=False), "managed": True},
    }
    deleted = {"c": gone, "i": {**away, "managed": True}}
    works = {"replaced": [*replaced.values()], "deleted": [*deleted.values()]}
    predicted, applied = small.play(check=True, **works), small.play(**works)
    assert predicted.resources == applied.resources
    by_path = {one["path"]: name for name, one in (replaced | deleted).items()}
    assert sorted(by_path[path] for path in applied.failed) == sorted(refused)
    assert {event["message"][:33] for event in applied.resources} == {"", "MariaDB refused it: Access denied"}


def test_a_database_and_its_user_come_and_go_in_one_play_with_the_tables(stage, sql):
    database = DATABASE.resource()
    name = database["spec"]["name"]
    user = USER.resource(privileges=[{"database": name, "privileges": ["ALL PRIVILEGES"]}])
    assert stage.play(replaced=[user, database], check=True).failed == []
    made = stage.play(replaced=[user, database])
    assert [event["kind"] for event in made.resources] == ["MariaDbDatabase", "MariaDbUser"]
    enter = partial(BED.client, stage.testbed, user["spec"]["name"], USER.example.secrets["password"])
    assert enter(f"CREATE TABLE {name}.t (i INT); INSERT INTO {name}.t VALUES (7); SELECT i FROM {name}.t") == (0, "7")
    assert stage.play(replaced=[DATABASE.changed(database, character_set="utf8mb4")]).failed == []
    assert sql(f"SELECT i FROM {name}.t") == [(7,)]

    gone = stage.play(deleted=[database, user])
    assert [event["kind"] for event in gone.resources] == ["MariaDbUser", "MariaDbDatabase"]
    assert gone.code == 0
    assert sql(f"SELECT * FROM mysql.db WHERE User = '{user['spec']['name']}'") == []


def test_a_collation_that_is_left_out_is_the_usual_one_and_the_mark_outlives_changes(stage, sql):
    database = DATABASE.resource(character_set="utf8mb4", collation="utf8mb4_bin")
    stage.play(replaced=[database])
    usual = DATABASE.without(database, ["collation"])
    predicted = stage.play(replaced=[usual], check=True).of(database)
    assert predicted["reasons"] == ["collation returns to the default, was utf8mb4_bin"]
    assert stage.play(replaced=[usual]).of(database) == predicted
    written = DATABASE.changed(usual, collation="utf8mb4_general_ci")
    assert stage.play(replaced=[usual]).changed == []
    assert stage.play(replaced=[written]).changed == []
    sql(f"ALTER DATABASE {database['spec']['name']} COLLATE utf8mb4_unicode_ci")
    assert stage.play(replaced=[usual]).changed == [database["path"]]
    comment = sql(
        f"SELECT SCHEMA_COMMENT FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{usual['spec']['name']}'"
    )
    assert comment[0][0] == f"Managed by Mergeyard: {database['path']}"


@pytest.mark.parametrize(
    ("connection", "secret", "said"),
    [
        ({}, "wrong", "Access denied for user 'mergeyard'"),
        ({"tls": "require", "ca_directory": "/nowhere"}, None, "there is no *.pem in /nowhere"),
    ],
)
def test_a_connection_that_is_wrong_is_told_in_a_sentence(other, connection, secret, said):
    database = DATABASE.resource()
    played = other({"password": secret} if secret else None, **connection).play(replaced=[database])
    assert said in played.of(database)["message"]
    assert played.of(database)["message"].endswith(".")


def test_the_certificate_must_be_from_the_authority_that_was_named(other, stage, tmp_path):
    database = DATABASE.resource()
    (tmp_path / "strange" / "ca").mkdir(parents=True)
    BED._certify(tmp_path / "strange")
    strange = {"ca_directory": str(tmp_path / "strange" / "ca")}
    message = other(**strange).play(replaced=[database]).of(database)["message"]
    assert "its certificate is not one that is trusted, or is for another host" in message
    assert other(tls="require", **strange).play(replaced=[database]).changed == [database["path"]]
    assert stage.play(replaced=[database]).changed == []


def test_a_user_with_powers_over_the_server_is_not_taken_over_and_keeps_its_password(stage, sql):
    user = {**USER.resource(), "adopt": True}
    BED.make(stage.testbed, "MariaDbUser", user["spec"])
    sql(f"GRANT RELOAD ON *.* TO {account(user)}")
    for check in (True, False):
        message = stage.play(replaced=[user], check=check).of(user)["message"]
        assert message.startswith("It has privileges on the whole server, so it is not a user of an application")
    assert BED.client(stage.testbed, user["spec"]["name"], "theirs") == (0, "1")
    sql(f"REVOKE RELOAD ON *.* FROM {account(user)}")
    assert stage.play(replaced=[user]).changed == [user["path"]]


def test_a_way_to_sign_in_that_the_server_has_not_loaded_is_refused_in_the_preview_too(stage, sql):
    new, old = USER.resource(authentication="ed25519"), USER.resource()
    stage.play(replaced=[old])
    wanted = [new, USER.changed(old, authentication="ed25519")]
    sql("UNINSTALL SONAME 'auth_ed25519'")
    try:
        predicted, applied = (stage.play(replaced=wanted, check=check) for check in (True, False))
    finally:
        sql("INSTALL SONAME 'auth_ed25519'")
    for one in wanted:
        assert predicted.of(one) == applied.of(one)
        assert applied.of(one)["message"].startswith("authentication: the server has not loaded ed25519")
    assert stage.play(replaced=wanted).failed == []


def test_a_network_is_written_with_its_mask_and_lets_in_from_it(stage):
    user = USER.resource(host="127.0.0.0/255.255.255.0")
    assert stage.play(replaced=[user]).changed == [user["path"]]
    assert BED.client(stage.testbed, user["spec"]["name"], USER.example.secrets["password"]) == (0, "1")
    assert stage.play(replaced=[user]).changed == []


def told(before, after):
    """What the plan says is risky about a change of a user; None: there is no document before."""
    there = {path(USER, "one"): document(USER, before)} if before is not None else {}
    plan, _ = planned(tree({**system(USER, {}), **there}, CATALOG), {path(USER, "one"): document(USER, after)})
    return " ".join(plan.items[0].risks)


def rights(*names):
    return {"host": "10.1.2.3", "tls": "any", "privileges": [{"database": "orders", "privileges": [*names]}]}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({}, {"max_connections": 1}, "refused when they open more connections"),
        ({"max_connections": 2}, {"max_connections": 1}, "refused when they open more connections"),
        ({"max_connections": 10}, {}, ""),
        (None, rights("SELECT"), ""),
        (None, rights("ALL PRIVILEGES"), "may do everything in the database"),
        (rights("SELECT"), rights("SELECT", "DROP"), "may delete tables and the database itself"),
        (None, rights("SELECT") | {"host": "%"}, "from every host"),
        (None, rights("SELECT") | {"host": "%.%"}, "from every host"),
        (None, rights("SELECT") | {"host": "10.%"}, ""),
        ({}, {"tls": "x509"}, "do not connect as it says are locked out"),
    ],
)
def test_what_is_risky_is_told_in_the_plan(before, after, said):
    risks = told(before, after)
    assert said in risks if said else risks == ""


@pytest.mark.parametrize("host", ["10.1.2.0/24", "10.1.2.0/8.8.8.8", "256.1.1.1", "10.1.2", "-x", "a b"])
def test_the_form_refuses_hosts_from_which_nobody_could_come(host):
    assert {problem.field for problem in CATALOG.kinds["MariaDbUser"].problems({"host": host}, lines={})} == {
        "spec.host"
    }


@pytest.mark.parametrize("host", ["%", "10.%", "10.1.2.3", "10.0.0.0/255.0.0.0", "app1.internal", "2001:db8::1"])
def test_the_form_takes_every_way_to_say_from_where(host):
    assert [*CATALOG.kinds["MariaDbUser"].problems({"host": host}, lines={})] == []
