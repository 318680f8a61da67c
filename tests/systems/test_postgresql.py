"""What only PostgreSQL has: passwords, powers, comments as markers, databases in use."""

import psycopg
import pytest
from psycopg import sql

from tests.changes.trees import tree
from tests.systems.catalogue import Kind
from tests.systems.test_documents import CATALOG, document, path, planned, system

pytestmark = [pytest.mark.systems]
ROLE, DATABASE, GRANT = (Kind("postgresql", f"Postgres{name}") for name in ("Role", "Database", "Grant"))


@pytest.fixture
def stage(stages):
    stage = stages("postgresql")
    stage.prepare(DATABASE)
    return stage


def connect(stage, **changes):
    connection = stage.testbed.connection
    given = {"user": connection["user"], "password": stage.testbed.secrets["password"], "dbname": "postgres", **changes}
    return psycopg.connect(host=connection["host"], port=connection["port"], autocommit=True, **given)


def execute(stage, query, *names):
    with connect(stage) as database:
        database.execute(sql.SQL(query).format(*map(sql.Identifier, names)))


def test_the_application_signs_in_with_the_password_and_a_changed_secret_is_set_once(stage):
    role = ROLE.resource()
    name = role["spec"]["name"]
    stage.play(replaced=[role], secrets={"password": "first pässword"})
    connect(stage, user=name, password="first pässword").close()

    changed = {"password": "second"}
    predicted = stage.play(replaced=[role], secrets=changed, check=True).of(role)
    assert predicted["reasons"] == ["the password on the system is not the one that is kept for it"]
    connect(stage, user=name, password="first pässword").close()
    assert stage.play(replaced=[role], secrets=changed).of(role) == predicted
    connect(stage, user=name, password="second").close()
    with pytest.raises(psycopg.OperationalError):
        connect(stage, user=name, password="first pässword")
    assert stage.play(replaced=[role], secrets=changed).changed == []


@pytest.mark.parametrize(
    "password", ["ﬁve\u00a0\u2168 ﷺ", "soft\u00adhyphen", "שלום", "שa", "\u200b", "tab\tß\x07", "🂡 \U0001fae8"]
)
def test_a_password_of_any_characters_lets_one_in_and_is_not_set_again(stage, password):
    role = ROLE.resource()
    stage.play(replaced=[role], secrets={"password": password})
    connect(stage, user=role["spec"]["name"], password=password).close()
    assert stage.play(replaced=[role], secrets={"password": password}).changed == []
    with connect(stage) as database:
        database.pgconn.change_password(role["spec"]["name"].encode(), password.encode())
    assert stage.play(replaced=[role], secrets={"password": password}).changed == []


def test_a_role_without_a_readable_password_is_refused_and_not_made(stage):
    role = ROLE.resource()
    event = stage.play(replaced=[role], secrets={}).of(role)
    assert event["message"] == "The password of the role could not be read; see where its secret is kept."
    assert stage.read(role) is None


def test_a_power_that_was_given_by_hand_is_found_and_taken_away(stage):
    role = ROLE.resource()
    stage.play(replaced=[role])
    execute(stage, "ALTER ROLE {} SUPERUSER CREATEROLE", role["spec"]["name"])
    event = stage.play(replaced=[role]).of(role)
    assert event["reasons"] == [f"{power} was given to it on the server" for power in ("SUPERUSER", "CREATEROLE")]
    with connect(stage) as database:
        powers = database.execute(
            "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = %s", [role["spec"]["name"]]
        )
        assert powers.fetchone() == (False, False)
    assert stage.play(replaced=[role]).changed == []


def test_a_database_in_use_is_not_deleted_and_the_sentence_says_why(stage):
    database = DATABASE.resource()
    stage.play(replaced=[database])
    with connect(stage, dbname=database["spec"]["name"]):
        message = stage.play(deleted=[database]).of(database)["message"]
    assert "is being accessed by other users" in message
    assert stage.play(deleted=[database]).changed == [database["path"]]


