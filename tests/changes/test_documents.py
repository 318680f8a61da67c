"""Files become documents, or problems that say where and what to do."""

import json
import subprocess
import sys
import time
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changes import reading
from changes.documents import (
    Address,
    InvalidFile,
    Problem,
    SecretRef,
    as_data,
    canonical_json,
    did_you_mean,
    digest,
    parse_document,
    read_yaml,
)
from changes.rendering import render

PATH = "resources/payments/kafka-prod/Topic/orders.yml"


def read(text: str | bytes):
    return read_yaml(text.encode() if isinstance(text, str) else text, "f.yml").value


def problems(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(InvalidFile) as caught:
        read(text)
    return caught.value.problems


def document_problems(text: str, path: str = PATH) -> list[tuple[str, int | None, str]]:
    with pytest.raises(InvalidFile) as caught:
        parse_document(path, text.encode())
    return [(problem.id, problem.line, problem.field) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("012", 12),
        ("+7", 7),
        ("-0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("22:22", "22:22"),
        ("1e3", 1000),
        ("6.0", 6),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-1.5e-3", -0.0015),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("2026-01-31", "2026-01-31"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("True", True),
        ("tRUE", "tRUE"),
        ("'12'", "12"),
        ('"\\u00e9\\n"', "é\n"),
        ("1" * 18, int("1" * 18)),
        ("=", "="),
        ("{{ lookup('pipe', 'id') }} x", None),
    ],
)
def test_it_reads_the_scalars_of_yaml_1_2(written, value):
    if written.startswith("{{"):
        assert problems(f"a: {written}\n")
        assert read(f'a: "{written}"\n') == {"a": written}
    else:
        result = read(f"a: {written}\n")["a"]
        assert result == value
        assert type(result) is type(value)


@pytest.mark.threat("yaml.crlf")
def test_block_scalars_and_line_endings_read_as_one_text():
    assert read("a: |\n  x\n  y\n") == read("a: |\r\n  x\r\n  y\r\n") == {"a": "x\ny\n"}


def test_it_tells_the_line_of_every_field():
    tree = read_yaml(b"# c\nkind: Topic\nspec:\n  servers:\n    - host: a\n    - host: b\n      port: 1\n", "f")
    assert tree.lines == {
        "kind": 2,
        "spec": 3,
        "spec.servers": 4,
        "spec.servers.0": 5,
        "spec.servers.0.host": 5,
        "spec.servers.1": 6,
        "spec.servers.1.host": 6,
        "spec.servers.1.port": 7,
    }


@pytest.mark.threat("values.tags", "values.ansible-keys", "values.lines", "yaml.merge-keys", "yaml.aliases")
@pytest.mark.threat("yaml.nodes", "yaml.duplicate-keys", "yaml.documents", "yaml.empty", "yaml.bom", "yaml.crlf")
@pytest.mark.threat("yaml.utf-16", "yaml.latin-1", "yaml.control", "yaml.directives", "git.bidi", "values.long")
@pytest.mark.parametrize(
    ("text", "id", "line", "field"),
    [
        (b"", "yaml.empty", 1, ""),
        (b"# only a comment\n", "yaml.empty", 1, ""),
        (b"a: 1\nb: &x 2\n", "yaml.alias", 2, "b"),
        (b"a: 1\nb: *a\n", "yaml.alias", 2, "b"),
        (b"a: 1\n*a : 2\n", "yaml.alias", 2, ""),
        (b"a: {<<: {b: 1}}\n", "yaml.merge-key", 1, "a"),
        (b"a: !!python/object:os.system x\n", "yaml.tag", 1, "a"),
        (b"a: !!str 1\n", "yaml.tag", 1, "a"),
        (b"a: ! 1\n", "yaml.tag", 1, "a"),
        (b"%YAML 1.1\n---\na: 1\n", "yaml.directive", 1, ""),
        (b"%TAG ! tag:x,2000:\n---\na: 1\n", "yaml.directive", 1, ""),
        (b"a: 1\n---\nb: 2\n", "yaml.documents", 2, ""),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", "yaml.duplicate-key", 4, "b.c"),
        (b"1: x\n", "yaml.key", 1, ""),
        (b"null: x\n", "yaml.key", 1, ""),
        (b"? [a]\n: x\n", "yaml.key", 1, ""),
        (b"? {a: b}\n: x\n", "yaml.key", 1, ""),
        (b"{?a: b}\n", "yaml.key", 1, ""),
        (b'"": x\n', "yaml.key", 1, ""),
        (b'"a\\nb": x\n', "yaml.key", 1, ""),
        (b"k" * 300 + b": x\n", "yaml.key", 1, ""),
        (b"__ansible_unsafe: x\n", "yaml.reserved-key", 1, ""),
        (b"a: .inf\n", "yaml.number", 1, "a"),
        (b"a: .NaN\n", "yaml.number", 1, "a"),
        (b"a: 1e999\n", "yaml.number", 1, "a"),
        (b"a: 99999999999999999999\n", "yaml.number", 1, "a"),
        (b"a: 9223372036854775808\n", "yaml.number", 1, "a"),
        (b"a: " + b"9" * 5000 + b"\n", "yaml.number", 1, "a"),
        (b"a: 0x" + b"f" * 5000 + b"\n", "yaml.number", 1, "a"),
        (b"a: b: c\n", "yaml.syntax", 1, ""),
        (b"a: [1\n", "yaml.syntax", 2, ""),
        (b"a: \t\n\tb: 1\n", "yaml.syntax", 2, ""),
        (b"\xef\xbb\xbfa: 1\n", "yaml.encoding", 1, ""),
        ("a: 1\n".encode("utf-16"), "yaml.encoding", 1, ""),
        ("a: 1\n".encode("utf-16-be"), "yaml.encoding", 1, ""),
        (b"a: 1\nb: caf\xe9\n", "yaml.encoding", 2, ""),
        (b"a: 1\nb: \x1b[31m\n", "yaml.control-character", 2, ""),
        (b"a: 1\rb: 2\n", "yaml.control-character", 1, ""),
        (b"a: x\x00y\n", "yaml.control-character", 1, ""),
        (b'a: 1\nb: "\\0"\n', "yaml.control-character", 2, "b"),
        (b'b: "\\e[2J"\n', "yaml.control-character", 1, "b"),
        ("a: 1\nb: x\u202ey\n".encode(), "suspicious.characters", 2, ""),
        ("a: 1 # x\u200by\n".encode(), "suspicious.characters", 1, ""),
        (b'a: "\\u202e"\n', "suspicious.characters", 1, "a"),
        (b'"\\u200b": 1\n', "suspicious.characters", 1, ""),
        (b"a: " + b"[" * 40 + b"]" * 40, "yaml.depth", 1, "a" + ".0" * 29),
        (b"x" * 1_000_001, "yaml.size", None, ""),
        (b"a: [" + b"1," * 100_001 + b"1]", "yaml.nodes", 1, None),
    ],
)
def test_it_refuses_and_says_where(text, id, line, field):
    problem = problems(text)[0]
    assert (problem.id, problem.line) == (id, line)
    assert field is None or problem.field == field
    assert problem.file == "f.yml"
    assert problem.message.endswith(".")


def test_it_tells_several_problems_at_once_but_not_without_end():
    assert [problem.line for problem in problems("a: 1\na: 2\n1: 3\nb: .inf\n")] == [2, 3, 4]
    assert len(problems("".join(f"{n}: x\n" for n in range(100)))) == reading.MAX_PROBLEMS


def test_a_problem_reads_as_one_line():
    assert str(problems("a: &x 1")[0]).startswith("f.yml:1: a: YAML anchors and aliases")
    assert str(Problem("x", "It broke.")) == "It broke."


BOMBS = [
    "b'[' * 100_000",
    "b'{' * 100_000",
    "b'- ' * 100_000",
    "b'? ' * 100_000",
    "b'a: ' + b'[' * 500_000",
    "b'a: &a [x]\\n' + b''.join(b'b%d: &b%d [*a, *a]\\n' % (n, n) for n in range(100))",
    "b'\"' + b'\\\\n' * 400_000 + b'\"'",
    "b'%' * 100_000",
    "b'!' * 100_000",
    "b'&' * 900_000",
]


@pytest.mark.threat("yaml.nesting", "yaml.aliases")
@pytest.mark.parametrize("bomb", BOMBS)
def test_no_bomb_kills_the_process(bomb):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)); "
        "from changes.reading import read_yaml, InvalidFile\n"
        f"try: read_yaml({bomb}, 'f')\nexcept InvalidFile as error: print('refused', len(error.problems))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith("refused") or "\\n" in bomb


