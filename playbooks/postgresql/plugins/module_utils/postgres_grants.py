"""Owns what a PostgresGrant means in PostgreSQL's own privileges, and reads it back from them.

Pure: rows in, specs and statements out. It must not know connections or Ansible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible.module_utils.mergeyard.pairing import Found, Spec  # type: ignore[import-not-found]
from psycopg import sql

TABLES = {"read": {"SELECT"}, "write": {"SELECT", "INSERT", "UPDATE", "DELETE"}}
SEQUENCES = {"read": {"SELECT"}, "write": {"SELECT", "USAGE"}}
MIXED = "mixed"

# What roles hold in the connected database, but for what owners hold as such; counted over a schema's objects.
HELD = """
WITH held AS (
  SELECT 'database' AS sort, '' AS schema, a.grantee, a.privilege_type
  FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee <> d.datdba
  UNION ALL
  SELECT 'schema', n.nspname, a.grantee, a.privilege_type
  FROM pg_namespace n, aclexplode(n.nspacl) a WHERE a.grantee <> n.nspowner
  UNION ALL
  SELECT CASE WHEN c.relkind = 'S' THEN 'sequence' ELSE 'table' END, n.nspname, a.grantee, a.privilege_type
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
  WHERE a.grantee <> c.relowner AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT CASE WHEN d.defaclobjtype = 'S' THEN 'new sequence' ELSE 'new table' END, n.nspname, a.grantee,
         a.privilege_type
  FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
  WHERE d.defaclobjtype IN ('r', 'S') AND a.grantee <> d.defaclrole
    AND d.defaclrole = (SELECT datdba FROM pg_database WHERE datname = current_database())
)
SELECT pg_get_userbyid(grantee) AS role, sort, schema, privilege_type AS privilege, count(*) AS objects
FROM held WHERE grantee <> 0 AND schema !~ '^pg_' AND schema <> 'information_schema'
GROUP BY 1, 2, 3, 4
"""
OBJECTS = """
SELECT n.nspname AS schema, count(c.oid) FILTER (WHERE c.relkind <> 'S') AS tables,
       count(c.oid) FILTER (WHERE c.relkind = 'S') AS sequences
FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' GROUP BY 1
"""


@dataclass
class Held:
    """What one role holds: (sort, schema) -> privilege -> on how many objects."""

    places: dict[tuple[str, str], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def at(self, sort: str, schema: str = "") -> dict[str, int]:
        return self.places.get((sort, schema), {})

    @property
    def schemas(self) -> list[str]:
        return sorted({schema for _, schema in self.places if schema})


def by_role(rows: list[dict[str, object]]) -> dict[str, Held]:
    found: dict[str, Held] = defaultdict(Held)
    for row in rows:
        place = str(row["sort"]), str(row["schema"])
        found[str(row["role"])].places[place][str(row["privilege"])] = int(str(row["objects"]))
    return found


def found_of(database: str, role: str, held: Held, objects: dict[str, tuple[int, int]]) -> Found:
    """The spec that privileges amount to; what amounts to none is `mixed`, with a remark for each place."""
    levels = {schema: level(held, schema, objects.get(schema, (0, 0))) for schema in held.schemas}
    creates = {"CREATE" in held.at("schema", schema) for schema in held.schemas}
    remarks = [
        f"its privileges in schema {schema} are not those of a grant" for schema, one in levels.items() if not one
    ]
    if set(held.at("database")) != {"CONNECT"}:
        remarks.append("its privileges on the database itself are not those of a grant")
    agreed = set(levels.values())
    one = agreed.pop() if len(agreed) == 1 and len(creates) == 1 and not remarks else MIXED
    spec: Spec = {
        "database": database,
        "role": role,
        "access": one or MIXED,
        "schemas": held.schemas,
        "create": creates == {True},
    }
    return Found(spec, remarks=tuple(remarks))


def level(held: Held, schema: str, objects: tuple[int, int]) -> str:
    """read or write if the role holds exactly that on everything in the schema; else empty."""
    if set(held.at("schema", schema)) - {"CREATE"} != {"USAGE"}:
        return ""
    for name in TABLES:
        wanted = ((TABLES[name], "table", objects[0]), (SEQUENCES[name], "sequence", objects[1]))
        if all(_holds(held, schema, privileges, sort, count) for privileges, sort, count in wanted):
            return name
    return ""


def _holds(held: Held, schema: str, privileges: set[str], sort: str, count: int) -> bool:
    now = held.at(sort, schema)
    everywhere = dict.fromkeys(privileges, count) if count else {}
    return now == everywhere and set(held.at(f"new {sort}", schema)) == privileges


def revoke(role: str, owner: str, schemas: list[str]) -> Iterator[sql.Composed]:
    """Whatever the role holds in these schemas and on the database."""
    names = {"role": sql.Identifier(role), "owner": sql.Identifier(owner)}
    for schema in schemas:
        for text in (
            "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
            "REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {role}",
            "REVOKE ALL ON SCHEMA {schema} FROM {role}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE ALL ON TABLES FROM {role}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE ALL ON SEQUENCES FROM {role}",
        ):
            yield sql.SQL(text).format(schema=sql.Identifier(schema), **names)


def grant(spec: Spec, owner: str) -> Iterator[sql.Composed]:
    """What a spec gives, where the role holds nothing yet."""
    names = {"role": sql.Identifier(str(spec["role"])), "owner": sql.Identifier(owner)}
    tables = sql.SQL(", ").join(map(sql.SQL, sorted(TABLES[str(spec["access"])])))
    sequences = sql.SQL(", ").join(map(sql.SQL, sorted(SEQUENCES[str(spec["access"])])))
    on_schema = sql.SQL("USAGE, CREATE" if spec["create"] else "USAGE")
    schemas: list[str] = spec["schemas"]  # type: ignore[assignment]
    for schema in schemas:
        for text, what in (
            ("GRANT {what} ON SCHEMA {schema} TO {role}", on_schema),
            ("GRANT {what} ON ALL TABLES IN SCHEMA {schema} TO {role}", tables),
            ("GRANT {what} ON ALL SEQUENCES IN SCHEMA {schema} TO {role}", sequences),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {what} ON TABLES TO {role}", tables),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {what} ON SEQUENCES TO {role}",
                sequences,
            ),
        ):
            yield sql.SQL(text).format(what=what, schema=sql.Identifier(schema), **names)
