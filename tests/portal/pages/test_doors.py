"""Every address of the portal, for everybody: who gets in, what a form needs, what goes out."""

import json
import re

import pytest
from django.apps import apps
from django.db.models import CharField, JSONField, TextField
from django.test import Client
from django.urls import get_resolver

from changes import tokens, workflow
from changes.models import Approval, ChangeRequest, Comment, MergeIntent, Transition
from changes.repository import MAIN_REF
from changes.review import evaluate
from changes.states import IntentState
from executors.models import Cursor, Event, MadeSecret, Process, Run, WorkItem
from tests.changes.conftest import FILES, ORDERS, REFUNDS, box

SITE = FILES["mergeyard.yml"]
FREE = {"login", "logout", "theme", "healthz", "readyz", "metrics"}  # what works before somebody signs in
CHANGING = {
    "logout", "theme", "item_retry", "item_cancel", "token_revoke", "compose_new", "compose_describe",
    "compose_discard", "compose_propose", "compose_remove", "compose_settle",
    *(f"change_{verb}" for verb in ("approve", "comment", "merge", "withdraw", "reject", "update", "revise", "revert")),
}  # fmt: skip
OUTPUTS = ("run_log", "run_search", "run_download")
MARKUP = "<xss>&'\""
KEYS = {
    "password", "username", "digest", "head", "base", "commit", "branch", "merge_commit", "sha", "state", "sort",
    "path", "old_path", "kind", "system", "zone", "team", "identity", "blob", "applied_blob", "base_blob", "operation",
}  # fmt: skip
POLICY = {
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "font-src 'self'",
    "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
}  # fmt: skip
WORDS = "The lid of box 7 does not close"


def addresses():
    """Name and pattern of every address, out of the resolver itself."""

    def walk(patterns, prefix=""):
        for one in patterns:
            if hasattr(one, "url_patterns"):
                yield from walk(one.url_patterns, prefix + str(one.pattern))
            else:
                yield one.name, prefix + str(one.pattern)

    return dict(walk(get_resolver().url_patterns))


@pytest.fixture
def site(office, work):
    """An open and a merged request of rita, failed work with an output, a token; and how to fill every address."""
    merged = office.merged({REFUNDS: box(5)})
    request = office.proposed({ORDERS: box(9)})
    workflow.revise(request, office.rita)
    rollout = work(merged, states={"shelf-test": "failed"}, sync="failed", message=WORDS)
    item = WorkItem.objects.get(rollout=rollout)
    item.move("waiting")
    WorkItem.objects.filter(pk=item.pk).update(state="failed", reason=WORDS)
    run = Run.objects.get(item=item)
    for noun, pk in (("workitem", item.pk), ("run", run.pk)):
        Transition.objects.create(noun=noun, noun_id=pk, before="running", after="failed", why=WORDS)
    token, _ = tokens.create(office.rita, title="laptop")
    kinds = {"catalogue": "Box", "systems": "shelf-test", "teams": "payments"}

    def fill(pattern):
        numbers = {"changes": request.pk, "rollouts": rollout.pk, "items": item.pk, "runs": run.pk, "tokens": token.pk}
        names = {"team": "payments", "system": "shelf-test", "kind": "Box", "name": "orders"}
        folder = pattern.split("/")[0]
        path = re.sub(r"<int:edit>", str(request.edits.first().pk), pattern)
        path = re.sub(r"<int:\w+>", str(numbers.get(folder, 1)), path)
        if folder in kinds:
            path = re.sub(r"<str:\w+>", kinds[folder], path)
        return "/" + re.sub(r"<str:(\w+)>", lambda match: names[match[1]], path)

    fill.merged, fill.request, fill.item, fill.rollout = merged, request, item, rollout
    return fill


def test_the_list_of_what_changes_something_is_whole():
    assert set(addresses()) >= CHANGING | FREE | set(OUTPUTS)


@pytest.mark.threat("web.nobody")
def test_who_is_not_signed_in_gets_to_the_door_only(site, client):
    open_doors = []
    for name, pattern in addresses().items():
        path = site(pattern)
        for answer in (client.get(path), client.post(path)):
            if answer.status_code == 302 and answer.url.startswith("/login/"):
                continue
            if (name, answer.status_code) not in {("events", 403), ("events", 400), ("events", 405)}:
                open_doors.append(name)
    assert set(open_doors) - FREE == set()


@pytest.mark.threat("web.links")
def test_nothing_is_changed_by_a_link(site, reader):
    """A link, an image or a prefetch of another site is a GET with the reader's cookies."""
    client = reader("rita")
    before = ChangeRequest.objects.count(), Approval.objects.count(), Comment.objects.count()
    for name, pattern in addresses().items():
        answer = client.get(site(pattern))
        assert answer.status_code < 500, name
        if name in CHANGING:
            assert answer.status_code == 405, name
    assert (ChangeRequest.objects.count(), Approval.objects.count(), Comment.objects.count()) == before