@pytest.mark.threat("yaml.any")
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text("ab:-? [{&*!|>'\"%#\n\t,]}<1.e~", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(data):
    refused: tuple[Problem, ...] = ()
    value = None
    try:
        value = read_yaml(data, "f").value
    except InvalidFile as error:
        refused = error.problems or (Problem("none", ""),)
    assert all(problem.message for problem in refused)
    json.dumps(value, allow_nan=False)


PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text("aZ0 _-:#é", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN_JSON)
def test_json_and_the_house_style_read_back_as_they_were(value):
    assert read_yaml(json.dumps(value, ensure_ascii=False).encode(), "f").value == value
    assert read_yaml(render(value).encode(), "f").value == value


@settings(max_examples=100, deadline=None)
@given(PLAIN_JSON)
def test_a_digest_does_not_depend_on_the_order_of_keys(value):
    def turned(item):
        if isinstance(item, dict):
            return {key: turned(item[key]) for key in reversed(item)}
        return [turned(part) for part in item] if isinstance(item, list) else item

    assert canonical_json(turned(value)) == canonical_json(value)
    assert digest(turned(value)) == digest(value)


def test_a_path_is_an_address_and_back():
    address = Address.parse(PATH)
    assert address == Address("payments", "kafka-prod", "Topic", "orders")
    assert address.path == PATH
    assert Address.from_short(address.short) == Address.from_short(str(address)) == address


@pytest.mark.threat("values.paths", "git.long-path")
@pytest.mark.parametrize(
    ("path", "id"),
    [
        ("resources/payments/kafka-prod/Topic/orders.yaml", "path.shape"),
        ("resources/payments/kafka-prod/orders.yml", "path.shape"),
        ("teams/payments.yml", "path.shape"),
        ("resources/Payments/kafka/Topic/orders.yml", "path.team"),
        ("resources/payments/-kafka/Topic/orders.yml", "path.system"),
        ("resources/payments/../Topic/orders.yml", "path.system"),
        ("resources/payments/kafka/topic/orders.yml", "path.kind"),
        ("resources/payments/kafka/Topic/or ders.yml", "path.document"),
        ("resources/payments/kafka/Topic/.yml", "path.document"),
        ("resources/payments/kafka/Topic/" + "x" * 64 + ".yml", "path.document"),
        ("resources/payments/kafka/Topic/о.yml", "path.document"),  # a Cyrillic letter
    ],
)
def test_a_path_that_is_no_address_is_refused(path, id):
    with pytest.raises(InvalidFile) as caught:
        Address.parse(path)
    assert [problem.id for problem in caught.value.problems] == [id]


def test_a_short_address_needs_four_parts():
    with pytest.raises(InvalidFile, match="<team>/<system>/<Kind>/<name>"):
        Address.from_short("payments/orders")


def test_a_whole_document_is_read_and_written():
    text = (
        "kind: Topic\nspec: {partitions: 6}\ndepends_on: [payments/pg/Database/orders]\nexpires: 2027-01-31\n"
        "secrets:\n  password: file:payments/orders\n  key: {ref: file:payments/key, generate: true}\n"
    )
    document = parse_document(PATH, text.encode())
    assert document.spec == {"partitions": 6}
    assert document.depends_on == (Address("payments", "pg", "Database", "orders"),)
    assert document.expires == date(2027, 1, 31)
    assert document.secrets["password"] == SecretRef("file:payments/orders")
    assert document.secrets["key"] == SecretRef("file:payments/key", True)
    assert parse_document(PATH, render(as_data(document)).encode()) == document


def test_a_short_document_has_nothing_else():
    document = parse_document(PATH, b"kind: Topic\nspec: {}\n")
    assert as_data(document) == {"kind": "Topic", "spec": {}}


GOOD = "kind: Topic\nspec: {}\n"


@pytest.mark.threat("yaml.scalar", "yaml.dates", "values.paths", "values.pasted-secret")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", ("document.shape", 1, "")),
        ("just text\n", ("document.shape", 1, "")),
        ("spec: {}\n", ("document.kind", 1, "kind")),
        ("kind: Other\nspec: {}\n", ("document.kind", 1, "kind")),
        ("kind: Topic\n", ("document.spec", 1, "spec")),
        ("kind: Topic\nspec: [1]\n", ("document.spec", 2, "spec")),
        ("kind: Topic\nspec:\n", ("document.spec", 2, "spec")),
        (GOOD + "sepc: {}\n", ("document.unknown-key", 3, "sepc")),
        (GOOD + "depends_on: a/b/C/d\n", ("document.depends-on", 3, "depends_on")),
        (GOOD + "depends_on:\n  - a/b/C/d\n  - a/b\n", ("document.depends-on", 5, "depends_on.1")),
        (GOOD + "depends_on: [[a]]\n", ("document.depends-on", 3, "depends_on.0")),
        (GOOD + "depends_on: [a/b/C/d, a/b/C/d]\n", ("document.depends-on", 3, "depends_on.1")),
        (GOOD + "expires: 2026-02-30\n", ("document.expires", 3, "expires")),
        (GOOD + "expires: tomorrow\n", ("document.expires", 3, "expires")),
        (GOOD + "expires: 20270131\n", ("document.expires", 3, "expires")),
        (GOOD + "secrets: [a]\n", ("document.secrets", 3, "secrets")),
        (GOOD + "secrets: {Bad-Name: 'file:a'}\n", ("document.secrets", 3, "secrets.Bad-Name")),
        (GOOD + "secrets: {a: {ref: 'file:a', generat: true}}\n", ("document.secrets", 3, "secrets.a.generat")),
        (GOOD + "secrets: {a: {ref: 'file:a', generate: 1}}\n", ("document.secrets", 3, "secrets.a.generate")),
        (GOOD + "secrets: {a: hunter2}\n", ("document.secret-reference", 3, "secrets.a")),
        (GOOD + "secrets: {a: 7}\n", ("document.secret-reference", 3, "secrets.a")),
        (GOOD + "secrets: {a: 'file:x/../../etc/passwd'}\n", ("document.secret-reference", 3, "secrets.a")),
        (GOOD + "secrets: {a: 'file:/etc/passwd'}\n", ("document.secret-reference", 3, "secrets.a")),
        (GOOD + "secrets: {a: 'file:x//y'}\n", ("document.secret-reference", 3, "secrets.a")),
    ],
)
def test_a_document_that_is_not_whole_is_refused(text, expected):
    assert document_problems(text) == [expected]