def test_encoding_cannot_be_changed_and_the_sentence_says_what_to_do(stage):
    database = DATABASE.resource()
    stage.play(replaced=[database])
    other = DATABASE.changed(database, encoding="LATIN1")
    for check in (True, False):
        message = stage.play(replaced=[other], check=check).of(other)["message"]
        assert message.startswith("encoding: PostgreSQL cannot change UTF8 to LATIN1")
        assert "make a new database" in message


def test_a_database_that_a_crash_left_unfinished_is_made_anew_and_never_listed(stage):
    import hashlib

    database = DATABASE.resource()
    left = "mergeyard-unfinished-" + hashlib.sha256(database["spec"]["name"].encode()).hexdigest()[:20]
    execute(stage, "CREATE DATABASE {}", left)
    listed = stage.play(book="discover").gathered("PostgresDatabase")
    assert left not in [item["identity"]["name"] for item in listed]
    assert stage.play(replaced=[database]).changed == [database["path"]]
    with connect(stage) as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [left]).fetchone() is None


def test_a_role_and_its_database_come_and_go_in_one_play_in_the_right_order(stage):
    role = ROLE.resource()
    database = DATABASE.resource(owner=role["spec"]["name"])
    assert stage.play(replaced=[database, role], check=True).failed == []
    made = stage.play(replaced=[database, role])
    assert [event["kind"] for event in made.resources] == ["PostgresRole", "PostgresDatabase"]
    assert made.code == 0
    gone = stage.play(deleted=[role, database])
    assert [event["kind"] for event in gone.resources] == ["PostgresDatabase", "PostgresRole"]
    assert gone.code == 0


def test_a_reader_reads_what_is_there_and_what_comes_and_writes_nothing(stage):
    stage.prepare(GRANT)
    role, grant = ROLE.resource(), GRANT.resource(create=False, schemas=["public"])
    name = grant["spec"]["role"] = role["spec"]["name"]
    stage.play(replaced=[role, grant], secrets={"password": "reader"})
    database = grant["spec"]["database"]
    with connect(stage, dbname=database) as owner:
        owner.execute("SET ROLE conformance_owner")
        owner.execute("CREATE TABLE later (id serial)")
    with connect(stage, dbname=database, user=name, password="reader") as reader:
        for table in ("orders", "later"):
            assert reader.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"INSERT INTO {table} DEFAULT VALUES")
    stage.play(replaced=[GRANT.changed(grant, access="write")])
    with connect(stage, dbname=database, user=name, password="reader") as writer:
        writer.execute("INSERT INTO later DEFAULT VALUES")
    assert stage.play(deleted=[grant, role]).failed == []
    with connect(stage, dbname=database) as owner:
        owner.execute("DROP TABLE later")


def test_what_a_role_makes_itself_is_neither_counted_nor_taken_from_it(stage):
    stage.prepare(GRANT)
    role, beside, grant = ROLE.resource(), ROLE.resource(), GRANT.resource(create=True, access="read")
    name = grant["spec"]["role"] = role["spec"]["name"]
    database = grant["spec"]["database"]
    stage.play(replaced=[role, beside, grant], secrets={"password": "maker"})
    other = beside["spec"]["name"]
    with connect(stage, dbname=database, user=name, password="maker") as maker:
        for text in (
            "CREATE TABLE extra.made (id serial, note text)",
            "GRANT SELECT (note) ON extra.made TO {other}",
            "CREATE FUNCTION extra.made(text, int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "REVOKE EXECUTE ON FUNCTION extra.made FROM PUBLIC",
        ):
            maker.execute(sql.SQL(text).format(other=sql.Identifier(other)))
        again = stage.play(replaced=[grant]).of(grant)
        assert (again["status"], again["changed"], again["reasons"]) == ("ok", False, [])
        with connect(stage, dbname=database) as server:
            server.execute("CREATE FUNCTION extra.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'")
            server.execute(sql.SQL("GRANT EXECUTE ON FUNCTION extra.theirs() TO {}").format(sql.Identifier(name)))
        for wanted in (GRANT.changed(grant, access="write"), grant):
            assert stage.play(replaced=[wanted]).changed == [grant["path"]]
            maker.execute("INSERT INTO extra.made (note) VALUES ('mine')")
            maker.execute("SELECT extra.made('x')")
        assert stage.play(replaced=[grant], check=True).changed == []
        assert maker.execute("SELECT has_column_privilege(%s, 'extra.made', 'note', 'SELECT')", [other]).fetchone()[0]
        assert stage.play(deleted=[grant]).changed == [grant["path"]]
        with connect(stage, dbname=database) as server:
            mine = server.execute("SELECT has_table_privilege(%s, 'extra.made', 'INSERT')", [name])
            assert mine.fetchone() == (True,)
            server.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            server.execute("DROP FUNCTION extra.theirs")