@pytest.mark.threat("web.csrf")
def test_no_form_works_without_its_token(site, office):
    client = Client(enforce_csrf_checks=True)
    client.force_login(office.rita)
    for name, pattern in addresses().items():
        answer = client.post(site(pattern), {"head": site.request.head, "text": "x", "title": "x"})
        assert answer.status_code in (403, 405), name


@pytest.mark.threat("web.foreign")
def test_an_auditor_reads_every_output_and_presses_nothing(site, office, reader):
    audit = {"teams/audit.yml": "title: Audit\nmembers: [anna]\n", "mergeyard.yml": f"{SITE}auditors: audit\n"}
    change = office.proposed(audit, by=office.pia)
    office.approved(change, by=office.piet)
    workflow.merge(change, office.pia)
    client, patterns = reader("anna"), addresses()
    for name in OUTPUTS:
        assert client.get(site(patterns[name]), {"q": "lid"}).status_code == 200, name
    page = client.get(f"/rollouts/{site.rollout.pk}/").content.decode()
    assert WORDS in page
    assert f"/items/{site.item.pk}/retry/" not in page
    for verb in ("item_retry", "item_cancel"):
        assert client.post(site(patterns[verb])).status_code == 403, verb
    stranger = reader("sam").get(f"/rollouts/{site.rollout.pk}/").content.decode()
    assert "the platform team and the auditors (audit)." in stranger


@pytest.mark.threat("web.foreign")
@pytest.mark.parametrize(("who", "seen"), [("sam", False), ("olga", True)])
def test_a_modules_own_words_are_on_no_page_of_a_stranger(site, reader, who, seen):
    client, found = reader(who), []
    for name, pattern in addresses().items():
        if name in CHANGING or name == "events":
            continue
        for path in (site(pattern), f"/changes/{site.merged.pk}/?tab=discussion", f"/changes/{site.merged.pk}/"):
            answer = client.get(path)
            said = b"".join(answer.streaming_content) if answer.streaming else answer.content
            if WORDS in said.decode():
                found.append(name)
    assert bool(found) is seen


@pytest.mark.threat("web.foreign")
@pytest.mark.parametrize("who", ["sam", "anna"])
def test_strangers_and_auditors_change_nothing_of_a_request_that_is_not_theirs(site, reader, office, who):
    office.declared({"teams/audit.yml": "members: [anna]\n", "mergeyard.yml": f"{SITE}auditors: audit\n"})
    client, head = reader(who), site.request.head
    text = site.request.edits.first().text
    for name, pattern in addresses().items():
        if name in CHANGING | {"compose_save", "compose_add"} and name not in FREE | {"change_comment", "compose_new"}:
            client.post(site(pattern), {"head": head, "source": "yaml", "text": "x: 1", "why": "no", "decision": "yes"})
    request = office.again(site.request)
    assert (request.state, request.head, request.edits.first().text) == ("open", head, text)
    assert not request.approvals.exists()
    assert WorkItem.objects.get(pk=site.item.pk).state == "failed"
    assert ChangeRequest.objects.filter(requester=getattr(office, who)).exclude(state="draft").count() == 0


def hostile(column):
    """A value for it; None for one that is a choice, a key or an address."""
    if column.name in KEYS or getattr(column, "choices", None) or getattr(column, "unique", False):
        return None
    if isinstance(column, CharField | TextField):
        return MARKUP[: column.max_length]
    given = [MARKUP] if column.name == "reasons" else {"message": MARKUP, "reasons": [MARKUP], MARKUP: MARKUP}
    return given if isinstance(column, JSONField) else None


def declare_markup(office):
    """In every free text of what the platform team declares, and in a document."""
    said = json.dumps(MARKUP)
    rule = "match: {environment: test}, approvals: {from: platform, count: 1}"
    files = {
        "mergeyard.yml": f"{SITE.replace('Office', said)}auditors: audit\n",
        "teams/audit.yml": f"title: {said}\nmembers: [anna]\n",
        "teams/payments.yml": FILES["teams/payments.yml"].replace("Payments", said),
        "teams/shelves.yml": FILES["teams/shelves.yml"].replace("Shelves", said),
        "systems/shelf-test.yml": FILES["systems/shelf-test.yml"] + f"title: {said}\n",
        "policies/office.yml": f"- {{id: two-eyes, {rule}, message: {said}}}\n",
    }
    on_main(office, files)
    request = office.proposed({ORDERS: box(4) + f"  colour: {said}\n"}, title=MARKUP)
    workflow.approve(request, office.olga, "yes", [item.digest for item in evaluate(request).plan.items], "x")
    on_main(office, {"systems/shelf-prod.yml": FILES["systems/shelf-prod.yml"].replace("{}", f"{{{said}: {said}}}")})
    return request


def on_main(office, files):
    sha = office.commit_by_hand({path: text.encode() for path, text in files.items()})
    MergeIntent.objects.create(head=sha, commit=sha, state=IntentState.DONE)