@pytest.mark.threat("values.many")
def test_ten_thousand_needs_are_read_in_no_time():
    text = GOOD + "depends_on:\n" + "".join(f"  - a/b/C/d{n}\n" for n in range(10_000))
    begun = time.process_time()
    assert len(parse_document(PATH, text.encode()).depends_on) == 10_000
    assert time.process_time() - begun < 3


@pytest.mark.threat("values.pasted-secret")
def test_a_secret_that_was_pasted_is_not_repeated():
    with pytest.raises(InvalidFile) as caught:
        parse_document(PATH, (GOOD + "secrets: {a: hunter2}\n").encode())
    assert "hunter2" not in str(caught.value)


def test_an_unknown_key_names_the_nearest_one():
    with pytest.raises(InvalidFile, match="did you mean 'depends_on'"):
        parse_document(PATH, (GOOD + "depend_on: []\n").encode())


def test_a_document_tells_all_that_is_wrong_at_once():
    found = document_problems("kind: X\nspecs: {}\nexpires: never\n")
    assert [id for id, _, _ in found] == ["document.unknown-key", "document.kind", "document.spec", "document.expires"]


def test_did_you_mean_lists_what_is_known_or_nothing():
    assert did_you_mean("zzz", ["alpha", "beta"]) == "; known are alpha, beta."
    assert did_you_mean("zzz", []) == "."