def test_grants_go_for_another_owner_of_their_database_too_and_are_predicted_as_under_that_one(stage):
    former, owner, reader = (ROLE.resource() for _ in range(3))
    names = [one["spec"]["name"] for one in (former, owner, reader)]
    database = DATABASE.resource(owner=names[0])
    given = {"database": database["spec"]["name"], "schemas": ["public"], "create": False}
    grant, back = (GRANT.resource(**given) for _ in range(2))
    grant["spec"]["role"], back["spec"]["role"] = names[2], names[0]
    stage.play(replaced=[former, reader, database, grant], secrets={"password": "open"})

    def make(name, table):
        with connect(stage, dbname=given["database"], user=name, password="open") as maker:
            maker.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(table)))

    def reads(name, table):
        with connect(stage, dbname=given["database"]) as server:
            return server.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", [name, table]).fetchone()[0]

    def both(replaced, deleted=()):
        predicted = stage.play(replaced=replaced, deleted=deleted, check=True)
        applied = stage.play(replaced=replaced, deleted=deleted, secrets={"password": "open"})
        assert predicted.resources == applied.resources
        assert applied.failed == []

    make(names[0], "old")
    both([owner, DATABASE.changed(database, owner=names[1])])  # one that is only just made
    with pytest.raises(psycopg.OperationalError, match="User does not have CONNECT privilege"):
        make(names[0], "late")
    make(names[1], "new")
    assert stage.play(replaced=[grant], check=True).changed == []
    assert [reads(names[2], "old"), reads(names[2], "new"), reads(names[1], "old")] == [True, True, False]
    passed = DATABASE.changed(database, owner=names[2])
    both([passed, back], [grant])  # to one that had a grant, and a grant for one that now owns nothing
    make(names[2], "newest")
    assert [reads(names[0], "old"), reads(names[0], "newest")] == [True, True]
    assert stage.play(replaced=[passed, back]).changed == []


def test_a_role_needs_no_grant_on_a_schema_of_its_own(stage):
    stage.prepare(GRANT)
    grant = GRANT.resource()
    role = sql.Identifier(grant["spec"]["role"])
    with connect(stage, dbname=grant["spec"]["database"]) as server:
        server.execute(sql.SQL("CREATE SCHEMA its_own AUTHORIZATION {}").format(role))
        own = GRANT.changed(grant, schemas=["its_own"])
        for check in (True, False):
            said = stage.play(replaced=[own], check=check).of(own)["message"]
            assert said.endswith(" owns its_own and needs no grant on it; leave it out.")
        server.execute("DROP SCHEMA its_own")


