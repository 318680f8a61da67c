# ruff: noqa: E501 - a case of a table is one line
"""The three doors of a mistake: the form, the YAML beside it, and a push. Each says where it is and what to do.

What is said of every single mistake is in `tests/changes/test_bad_input.py`; here the sentences reach the person.
"""

import html
import re

import pytest
from django.utils import timezone

from changes import setup, workflow
from changes.catalog import catalog
from changes.forges.builtin import ref_of
from changes.models import ChangeRequest, Edit
from changes.repository import Person, state
from tests.portal.compose.desks import FILES, TOPIC, Desk

BRANCH = "change/by-hand"
ROLE = "resources/payments/pg-test/PostgresRole/orders.yml"


@pytest.fixture
def rita(db, settings, tmp_path, client):
    catalog.cache_clear()
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    settings.MERGEYARD_REPOSITORY = tmp_path / "state.git"
    setup.initialise(settings.MERGEYARD_REPOSITORY, {path: text.encode() for path, text in FILES.items()})
    return Desk(client, "rita")


def faults(page):
    """What the page has to say: field, line and sentence of each fault."""
    listed = re.findall(
        r'<li(?: data-fault="([^"]*)")?(?: data-line="(\d+)")?>(?:<a [^>]*>.*?</a>: )?<span class="said">(.*?)</span>',
        page,
        re.S,
    )
    return [
        (field, int(line) if line else None, html.unescape(re.sub("<[^>]*>", "", said))) for field, line, said in listed
    ]


FORM = {
    "a word for a number": ({"partitions": "abc"}, "spec.partitions", 'Must be a whole number (is "abc").'),
    "too small": ({"partitions": "0"}, "spec.partitions", "Must be at least 1 partitions (is 0)."),
    "too large": ({"partitions": "1001"}, "spec.partitions", "Must be at most 1000 partitions (is 1001)."),
    "a fraction": ({"partitions": "1.5"}, "spec.partitions", 'Must be a whole number (is "1.5").'),
    "a choice that is none": (
        {"cleanup_policy": "compct"},
        "spec.cleanup_policy",
        'Must be one of "delete", "compact", "compact_and_delete" (is "compct"). Did you mean \'compact\'?',
    ),
    "a name of another form": (
        {"name": "orders!"},
        "spec.name",
        '"orders!" does not have the form ^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$. Write it like "orders" or "orders_v1".',
    ),
    "a name that is taken": (
        {"name": "carts"},
        "spec.name",
        "Kafka topic 'carts' on kafka-test is described by shop/kafka-test/KafkaTopic/carts already. Choose another "
        "name, or change that document instead.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", FORM)
def test_a_mistake_in_the_form_stands_at_its_field(rita, mistake):
    fields, field, sentence = FORM[mistake]
    rita.add("KafkaTopic", "kafka-test", "refunds")
    given = rita.form() | {f"spec.{name}": value for name, value in fields.items()}
    answer = rita.send(rita.draft.edits.get(), given).content.decode()
    assert (field, sentence) in [(where, said) for where, _, said in faults(answer)]


@pytest.mark.threat("yaml.dates")
def test_a_day_that_is_none_and_a_document_that_is_none_are_told_at_their_fields(rita):
    rita.add("KafkaTopic", "kafka-test", "refunds")
    answer = rita.save(expires="2026-02-30").content.decode()
    assert ("expires", "expires must be a day like 2027-01-31, and '2026-02-30' is not one.") in [
        (where, said) for where, _, said in faults(answer)
    ]


@pytest.mark.threat("values.pasted-secret", "values.foreign-secret")
@pytest.mark.parametrize(
    ("ref", "said"),
    [
        (
            "hunter2hunter2",
            "Give the place where the value is kept, beginning with file:payments/, and never the value",
        ),
        ("file:shop/x", "Give the place where the value is kept, beginning with file:payments/"),
        ("file:payments/", "Go on: file:payments/ is followed by a name"),
    ],
)
def test_a_secret_that_is_no_place_is_refused_and_not_stored(rita, ref, said):
    rita.add("PostgresRole", "pg-test", "orders")
    answer = html.unescape(rita.save(secrets__password__ref=ref).content.decode())
    assert said in answer
    assert not Edit.objects.filter(text__contains=ref).exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Choose what you need."),
        ({"kind": "KafkaTopic", "team": "payments"}, "Give it a name."),
        ({"kind": "KafkaTopic", "team": "shop", "name": "x"}, ""),
        ({"kind": "KafkaTopic", "name": "Big_Name"}, "'Big_Name' cannot be the name of a resource"),
        ({"kind": "KafkaTopic", "name": "orders"}, "payments has a KafkaTopic named orders on kafka-test already"),
        ({"path": "resources/payments/kafka-test/KafkaTopic/gone.yml"}, "gone.yml is not on the main branch"),
    ],
)
def test_what_cannot_be_added_says_why(rita, given, said):
    draft = workflow.start_draft(rita.user)
    answer = rita.client.post(f"/changes/{draft.pk}/compose/add/", {"system": "kafka-test", **given}, follow=True)
    assert said in html.unescape(answer.content.decode())
    if said:
        assert not draft.edits.exists()


