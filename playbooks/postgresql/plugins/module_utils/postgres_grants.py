"""Owns what a PostgresGrant means in PostgreSQL's own privileges, and reads it back from them.

Pure: rows in, specs and statements out. It must not know connections or Ansible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.mergeyard.pairing import Found, Spec, shown  # type: ignore[import-not-found]
from psycopg import sql

TABLES = {"read": {"SELECT"}, "write": {"SELECT", "INSERT", "UPDATE", "DELETE"}}
SEQUENCES = {"read": {"SELECT"}, "write": {"SELECT", "USAGE"}}
MIXED = "mixed"

# What roles hold in the connected database, but for what owners hold as such; counted over a schema's objects.
HELD = """
WITH owner AS (SELECT datdba FROM pg_database WHERE datname = current_database()), held AS (
  SELECT 'database' AS sort, NULL::oid AS schema, datdba AS owner, acl.*
  FROM pg_database, aclexplode(datacl) acl WHERE datname = current_database()
  UNION ALL
  SELECT 'schema', n.oid, nspowner, acl.* FROM pg_namespace n, aclexplode(nspacl) acl
  UNION ALL
  SELECT CASE WHEN relkind = 'S' THEN 'sequence' ELSE 'table' END, relnamespace, relowner, acl.*
  FROM pg_class, aclexplode(relacl) acl WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT 'column', relnamespace, relowner, acl.*
  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl) acl
  UNION ALL
  SELECT 'routine', pronamespace, proowner, acl.* FROM pg_proc, aclexplode(proacl) acl
  UNION ALL
  SELECT CASE defaclobjtype WHEN 'S' THEN 'new sequence' WHEN 'r' THEN 'new table' ELSE 'new routine' END,
         defaclnamespace, defaclrole, acl.*
  FROM pg_default_acl, aclexplode(defaclacl) acl
  WHERE defaclobjtype IN ('r', 'S', 'f') AND defaclnamespace <> 0 AND defaclrole = (SELECT datdba FROM owner)
)
SELECT pg_get_userbyid(grantee) AS role, sort, coalesce(nspname, '') AS schema,
       privilege_type || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS privilege, count(*) AS objects
FROM held LEFT JOIN pg_namespace n ON n.oid = schema
WHERE grantee NOT IN (0, owner) AND coalesce(nspname, '') !~ '^pg_|^information_schema$' GROUP BY 1, 2, 3, 4
"""
# What comes to roles with whatever somebody makes: in all schemas, or where others than the database's owner make it.
COMING = """
SELECT DISTINCT pg_get_userbyid(grantee) AS role, pg_get_userbyid(defaclrole) AS maker, nspname AS schema,
       CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
                          WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS sort
FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace, aclexplode(defaclacl)
WHERE grantee NOT IN (0, defaclrole) AND (
  defaclnamespace = 0 OR defaclobjtype NOT IN ('r', 'S', 'f')
  OR defaclrole <> (SELECT datdba FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 2, 3, 4
"""
# What comes to roles in a schema with whatever the owner of the connected database makes.
FOLLOWING = """
SELECT datname AS database, pg_get_userbyid(datdba) AS former, nspname AS schema, pg_get_userbyid(grantee) AS role,
       CASE defaclobjtype WHEN 'S' THEN 'SEQUENCES' WHEN 'r' THEN 'TABLES' ELSE 'FUNCTIONS' END AS sort,
       privilege_type AS privilege, is_grantable AS grantable
FROM pg_database JOIN pg_default_acl ON defaclrole = datdba AND defaclobjtype IN ('r', 'S', 'f')
     JOIN pg_namespace n ON n.oid = defaclnamespace, aclexplode(defaclacl)
WHERE datname = current_database() AND grantee NOT IN (0, defaclrole) ORDER BY 1, 2, 3, 4, 5, 6
"""
BESIDE = {"column": "single columns", "routine": "routines", "new routine": "routines that will be made"}
OBJECTS = """
SELECT n.nspname AS schema, pg_get_userbyid(nspowner) AS keeper, coalesce(pg_get_userbyid(relowner), '') AS owner,
       count(c.oid) FILTER (WHERE c.relkind <> 'S') AS tables, count(c.oid) FILTER (WHERE c.relkind = 'S') AS sequences
FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' GROUP BY 1, 2, 3
"""
# A statement on all of a schema's tables, sequences or routines but the role's own: ON ALL ... IN SCHEMA would take
# from a role what it has on those.
ON_OTHERS = """
DECLARE others text := (
  SELECT string_agg({called}, ', ') FROM {catalog} JOIN pg_namespace n ON n.oid = {space}
  WHERE nspname = {schema} AND pg_get_userbyid({owner}) <> {role} AND {condition});
BEGIN IF others <> '' THEN EXECUTE {head} || others || {tail}; END IF; END
"""
RELATION = {
    "called": "format('%I.%I', nspname, relname)",
    "catalog": "pg_class",
    "space": "relnamespace",
    "owner": "relowner",
}
CATALOGS = {
    "TABLE": {**RELATION, "condition": "relkind IN ('r', 'p', 'v', 'm', 'f')"},
    "SEQUENCE": {**RELATION, "condition": "relkind = 'S'"},
    "ROUTINE": {
        "called": "format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(pg_proc.oid))",
        "catalog": "pg_proc",
        "space": "pronamespace",
        "owner": "proowner",
        "condition": "true",
    },
}
# How each sort of what a role holds in a schema is taken back: from others' objects, or by a statement of its own.
TAKEN_FROM = {"table": "TABLE", "column": "TABLE", "sequence": "SEQUENCE", "routine": "ROUTINE"}
COMING_TO = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {what} ON {sort}S TO {role}"
COMING_BACK = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE ALL ON "
TAKEN = {
    "schema": "REVOKE ALL ON SCHEMA {schema} FROM {role} CASCADE",
    "new table": COMING_BACK + "TABLES FROM {role}",
    "new sequence": COMING_BACK + "SEQUENCES FROM {role}",
    "new routine": COMING_BACK + "FUNCTIONS FROM {role}",
}


@dataclass
class Schema:
    """Who owns it, and how many tables and sequences each owner has there."""

    keeper: str
    objects: dict[str, tuple[int, int]] = field(default_factory=dict)

    def of_others(self, role: str) -> tuple[int, int]:
        counts = [count for owner, count in self.objects.items() if owner != role]
        return sum(tables for tables, _ in counts), sum(sequences for _, sequences in counts)


@dataclass
class Held:
    """What one role holds: (sort, schema) -> privilege -> on how many objects."""

    places: dict[tuple[str, str], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    coming: list[dict[str, str]] = field(default_factory=list)  # rows of COMING

    def at(self, sort: str, schema: str = "") -> dict[str, int]:
        return self.places.get((sort, schema), {})

    @property
    def schemas(self) -> list[str]:
        return sorted({schema for _, schema in self.places if schema})


def by_role(rows: list[dict[str, object]], coming: list[dict[str, str]]) -> dict[str, Held]:
    found: dict[str, Held] = defaultdict(Held)
    for row in rows:
        place = str(row["sort"]), str(row["schema"])
        found[str(row["role"])].places[place][str(row["privilege"])] = int(str(row["objects"]))
    for each in coming:
        found[each["role"]].coming.append(each)
    return found


def schemas_of(rows: list[dict[str, Any]]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for row in rows:
        schema = found.setdefault(row["schema"], Schema(row["keeper"]))
        schema.objects[row["owner"]] = row["tables"], row["sequences"]
    return found


def found_of(database: str, role: str, held: Held, schemas: dict[str, Schema]) -> Found:
    """The spec that privileges amount to; what amounts to none is `mixed`, with a remark for each place."""
    levels = {name: level(held, name, schemas.get(name, Schema("")).of_others(role)) for name in held.schemas}
    creates = {"CREATE" in held.at("schema", schema) for schema in held.schemas}
    remarks = [
        f"its privileges in schema {schema} are not those of a grant" for schema, one in levels.items() if not one
    ]
    remarks += [
        f"it was given privileges on {what} in schema {schema} on the server"
        for schema in held.schemas
        for sort, what in BESIDE.items()
        if held.at(sort, schema)
    ]
    makers = dict.fromkeys(each["maker"] for each in held.coming)
    remarks += [f"it is given privileges on whatever {shown(maker)} makes" for maker in makers]
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
    """read or write if the role holds exactly that on everything of others in the schema; else empty."""
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


def on_others(what: str, head: str, tail: sql.Composable, *, schema: str, role: str) -> sql.Composed:
    """`head` and `tail` stand around the names of all of a schema's tables (sequences, routines) but the role's own."""
    literals = {"schema": sql.Literal(schema), "role": sql.Literal(role), "head": sql.Literal(f"{head} ON {what} ")}
    catalog = {name: sql.SQL(text) for name, text in CATALOGS[what].items()}
    body = sql.SQL(ON_OTHERS).format(**catalog, **literals, tail=sql.Literal(tail.as_string()))
    return sql.SQL("DO {}").format(sql.Literal(body.as_string()))


def revoke(role: str, owner: str, held: Held) -> Iterator[sql.Composed]:
    """All that the role holds in schemas, and is given with what others make."""
    names = {"role": sql.Identifier(role), "owner": sql.Identifier(owner)}
    places = [(sort, schema) for sort, schema in held.places if schema]
    for text, schema in [(TAKEN[sort], schema) for sort, schema in places if sort in TAKEN]:
        yield sql.SQL(text).format(schema=sql.Identifier(schema), **names)
    back = sql.SQL(" FROM {} CASCADE").format(names["role"])
    for what, schema in dict.fromkeys((TAKEN_FROM[sort], schema) for sort, schema in places if sort in TAKEN_FROM):
        yield on_others(what, "REVOKE ALL", back, schema=schema, role=role)
    for each in held.coming:
        where = sql.SQL(" IN SCHEMA {}").format(sql.Identifier(each["schema"])) if each["schema"] else sql.SQL("")
        yield sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {maker}{where} REVOKE ALL ON {sort} FROM {role}").format(
            maker=sql.Identifier(each["maker"]), where=where, sort=sql.SQL(each["sort"]), role=names["role"]
        )


def grant(spec: Spec, owner: str) -> Iterator[sql.Composed]:
    """What a spec gives, where the role holds nothing yet."""
    role = str(spec["role"])
    names = {"role": sql.Identifier(role), "owner": sql.Identifier(owner)}
    given = {
        "TABLE": ", ".join(sorted(TABLES[str(spec["access"])])),
        "SEQUENCE": ", ".join(sorted(SEQUENCES[str(spec["access"])])),
    }
    on_schema = sql.SQL("USAGE, CREATE" if spec["create"] else "USAGE")
    schemas: list[str] = spec["schemas"]  # type: ignore[assignment]
    for schema in schemas:
        at = sql.Identifier(schema)
        yield sql.SQL("GRANT {what} ON SCHEMA {schema} TO {role}").format(what=on_schema, schema=at, **names)
        for what, privileges in given.items():
            to = sql.SQL(" TO {}").format(names["role"])
            yield on_others(what, f"GRANT {privileges}", to, schema=schema, role=role)
            yield sql.SQL(COMING_TO).format(what=sql.SQL(privileges), sort=sql.SQL(what), schema=at, **names)


def handed_over(database: str, owner: str, following: list[dict[str, Any]]) -> Iterator[sql.Composed]:
    """A database goes to another owner, and with it what comes to roles with whatever its owner makes."""
    yield sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), sql.Identifier(owner))
    for row in following:  # of FOLLOWING
        role, place = sql.Identifier(row["role"]), sql.SQL(" IN SCHEMA {}").format(sql.Identifier(row["schema"]))
        what = sql.SQL(f"{row['privilege']} ON {row['sort']}")
        text = "ALTER DEFAULT PRIVILEGES FOR ROLE {maker}{place} REVOKE {what} FROM {role}"
        yield sql.SQL(text).format(maker=sql.Identifier(row["former"]), place=place, what=what, role=role)
        if row["role"] != owner:
            text = "ALTER DEFAULT PRIVILEGES FOR ROLE {maker}{place} GRANT {what} TO {role}{more}"
            more = sql.SQL(" WITH GRANT OPTION" if row["grantable"] else "")
            yield sql.SQL(text).format(maker=sql.Identifier(owner), place=place, what=what, role=role, more=more)