def test_the_owner_of_a_database_needs_no_grant(stage):
    stage.prepare(GRANT)
    grant = GRANT.resource(role="conformance_owner")
    event = stage.play(replaced=[grant]).of(grant)
    assert event["message"] == "conformance_owner owns the database and needs no grant; remove the document."


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (ROLE, {"name": "mergeyard"}, "This is the role that Mergeyard works as; choose another name."),
        (ROLE, {"name": "theirs"}, "It has SUPERUSER on the server, so it is not a role of an application"),
        (ROLE, {"name": "pg_write_all_data"}, "is a name that PostgreSQL has a meaning for"),
        (ROLE, {"name": "public"}, "is a name that PostgreSQL has a meaning for"),
        (DATABASE, {"name": "postgres"}, "This is the database that Mergeyard connects to; choose another name."),
        (DATABASE, {"name": "template1"}, "template1 is one of the server's own databases"),
        (DATABASE, {"name": "shapes"}, "shapes is one of the server's own databases"),
        (DATABASE, {"owner": "pg_monitor"}, "owner: there is no role pg_monitor on the server that could own"),
        (GRANT, {"role": "mergeyard"}, "role: mergeyard is none whose privileges are managed here"),
        (GRANT, {"role": "pg_monitor"}, "role: pg_monitor is none whose privileges are managed here"),
        (GRANT, {"role": "public"}, "role: there is no role public on the server."),
        (GRANT, {"role": "nobody"}, "role: there is no role nobody on the server."),
        (GRANT, {"database": "nowhere"}, "There is no database nowhere on the server."),
    ],
)
def test_what_is_the_servers_own_is_never_taken_over(stage, kind, fields, said):
    stage.prepare(GRANT)
    with connect(stage) as database:
        database.execute("DROP ROLE IF EXISTS theirs")
        database.execute("CREATE ROLE theirs SUPERUSER LOGIN PASSWORD 'their own'")
        if not database.execute("SELECT 1 FROM pg_database WHERE datname = 'shapes'").fetchone():
            database.execute("CREATE DATABASE shapes IS_TEMPLATE true")
    resource = {**kind.resource(**fields), "adopt": True}
    for check in (True, False):
        event = stage.play(replaced=[resource], check=check).of(resource)
        assert said in event["message"]
    with connect(stage) as database:
        powers = database.execute("SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1").fetchall()
        owners = database.execute(
            "SELECT DISTINCT pg_get_userbyid(datdba) FROM pg_database WHERE datname = ANY(%s)",
            [["postgres", "template1", "shapes"]],
        ).fetchall()
    assert (powers, owners) == ([("mergeyard",), ("theirs",)], [("mergeyard",)])
    connect(stage, user="theirs", password="their own").close()


def test_what_nobody_may_take_over_is_not_offered(stage):
    execute(stage, "CREATE ROLE {} CREATEROLE", "powerful")
    listed = stage.play(book="discover")
    names = {item["identity"]["name"] for kind in (ROLE, DATABASE) for item in listed.gathered(kind.name)}
    assert names & {"powerful", "mergeyard", "postgres", "template1", "shapes"} == set()


@pytest.mark.parametrize("kind", [ROLE, DATABASE], ids=repr)
@pytest.mark.parametrize(
    "settings",
    [
        {"session_authorization": "postgres"},
        {"search_path": "evil"},
        {"statement_timeout\x00evil": "1s"},
        {"statement_timeout": 30},
        {"work_mem": "1kB"},
        {"default_transaction_isolation": "none"},
    ],
)
def test_settings_that_are_none_of_ours_or_have_no_such_value_are_refused_in_the_preview_too(stage, kind, settings):
    new, old = kind.resource(), kind.resource()
    stage.play(replaced=[old])
    wanted = [{**one, "spec": {**one["spec"], "settings": settings}} for one in (new, old)]
    seen = stage.read(old)
    predicted, applied = (stage.play(replaced=wanted, check=check) for check in (True, False))
    assert len(applied.failed) == 2
    for one in wanted:
        assert applied.of(one) == predicted.of(one)
        assert "setting" in applied.of(one)["message"] or "parameter" in applied.of(one)["message"]
    assert (stage.read(new), stage.read(old)) == (None, seen)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"owner": "nobody_here"}, "owner: there is no role nobody_here on the server that could own a database."),
        ({"owner": "conformance_owner\x00"}, "holds characters that no name may have"),
        ({"locale": "de_DE.UTF-8"}, "locale: the server does not know de_DE.UTF-8"),
        ({"locale": "C.UTF-8", "encoding": "LATIN1"}, "encoding: LATIN1 does not go with the locale C.UTF-8"),
    ],
)
def test_a_database_that_cannot_be_made_is_refused_in_the_preview_too(stage, fields, said):
    database = DATABASE.resource(**fields)
    predicted, applied = (stage.play(replaced=[database], check=check).of(database) for check in (True, False))
    assert predicted == applied
    assert said in applied["message"]