YAML = {
    "not YAML": ("kind: KafkaTopic\nspec: [\n", 3, "This is not valid YAML: "),
    "a key twice": ("kind: KafkaTopic\nspec:\n  partitions: 1\n  partitions: 2\n", 4, "The key 'partitions' is there twice, first in line 3: remove one."),
    "an alias": ("kind: &k KafkaTopic\nspec: {partitions: 1}\n", 1, "YAML anchors and aliases (&name, *name) are not allowed"),
    "a tag": ("kind: KafkaTopic\nspec:\n  partitions: !!int 1\n", 3, "YAML tags (!name) are not allowed: remove the tag, or quote the value."),
    "two documents": ("kind: KafkaTopic\nspec: {partitions: 1}\n---\na: 1\n", 3, "The file holds more than one YAML document: keep one."),
    "a hidden character": ("kind: KafkaTopic\nspec:\n  partitions: 1 # \u202e\n", 3, "There is a character that readers cannot see (U+202E): remove it."),
    "a list": ("- kind: KafkaTopic\n", 1, "A document is a mapping of keys: begin it with 'kind:', then 'spec:'."),
    "an unknown key": ("kind: KafkaTopic\nspecs: {}\nspec: {partitions: 1}\n", 2, "'specs' is not a key of a document; did you mean 'spec'?"),
    "another kind": ("kind: BalancerRoute\nspec: {}\n", 1, "kind is 'BalancerRoute', but the path says 'KafkaTopic': make both the same."),
    "an unknown field": ("kind: KafkaTopic\nspec:\n  partitions: 1\n  retention: 7d\n", 4, "There is no field 'retention'; did you mean 'retention_hours'?"),
    "a quoted number": ("kind: KafkaTopic\nspec:\n  partitions: '6'\n", 3, 'Must be a whole number (is "6"); remove the quotes.'),
    "a need that is not there": ("kind: KafkaTopic\nspec: {partitions: 1}\ndepends_on:\n  - payments/kafka-test/KafkaTopic/gone\n", 4, "depends_on names payments/kafka-test/KafkaTopic/gone, which does not exist."),
    "a reserved key": ("kind: KafkaTopic\nspec:\n  partitions: 1\n  settings: {__ansible_vault: x}\n", 4, "Keys that begin with '__ansible' are reserved: rename '__ansible_vault'."),
}  # fmt: skip


@pytest.mark.threat("values.tags", "values.ansible-keys", "yaml.aliases", "yaml.duplicate-keys", "yaml.documents")
@pytest.mark.threat("yaml.scalar")
@pytest.mark.parametrize("mistake", YAML)
def test_a_mistake_in_the_yaml_is_told_with_its_line_and_the_text_is_kept(rita, mistake):
    text, line, sentence = YAML[mistake]
    rita.open(TOPIC)
    answer = rita.write(text).content.decode()
    told = faults(answer)
    assert [one for one in told if one[1] == line and one[2].startswith(sentence)], told
    assert rita.text == text


@pytest.mark.threat("values.long")
def test_a_text_of_ten_megabytes_is_refused_and_not_stored(rita):
    rita.open(TOPIC)
    before = rita.text
    answer = rita.write(before + f"# {'x' * 10_000_000}\n")
    assert answer.status_code == 400
    assert "so nothing was done" in answer.content.decode()
    assert rita.text == before


@pytest.mark.threat("values.many")
def test_a_form_of_ten_thousand_fields_is_refused_and_nothing_is_stored(rita):
    rita.open(TOPIC)
    before = rita.text
    answer = rita.send(rita.draft.edits.get(), {f"depends_on.{n}": "a/b/C/d" for n in range(10_000)})
    assert answer.status_code == 400
    assert rita.text == before


def pushed(rita, files):
    """A commit on a branch, recorded as its push is."""
    repository = state()
    main, signer = repository.main(), Person("Rita", "rita@office.example")
    new = repository.commit(
        parents=[main],
        base_tree_of=main,
        changes={path: text.encode() for path, text in files.items()},
        message="By hand\n",
        author=signer,
        committer=signer,
        when=timezone.now(),
    )
    repository.swap_ref(ref_of(BRANCH), new, None)
    request = workflow.received_push(rita.user, BRANCH, None, new)
    return html.unescape(rita.client.get(f"/changes/{request.pk}/?tab=checks").content.decode())


@pytest.mark.threat("values.tags", "values.ansible-keys", "yaml.aliases", "yaml.duplicate-keys", "yaml.documents")
@pytest.mark.threat("yaml.scalar", "git.bidi")
@pytest.mark.parametrize("mistake", YAML)
def test_the_same_mistake_in_a_push_is_told_with_file_line_and_id(rita, mistake):
    text, line, sentence = YAML[mistake]
    page = pushed(rita, {TOPIC: text})
    assert f"{TOPIC}:{line}<" in page
    assert re.search(r'<code class="faint">[a-z]+\.[a-z.-]+</code>', page)
    assert sentence.split("(U+")[0] in page


def test_a_push_of_many_mistakes_tells_them_all_and_cannot_be_merged(rita):
    page = pushed(
        rita,
        {
            TOPIC: "kind: KafkaTopic\nspec:\n  partitions: 0\n",
            ROLE: "kind: PostgresRole\nspec: {}\nsecrets: {password: hunter2}\n",
            "teams/payments.yml": "members: rita\n",
        },
    )
    assert f"{TOPIC}:3<" in page
    assert f"{ROLE}:3<" in page
    assert "teams/payments.yml:1<" in page
    assert "never a value" in page
    request = ChangeRequest.objects.get()
    with pytest.raises(workflow.Refused, match=r"cannot be merged yet\. \d+ checks fail"):
        workflow.merge(request, rita.user)
