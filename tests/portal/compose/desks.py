"""A company whose people compose changes in the portal, with the real catalogue.

rita and paul are of payments, sam of shop, pia of the platform team.
"""

import html
import re

from changes import workflow
from changes.models import ChangeRequest, User

TOPIC = "resources/payments/kafka-test/KafkaTopic/orders.yml"
ORDERS = "# Ordered by the shop.\nkind: KafkaTopic\nspec:\n  retention_hours: 72 # three days\n\n  partitions: 6\n"
PEOPLE = ("rita", "paul", "sam", "pia")
FILES = {
    "mergeyard.yml": "format: 1\ntitle: Office\nplatform_team: platform\n",
    "teams/payments.yml": 'title: Payments\nmembers: [rita, paul]\nsecret_prefixes: ["file:payments/"]\n',
    "teams/shop.yml": "title: Shop\nmembers: [sam]\n",
    "teams/platform.yml": "title: Platform\nmembers: [pia]\n",
    "systems/kafka-test.yml": "type: kafka\nenvironment: test\nowners: [platform]\n"
    'connection: {bootstrap_servers: "k:1"}\n',
    "systems/pg-test.yml": "type: postgresql\nenvironment: test\nowners: [platform]\n"
    "connection: {host: pg, user: m}\nsecrets: {password: env:MERGEYARD_SECRET_PG}\n",
    "systems/edge-test.yml": "type: haproxy\nenvironment: test\nowners: [platform]\n"
    "connection: {config_directory: /c, routes_directory: /r, socket_directory: /s}\n",
    TOPIC: ORDERS,
    "resources/shop/kafka-test/KafkaTopic/carts.yml": "kind: KafkaTopic\nspec:\n  partitions: 2\n",
}


class Desk:
    """One person at the compose page, as a browser without scripts or, with `live`, as htmx."""

    def __init__(self, client, username):
        self.client = client
        for name in PEOPLE:
            User.objects.get_or_create(username=name)
        self.user, _ = User.objects.update_or_create(username=username, defaults={"first_name": username.title()})
        client.force_login(self.user)

    @property
    def draft(self):
        return ChangeRequest.objects.filter(requester=self.user).latest("pk")

    def add(self, kind, system, name, team="payments"):
        """A new resource in the draft; the edit's address."""
        draft = workflow.start_draft(self.user) if not ChangeRequest.objects.exists() else self.draft
        fields = {"kind": kind, "team": team, "system": system, "name": name}
        return self.client.post(f"/changes/{draft.number}/compose/add/", fields)

    def open(self, path):
        draft = workflow.start_draft(self.user) if not ChangeRequest.objects.exists() else self.draft
        self.client.post(f"/changes/{draft.number}/compose/add/", {"path": path})
        return self.draft.edits.get(path=path)

    def address(self, edit=None):
        edit = edit or self.draft.edits.last()
        return f"/changes/{edit.change_request_id}/compose/{edit.pk}/"

    def page(self, edit=None):
        return self.client.get(self.address(edit)).content.decode()

    def form(self, edit=None):
        """What a browser would post of the form as it was drawn."""
        return posted(self.page(edit), "document-form")

    def save(self, edit=None, *, live=True, **fields):
        """Change fields of the form (a dot is written __) and send it."""
        edit = edit or self.draft.edits.last()
        given = self.form(edit)
        for name, value in fields.items():
            given[name.replace("__", ".")] = value
        return self.send(edit, given, live=live)

    def write(self, text, edit=None, *, live=True):
        edit = edit or self.draft.edits.last()
        given = posted(self.page(edit), "yaml-form")
        return self.send(edit, {**given, "text": text}, live=live)

    def send(self, edit, given, *, live=True):
        headers = {"HX-Request": "true"} if live else {}
        return self.client.post(f"{self.address(edit)}save/", given, headers=headers)

    @property
    def text(self):
        return self.draft.edits.last().text


def posted(page, form_id):
    """Names and values of a form's controls; lists where a name is there more than once."""
    body = re.search(rf'<form id="{form_id}".*?</form>', page, re.S).group(0)
    found = {}

    def put(name, value):
        value = html.unescape(value)
        found[name] = (
            [*found[name], value]
            if isinstance(found.get(name), list)
            else value
            if name not in found
            else [found[name], value]
        )

    pattern = r"<input([^>]*)>|<select([^>]*)>(.*?)</select>|<textarea([^>]*)>\n?(.*?)</textarea>"
    for control in re.finditer(pattern, body, re.S):
        entry, select, options, area, text = control.groups()
        attributes = entry or select or area or ""
        name = re.search(r'name="([^"]*)"', attributes)
        if not name or re.search(r"\sdisabled", attributes):
            continue
        if entry is not None:
            if re.search(r'type="(checkbox|radio)"', entry) and not re.search(r"\schecked", entry):
                continue
            put(name.group(1), re.search(r'value="([^"]*)"', entry).group(1))
        elif select is not None:
            chosen = re.search(r'<option(?: value="([^"]*)")?[^>]*\sselected[^>]*>([^<]*)', options)
            put(name.group(1), (chosen.group(1) if chosen.group(1) is not None else chosen.group(2)) if chosen else "")
        else:
            put(name.group(1), text)
    return found