def test_what_others_made_with_another_encoding_is_not_taken_over(stage):
    database = {**DATABASE.resource(encoding="LATIN1"), "adopt": True}
    execute(stage, "CREATE DATABASE {}", database["spec"]["name"])
    for check in (True, False):
        message = stage.play(replaced=[database], check=check).of(database)["message"]
        assert message.startswith("encoding: PostgreSQL cannot change UTF8 to LATIN1")


def test_what_cannot_be_deleted_is_refused_in_the_preview_too(stage):
    role, database = ROLE.resource(), DATABASE.resource()
    database["spec"]["owner"] = role["spec"]["name"]
    reader, grant = ROLE.resource(), GRANT.resource(database=database["spec"]["name"], schemas=["public"])
    grant["spec"]["role"] = reader["spec"]["name"]
    stage.play(replaced=[role, database, reader, grant])
    with connect(stage, dbname=database["spec"]["name"]):
        predicted, applied = (stage.play(deleted=[role, database], check=check) for check in (True, False))
    for one in (role, database):
        assert predicted.of(one) == applied.of(one)
        assert applied.of(one)["status"] == "failed"
    assert applied.of(role)["message"].startswith(
        f"It still owns something, or has rights by hand, in {database['spec']['name']};"
    )
    heir = DATABASE.changed(database, owner="conformance_owner")
    predicted, applied = (stage.play(replaced=[heir], deleted=[role], check=check) for check in (True, False))
    assert (predicted.failed, applied.failed) == ([], [])
    assert [predicted.of(one) for one in (heir, role)] == [applied.of(one) for one in (heir, role)]


def test_a_former_owner_is_kept_by_what_does_not_pass_on_with_its_database_and_the_preview_knows(stage):
    former = ROLE.resource()
    database = DATABASE.resource(owner=former["spec"]["name"])
    stage.play(replaced=[former, database])
    with connect(stage, dbname=database["spec"]["name"]) as server:
        text = "ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"
        server.execute(sql.SQL(text).format(sql.Identifier(former["spec"]["name"])))
    heir = DATABASE.changed(database, owner="conformance_owner")
    predicted, applied = (stage.play(replaced=[heir], deleted=[former], check=check) for check in (True, False))
    assert predicted.failed == applied.failed == [former["path"]]
    assert predicted.of(former) == applied.of(former)


def test_a_role_its_database_and_a_grant_are_predicted_together_and_what_they_lack_too(stage):
    role, reader = ROLE.resource(), ROLE.resource()
    database = DATABASE.resource(owner=role["spec"]["name"])
    names = {"database": database["spec"]["name"], "role": reader["spec"]["name"], "create": False}
    fine, beyond = (GRANT.resource(**names, schemas=[schema]) for schema in ("public", "extra"))
    beyond["spec"]["role"] = role["spec"]["name"]
    bad = ROLE.resource(settings={"lock_timeout": "soon"})
    orphan = DATABASE.resource(owner=bad["spec"]["name"])
    wanted = [role, reader, database, fine, beyond, bad, orphan]
    predicted, applied = (stage.play(replaced=wanted, check=check) for check in (True, False))
    assert [predicted.of(one) for one in wanted] == [applied.of(one) for one in wanted]
    assert applied.failed == [bad["path"], orphan["path"], beyond["path"]]
    going = [role, reader, database, fine]
    predicted, applied = (stage.play(deleted=going, check=check) for check in (True, False))
    assert (predicted.failed, applied.failed) == ([], [])


