"""What only PostgreSQL has: passwords, powers, comments as markers, databases in use."""

import psycopg
import pytest
from psycopg import sql

from tests.systems.catalogue import Kind

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


def test_the_owner_of_a_database_needs_no_grant(stage):
    stage.prepare(GRANT)
    grant = GRANT.resource(role="conformance_owner")
    event = stage.play(replaced=[grant]).of(grant)
    assert event["message"] == "conformance_owner owns the database and needs no grant; remove the document."
