"""Every address for every role, with objects of their own and of others: a table that is compared with what happens."""

import pytest
from django.contrib.messages import get_messages
from django.db import transaction

from changes import workflow
from changes.review import evaluate
from tests.changes.conftest import REFUNDS, box
from tests.portal.pages.test_doors import SITE, addresses, site

__all__ = ["site"]

# A stranger, an auditor, the platform, the system's owner, a colleague, and the one whose request and draft it is.
ROLES = ("sam", "anna", "pia", "olga", "paul", "rita")
OUTCOMES = {403: "f", 404: "n", 405: "m", 409: "c"}  # forbidden, not there, wrong method, changed meanwhile
# A letter for each of ROLES: to a GET and to a POST, of the open request and what stands around it, then of a draft.
MATRIX = {
    "home": "++++++ ++++++",
    "login": "++++++ ++++++",
    "logout": "mmmmmm ++++++",
    "theme": "mmmmmm ++++++",
    "search": "++++++ ++++++",
    "history": "++++++ ++++++",
    "change": "++++++ ++++++ nnnnn+ nnnnn+",
    "change_approve": "mmmmmm xxx+xx mmmmmm nnnnnx",
    "change_comment": "mmmmmm ++++++ mmmmmm nnnnn+",
    "change_merge": "mmmmmm xxxxxx mmmmmm nnnnnx",
    "change_withdraw": "mmmmmm xx+x++ mmmmmm nnnnn+",
    "change_reject": "mmmmmm xx++++ mmmmmm nnnnnx",
    "change_update": "mmmmmm xx++++ mmmmmm nnnnnx",
    "change_revise": "mmmmmm xxxx++ mmmmmm nnnnnx",
    "change_revert": "mmmmmm xxxxxx mmmmmm nnnnnx",
    "systems": "++++++ ++++++",
    "system": "++++++ ++++++",
    "resources": "++++++ ++++++",
    "resource": "++++++ ++++++",
    "teams": "++++++ ++++++",
    "team": "++++++ ++++++",
    "health": "++++++ ++++++",
    "healthz": "++++++ ++++++",
    "readyz": "++++++ ++++++",
    "metrics": "nnnnnn nnnnnn",
    "tokens": "++++++ ++++++",
    "token_revoke": "mmmmmm xxxxx+",
    "catalogue": "++++++ ++++++",
    "kind": "++++++ ++++++",
    "compose_new": "mmmmmm ++++++",
    "compose": "ffff++ ffff++ nnnnn+ nnnnn+",
    "compose_add": "ffff++ ffffxx nnnnn+ nnnnnx",
    "compose_describe": "mmmmmm ffff++ mmmmmm nnnnn+",
    "compose_discard": "mmmmmm ffff++ mmmmmm nnnnn+",
    "compose_propose": "mmmmmm ffff++ mmmmmm nnnnnx",
    "compose_edit": "ffff++ ffff++ nnnnn+ nnnnn+",
    "compose_save": "++++++ ffffcc ++++++ nnnnnc",
    "compose_remove": "mmmmmm ffff++ mmmmmm nnnnn+",
    "compose_settle": "mmmmmm ffff++ mmmmmm nnnnn+",
    "events": "ffffff mmmmmm",
    "rollouts": "++++++ mmmmmm",
    "rollout": "++++++ mmmmmm",
    "item_retry": "mmmmmm ff++++",
    "item_cancel": "mmmmmm ffxxxx",
    "run_log": "f+++++ mmmmmm",
    "run_search": "f+++++ mmmmmm",
    "run_download": "f+++++ mmmmmm",
}


def files(office):
    """What git's refs say."""
    return {path: path.read_text() for path in (office.path / "refs").rglob("*") if path.is_file()}


def outcome(answer):
    """One letter: + done or shown, x told why not, or one of OUTCOMES."""
    told = any(said.level_tag in ("error", "warning") for said in get_messages(answer.wsgi_request))
    return OUTCOMES.get(answer.status_code) or {200: "+", 302: "x" if told else "+"}[answer.status_code]


@pytest.fixture
def ask(site, office, reader):
    """Each role asks and all of it is taken back, in git too: (method, path, form) -> a letter for each role."""
    clients = {who: reader(who) for who in ROLES}

    def asked(method, path, form):
        found = ""
        for who in ROLES:
            client = reader(who) if path == "/logout/" else clients[who]
            client.cookies.pop("messages", None)  # what it was told before
            before, mark = files(office), transaction.savepoint()
            found += outcome(getattr(client, method)(path, form))
            transaction.savepoint_rollback(mark)
            for file in files(office).keys() - before.keys():
                file.unlink()
            for file, text in before.items():
                file.write_text(text)
        return found

    return asked


@pytest.mark.threat("web.foreign")
def test_everybody_may_do_at_every_address_what_the_table_says(site, office, ask):
    office.declared({"teams/audit.yml": "members: [anna]\n", "mergeyard.yml": f"{SITE}auditors: audit\n"})
    draft = workflow.start_draft(office.rita, title="Salaries of the board")
    edit = workflow.put_edit(draft, office.rita, REFUNDS, box(5)) or draft.edits.get()
    request, first = site.request, site.request.edits.get()
    form = {"source": "yaml", "text": "x: 1", "why": "no", "decision": "yes", "title": "T", "q": "lid"}
    items = [item.digest for item in evaluate(request).plan.items]
    found = {}
    for name, pattern in addresses().items():
        path = site(pattern)
        rows = [ask(method, path, {**form, "head": request.head, "items": items}) for method in ("get", "post")]
        if pattern.startswith("changes/"):
            path = path.replace(f"/{request.pk}/", f"/{draft.pk}/").replace(f"/{first.pk}/", f"/{edit.pk}/")
            rows += [ask(method, path, {**form, "head": draft.head, "items": items}) for method in ("get", "post")]
        found[name] = " ".join(rows)
    assert found == MATRIX