def test_a_membership_that_was_given_by_hand_is_found_and_taken_away(stage):
    role, between = ROLE.resource(), ROLE.resource()
    stage.play(replaced=[role, between])
    name, other = role["spec"]["name"], between["spec"]["name"]
    execute(stage, "GRANT pg_write_all_data TO {} WITH ADMIN OPTION", other)
    execute(stage, "GRANT pg_write_all_data TO {} GRANTED BY {}", name, other)
    execute(stage, "GRANT mergeyard TO {}", name)
    predicted = stage.play(replaced=[role], check=True).of(role)
    assert sorted(predicted["reasons"]) == [
        f"it was made a member of {group} on the server" for group in ("mergeyard", "pg_write_all_data")
    ]
    assert stage.play(replaced=[role]).of(role) == predicted
    assert stage.play(replaced=[role]).changed == []
    assert stage.play(replaced=[between]).changed == [between["path"]]
    with connect(stage) as database:
        held = database.execute("SELECT 1 FROM pg_auth_members WHERE member = ANY(%s::regrole[])", [[name, other]])
        assert held.fetchone() is None


def test_only_the_owner_and_whom_a_grant_lets_in_connect_to_a_database(stage):
    owner, reader = ROLE.resource(), ROLE.resource()
    database = DATABASE.resource(owner=owner["spec"]["name"])
    name = database["spec"]["name"]
    grant = GRANT.resource(database=name, schemas=["public"], create=False)
    grant["spec"]["role"] = reader["spec"]["name"]
    stage.play(replaced=[owner, reader, database], secrets={"password": "open"})

    def enters(role):
        try:
            connect(stage, user=role["spec"]["name"], password="open", dbname=name).close()
        except psycopg.OperationalError as error:
            return str(error).splitlines()[-1]
        return True

    closed = "DETAIL:  User does not have CONNECT privilege."
    assert (enters(owner), enters(reader)) == (True, closed)
    stage.play(replaced=[grant])
    assert enters(reader) is True
    stage.play(deleted=[grant])
    assert enters(reader) == closed
    execute(stage, "GRANT CONNECT, TEMP ON DATABASE {} TO PUBLIC", name)
    event = stage.play(replaced=[database]).of(database)
    assert event["reasons"] == ["whoever may sign in to the server may connect to it"]
    assert (enters(owner), enters(reader)) == (True, closed)
    assert stage.play(replaced=[database]).changed == []


def test_every_right_in_the_database_that_was_given_by_hand_is_found_and_taken_back(stage):
    stage.prepare(GRANT)
    grant, other = GRANT.resource(access="read", create=False), GRANT.resource(access="read", create=False)
    stage.play(replaced=[grant, other])
    wanted, database = stage.read(grant), grant["spec"]["database"]
    role, second = (sql.Identifier(one["spec"]["role"]) for one in (grant, other))
    by_hand = [
        "GRANT UPDATE (note) ON public.orders TO {role}",
        "GRANT EXECUTE ON FUNCTION extra.danger() TO {role}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE conformance_owner IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO {role}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE conformance_owner GRANT INSERT ON TABLES TO {role}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE conformance_other IN SCHEMA extra GRANT SELECT ON TABLES TO {role}",
        "GRANT SELECT ON extra.orders TO {role} WITH GRANT OPTION",
        "SET ROLE {role}",
        "GRANT SELECT ON extra.orders TO {second}",
    ]
    with connect(stage, dbname=database) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION extra.danger() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
        )
        for statement in by_hand:
            connection.execute(sql.SQL(statement).format(role=role, second=second))
    predicted = stage.play(replaced=[grant], check=True).of(grant)
    for remark in (
        "it was given privileges on single columns in schema public on the server",
        "it was given privileges on routines in schema extra on the server",
        "it was given privileges on routines that will be made in schema public on the server",
        "it is given privileges on whatever conformance_other makes",
        "it is given privileges on whatever conformance_owner makes",
        "its privileges in schema extra are not those of a grant",
    ):
        assert remark in predicted["reasons"]
    assert stage.play(replaced=[grant]).of(grant) == predicted
    assert stage.play(replaced=[grant, other]).changed == []
    assert stage.read(grant) == wanted
    with connect(stage, dbname=database) as connection:
        left = connection.execute(
            "SELECT has_column_privilege(%(role)s, 'public.orders', 'note', 'UPDATE'), "
            "(SELECT proacl::text FROM pg_proc WHERE proname = 'danger') LIKE '%%' || %(role)s || '%%'",
            {"role": grant["spec"]["role"]},
        )
        assert left.fetchone() == (False, False)
    stage.play(deleted=[grant, other])


