"""What stands under `secrets` and is no reference is found before anything keeps it, and never repeated."""

import pytest

from changes import workflow
from changes.plain_secrets import NO_REFERENCE, UNREADABLE, plain_secrets
from changes.workflow import Refused
from tests.changes.conftest import REFUNDS, box

DOCUMENT, SYSTEM = "resources/payments/pg-test/PostgresRole/orders.yml", "systems/pg-test.yml"
HEAD = "kind: PostgresRole\nspec: {}\n"


def found(text, path=DOCUMENT):
    return [(each.id, each.line, each.field, each.message) for each in plain_secrets(path, text.encode())]


@pytest.mark.threat("values.pasted-secret")
@pytest.mark.parametrize(
    ("secrets", "line", "field"),
    [
        ("secrets: {password: hunter2}", 3, "secrets.password"),
        ("secrets:\n  password:\n    hunter2", 4, "secrets.password"),
        ('"secrets": {password: "hunter2"}', 3, "secrets.password"),
        ('"\\x73ecrets": {password: "hunter2"}', 3, "secrets.password"),
        ("secrets: {password: 12345678}", 3, "secrets.password"),
        ("secrets: {password: true}", 3, "secrets.password"),
        ("secrets: {password: [hunter2]}", 3, "secrets.password"),
        ("secrets: {password: {ref: [hunter2]}}", 3, "secrets.password"),
        ("secrets: {password: {value: hunter2}}", 3, "secrets.password"),
        ("secrets: {password: {ref: file:a/b, generate: hunter2}}", 3, "secrets.password"),
        ("secrets: {password: {hunter2: }}", 3, "secrets.password"),
        ("secrets: {password: 'abc:hunter2'}", 3, "secrets.password"),
        ("secrets: {password: file:../hunter2}", 3, "secrets.password"),
        ("secrets:\n  ok: file:a/b\n  Hunter2!: {}", 5, "secrets"),
        ("secrets: hunter2", 3, "secrets"),
        ("secrets: [hunter2]", 3, "secrets"),
        ("secrets: 0", 3, "secrets"),
    ],
)
@pytest.mark.parametrize("path", [DOCUMENT, SYSTEM])
def test_a_value_is_found_at_its_place_and_not_repeated(secrets, line, field, path):
    assert found(HEAD + secrets + "\n", path) == [("secrets.value", line, field, NO_REFERENCE)]


@pytest.mark.parametrize(
    "secrets",
    [
        "{a: file:payments/orders, b: env:MERGEYARD_SECRET_X}",
        "{password: {ref: file:payments/orders, generate: true}}",
        "{password: {generate: true}}",
        "{password: }",
        '{password: ""}',
        "{}",
        "[]",
        "",
    ],
)
def test_references_and_what_is_still_empty_may_stay(secrets):
    assert found(f"{HEAD}secrets: {secrets}\n") == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEAD + "secrets: {password: hunter2\n", 4),
        (HEAD + "secrets: {a: file:x/y}\nsecrets: {a: hunter2}\n", 4),
        ("- secrets: {password: hunter2}\n", 1),
        ("secrets", 1),
        (HEAD + "secrets: !!str hunter2\n", 3),
    ],
)
def test_what_cannot_be_read_and_speaks_of_secrets_may_not_stay(text, line):
    assert found(text) == [("secrets.unreadable", line, "", UNREADABLE)]


@pytest.mark.parametrize("text", [HEAD + "x: [", 'a: "\\x', "kind: [\n# no_secrets_here\n"])
def test_what_cannot_be_read_may_stay_without_secrets(text):
    assert found(text) == []


@pytest.mark.parametrize("path", ["README.md", "teams/payments.yml", "policies/p.yml"])
def test_other_files_have_no_secrets(path):
    assert found("secrets: {password: hunter2}\n", path) == []


@pytest.mark.threat("values.pasted-secret")
def test_a_revert_does_not_bring_a_value_back(office):
    office.commit_by_hand({REFUNDS: (box(5) + "secrets: {password: hunter2}\n").encode()})
    removed = office.merged({REFUNDS: box(5)})
    draft = workflow.revert(removed, office.rita)
    with pytest.raises(Refused, match="Not proposed: .*refunds.yml:4: secrets.password: A secret is a reference"):
        workflow.propose(draft, office.rita)


@pytest.mark.threat("values.pasted-secret")
def test_no_verb_keeps_a_value_but_what_main_has_can_be_opened_to_be_mended(office):
    plain = box(5) + "secrets: {password: hunter2}\n"
    draft = workflow.start_draft(office.rita)
    for text in (plain, plain.replace("}", "")):
        with pytest.raises(Refused) as refused:
            workflow.put_edit(draft, office.rita, REFUNDS, text)
        assert "hunter2" not in str(refused.value)
    assert not draft.edits.exists()
    office.commit_by_hand({REFUNDS: plain.encode()})
    workflow.put_edit(draft, office.rita, REFUNDS, plain)
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