@pytest.mark.threat("web.xss")
def test_whatever_text_a_row_or_a_file_holds_is_text_on_every_page(site, office, reader):
    """Of every table every column that is neither a choice nor a key or an address; and what main declares."""
    asked = declare_markup(office)
    workflow.comment(site.merged, office.sam, "x")
    run = Run.objects.get()
    for number, sort in enumerate(("line", "task", "resource", "note"), 1):
        Event.objects.create(run=run, number=number, sort=sort, text="x", data={}, at=office.now)
    for sort in ("controller", "worker"):
        Process.objects.create(sort=sort, name="x", zone="default", contained=False)
    Cursor.objects.get_or_create(pk=1)
    MadeSecret.objects.create(zone="default", ref="file:x", worker="x")
    for model in (model for app in ("changes", "executors") for model in apps.get_app_config(app).get_models()):
        columns = {column.name: hostile(column) for column in model._meta.get_fields()}
        free = {name: value for name, value in columns.items() if value is not None}
        assert not free or model.objects.update(**free), f"there is no row of {model.__name__}"
    shown, clients = {}, [reader("rita"), reader("pia")]
    more = [f"/changes/{site.merged.pk}/?tab=discussion", f"/changes/{asked.pk}/?tab=checks", "/systems/shelf-prod/"]
    for name, pattern in addresses().items():
        if name in CHANGING:
            continue
        for path in (site(pattern), *more):
            for client in clients:
                answer = client.get(path)
                if answer.headers["Content-Type"].startswith("text/html"):
                    assert "<xss" not in answer.content.decode(), name
                    place = name if path == site(pattern) else path
                    shown[place] = shown.get(place, 0) + answer.content.decode().count("&lt;xss")
        more = []
    assert {name for name, times in shown.items() if not times} == {"login", "metrics", "compose_save"}


@pytest.mark.threat("web.headers")
def test_every_answer_carries_the_headers(site, reader):
    client = reader("rita")
    paths = {name: site(pattern) for name, pattern in addresses().items()}
    for name, path in {**paths, "nothing there": "/nothing/"}.items():
        answer = client.get(path)
        policy = answer.headers.get("Content-Security-Policy", "")
        assert sorted(policy.split("; ")) == sorted(POLICY), name
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["X-Frame-Options"] == "DENY", name
        assert answer.headers["Referrer-Policy"] == "same-origin", name


@pytest.mark.threat("web.host")
def test_another_host_name_is_refused(site, reader):
    answer = reader("rita").get("/tokens/", HTTP_HOST="elsewhere.example")
    assert answer.status_code == 400
    assert "elsewhere.example" not in answer.content.decode()


@pytest.mark.threat("web.redirect")
@pytest.mark.parametrize("back", ["https://elsewhere.example/", "//elsewhere.example/", "javascript:alert(1)"])
def test_a_verb_never_leads_to_another_site(site, reader, back):
    answer = reader("rita").post(f"/items/{site.item.pk}/retry/", headers={"Referer": back})
    assert answer.url == f"/rollouts/{site.rollout.pk}/?item={site.item.pk}#item"


@pytest.mark.threat("values.lines")
def test_the_character_that_not_every_database_can_hold_is_never_stored(site, reader, office):
    client, number, head = reader("rita"), site.request.pk, site.request.head
    client.post(f"/changes/{number}/comment/", {"text": "a\0b"})
    client.post(f"/changes/{number}/compose/describe/", {"title": "a\0b", "reason": "c\0d"})
    edit = f"/changes/{number}/compose/{site.request.edits.first().pk}/"
    seen = client.get(edit).context["desk"].seen
    client.post(f"{edit}save/", {"source": "yaml", "text": "kind: Box\0", "seen": seen})
    client.post("/tokens/", {"title": "lap\0top"})
    reader("olga").post(f"/changes/{number}/reject/", {"head": head, "why": "n\0o"})
    request = office.again(site.request)
    stored = [request.title, request.reason, request.comments.get().text, request.edits.first().text]
    stored += [token.title for token in office.rita.tokens.all()]
    stored += Transition.objects.values_list("why", flat=True)
    assert [text for text in stored if "\0" in text] == []
    assert "ab" in stored


def test_a_draft_is_of_nobody_elses_concern(office, reader):
    draft = workflow.start_draft(office.rita, title="Salaries of the board")
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    for path in (f"/changes/{draft.pk}/", "/history/?q=salaries", "/search/?q=salaries", "/history/?state=draft"):
        assert "Salaries" not in reader("sam").get(path).content.decode()
    workflow.withdraw(draft, office.rita, "Discarded")
    for path in (f"/changes/{draft.pk}/", "/history/?q=salaries", "/search/?q=salaries"):
        assert "Salaries" not in reader("sam").get(path).content.decode(), path
        assert "Salaries" in reader("rita").get(path).content.decode(), path
    assert office.repository.head(MAIN_REF)