def test_the_rehearsal_leaves_nothing_on_the_server(stage):
    role, database = ROLE.resource(), DATABASE.resource()
    stage.play(replaced=[role, database])

    def everything():
        with connect(stage) as connection:
            return [
                connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1").fetchall()
                for table in ("pg_authid", "pg_db_role_setting", "pg_shdescription", "pg_auth_members", "pg_namespace")
            ]

    before = everything()
    changed = [kind.changed(one, **kind.example.updates) for kind, one in ((ROLE, role), (DATABASE, database))]
    changed += [ROLE.resource(), DATABASE.resource(locale="C.UTF-8")]
    assert len(stage.play(replaced=changed, check=True).changed) == 4
    assert everything() == before


def told(kind, before, after):
    """What the plan says is risky about a change; None: there is no document before."""
    there = {path(kind, "one"): document(kind, before)} if before is not None else {}
    plan, _ = planned(tree({**system(kind, {}), **there}, CATALOG), {path(kind, "one"): document(kind, after)})
    return " ".join(plan.items[0].risks)


def wrong(kind, spec):
    return {problem.field for problem in CATALOG.kinds[kind.name].problems(spec, lines={})}


READ = {"database": "orders", "role": "reports", "access": "read"}
WRITE = {**READ, "access": "write", "create": True}
REFUSED = "refused when they open more connections"


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [
        (ROLE, {}, {"connection_limit": 5}, REFUSED),
        (ROLE, {"connection_limit": 6}, {"connection_limit": 5}, REFUSED),
        (ROLE, {"connection_limit": 5}, {}, ""),
        (ROLE, {}, {"valid_until": "2020-01-01"}, "locks applications out at once"),
        (ROLE, {}, {"settings": {"statement_timeout": "1ms"}}, "what goes beyond them is cancelled"),
        (DATABASE, {"owner": "a"}, {"owner": "a", "connection_limit": 5}, REFUSED),
        (
            DATABASE,
            {"owner": "a"},
            {"owner": "b"},
            "The former owner can no longer connect. Tables that are there stay",
        ),
        (DATABASE, {"owner": "a", "connection_limit": 5}, {"owner": "a", "connection_limit": -1}, ""),
        (GRANT, None, READ, "can read every row"),
        (GRANT, WRITE, READ, "applications that write as this role fail"),
        (GRANT, WRITE, READ, "applications that make tables as this role fail"),
        (GRANT, READ, WRITE, "can change and delete every row"),
    ],
)
def test_what_is_risky_is_told_in_the_plan(kind, before, after, said):
    risks = told(kind, before, after)
    assert said in risks if said else risks == ""
    assert wrong(kind, after) == set()


@pytest.mark.parametrize(
    ("kind", "fields", "place"),
    [
        *((ROLE, {"name": name}, "name") for name in ("postgres", "public", "none", "pg_read_all_data")),
        *((DATABASE, {"name": name, "owner": "a"}, "name") for name in ("postgres", "template0", "template1")),
        *((DATABASE, {"owner": name}, "owner") for name in ("postgres", "public", "pg_monitor")),
        *((GRANT, {**READ, "role": name}, "role") for name in ("public", "postgres", "pg_monitor")),
        (GRANT, {**READ, "database": "postgres"}, "database"),
        (ROLE, {"valid_until": "2027-02-30"}, "valid_until"),
        (ROLE, {"settings": {"statement_timeout": "soon"}}, "settings.statement_timeout"),
        (ROLE, {"settings": {"log_min_duration_statement": "-2"}}, "settings.log_min_duration_statement"),
        (DATABASE, {"owner": "a", "settings": {"work_mem": "16 apples"}}, "settings.work_mem"),
        (
            DATABASE,
            {"owner": "a", "settings": {"default_transaction_isolation": "none"}},
            "settings.default_transaction_isolation",
        ),
    ],
)
def test_the_form_refuses_what_no_server_would_take(kind, fields, place):
    assert wrong(kind, fields) == {f"spec.{place}"}


def test_settings_are_taken_as_the_server_writes_them(stage):
    settings = {"log_min_duration_statement": "-1", "default_transaction_isolation": "repeatable read"}
    settings |= {"statement_timeout": "5 min", "work_mem": "1GB", "idle_session_timeout": "0", "lock_timeout": "250us"}
    for kind in (ROLE, DATABASE):
        resource = kind.resource(settings=settings)
        assert wrong(kind, resource["spec"]) == set()
        stage.play(replaced=[resource])
        assert stage.read(resource)["settings"] == settings
        assert stage.play(replaced=[resource]).changed == []


def test_what_our_own_account_may_not_grant_is_told_before_it_is_tried(stage, otherwise):
    """Whoever only holds privileges is refused, or only warned, which is told as a refusal too."""
    stage.prepare(GRANT)
    grant = GRANT.resource()
    database = grant["spec"]["database"]
    with connect(stage) as server:
        server.execute("DROP ROLE IF EXISTS clerk")
        server.execute("CREATE ROLE clerk LOGIN PASSWORD 'its password'")
    clerk = otherwise(stage, {"password": "its password"}, user="clerk")
    execute(stage, "GRANT CONNECT ON DATABASE {} TO clerk", database)
    predicted, applied = clerk.play(replaced=[grant], check=True), clerk.play(replaced=[grant])
    assert predicted.of(grant) == applied.of(grant)
    assert predicted.of(grant)["message"].startswith("PostgreSQL refused it: "), predicted.of(grant)["message"]
    assert stage.read(grant) is None
    stage.module.make(stage.testbed, GRANT.name, grant["spec"])  # what was refused is not ours: somebody else's now
    assert "write 'adopt: true'" in clerk.play(replaced=[grant], check=True).of(grant)["message"]
    assert stage.play(replaced=[{**grant, "adopt": True}]).changed == [grant["path"]]
    ours = {**grant, "managed": True}
    predicted, applied = clerk.play(deleted=[ours], check=True), clerk.play(deleted=[ours])
    assert predicted.of(grant) == applied.of(grant)
    assert predicted.failed == [grant["path"]]
    assert stage.play(deleted=[grant]).changed == [grant["path"]]

    with connect(stage, dbname=database) as server:
        owner = server.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database])
        server.execute(sql.SQL("GRANT {} TO clerk").format(sql.Identifier(owner.fetchone()[0])))
        server.execute("CREATE TABLE strangers (i int)")
        server.execute("GRANT SELECT ON strangers TO clerk")
        predicted, applied = clerk.play(replaced=[grant], check=True), clerk.play(replaced=[grant])
        assert predicted.of(grant) == applied.of(grant)
        said = 'PostgreSQL refused it: no privileges were granted for "strangers".'
        assert predicted.of(grant)["message"] == said
        server.execute("DROP TABLE strangers")
        server.execute("DROP OWNED BY clerk")
        server.execute("DROP ROLE clerk")
    assert stage.play(deleted=[ours]).failed == []


def test_a_database_that_cannot_be_used_holds_up_its_own_grants_and_settings_hold_up_none(stage):
    """One that an interrupted DROP left, and one whose settings end whatever takes longer than a millisecond."""
    stage.prepare(GRANT)
    good, bad = GRANT.resource(), GRANT.resource(database="half_dropped")
    named = good["spec"]["database"]
    with connect(stage) as server:
        server.execute("CREATE DATABASE half_dropped")
        server.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half_dropped'")
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"):
        execute(stage, "ALTER DATABASE {} SET {} = 1", named, setting)
    try:
        for check in (True, False):
            played = stage.play(replaced=[bad, good], check=check)
            assert (played.failed, played.changed) == ([bad["path"]], [good["path"]])
            assert played.of(bad)["message"].startswith("The database half_dropped cannot be used: ")
    finally:
        execute(stage, "ALTER DATABASE {} RESET ALL", named)
        execute(stage, "DROP DATABASE half_dropped")
    assert stage.read(good) == good["spec"]
    stage.module.remove(stage.testbed, GRANT.name, good["spec"])
