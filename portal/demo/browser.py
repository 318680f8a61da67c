"""One person at the pages over HTTP, filling in their forms as a browser without scripts does."""

import time
from urllib.parse import urlencode

import mechanicalsoup
from bs4 import Tag

from portal.demo.home import CannotStart, Home

APPLIED_SECONDS = 120


class Person:
    def __init__(self, username: str, home: Home) -> None:
        self.username, self.home = username, home
        self.browser = mechanicalsoup.StatefulBrowser(raise_on_404=True, user_agent="mergeyard-demo")
        self.browser.session.trust_env = False  # no proxy of the environment: it does not know our loopback
        self.open("/login/")
        self.submit("form[method=post]", username=username, password=home.kept["password"])
        if "/login/" in self.browser.url:
            raise CannotStart(f"{username} could not sign in; start again with bin/demo --reset.")

    def open(self, path: str) -> None:
        self.browser.open(self.home.address + path)

    def submit(self, form: str, *, action: str = "", **values: str) -> None:
        """Fill in the form that the selector names, and send it (to another address of the page, if given)."""
        chosen = self.browser.select_form(form)
        for name, value in values.items():
            chosen.set(name, value)
        if action:
            chosen.form["action"] = action
        answer = self.browser.submit_selected()
        if answer.status_code >= 400:
            raise CannotStart(f"{self.username} got status {answer.status_code} from {answer.url}: {self.said()}")

    def said(self) -> str:
        """The messages on the page, as one text."""
        return " ".join(
            found.get_text(" ", strip=True) for found in self.page.select("[role=alert], .notice, .messages li")
        )

    @property
    def page(self) -> Tag:
        page: Tag = self.browser.page
        return page

    def start_request(self) -> str:
        """A new draft; returns its path, /changes/<number>/."""
        self.open("/catalogue/")
        self.submit("main form[method=post]")
        return "/" + "/".join(self.browser.url.removeprefix(self.home.address).split("/")[1:3]) + "/"

    def write(self, draft: str, path: str, text: str) -> None:
        """Put a file into the draft as YAML: a new document, or another text for one that exists."""
        _, team, system, kind, name = path.removesuffix(".yml").split("/")
        self.open(f"{draft}compose/add/?{urlencode({'q': f'{kind}/{name}.yml {system}'})}")
        if self.page.select_one(f'input[name=path][value="{path}"]'):
            self._existing(path, delete=False)
        else:
            asked = urlencode({"kind": kind, "team": team, "system": system})
            self.open(f"{draft}compose/add/?{asked}")
            self.submit("#add-new", name=name)
        self.submit("#yaml-form", text=text)

    def delete(self, draft: str, path: str) -> None:
        _, _, system, kind, name = path.removesuffix(".yml").split("/")
        self.open(f"{draft}compose/add/?{urlencode({'q': f'{kind}/{name}.yml {system}'})}")
        self._existing(path, delete=True)

    def _existing(self, path: str, *, delete: bool) -> None:
        hidden = self.page.select_one(f'input[name=path][value="{path}"]')
        form = hidden.find_parent("form") if hidden else None
        if form is None:
            raise CannotStart(f"{self.username} does not find {path} among the resources to change.")
        chosen = self.browser.select_form(form)
        buttons = form.select("button")
        chosen.choose_submit(buttons[-1] if delete else buttons[0])
        self.browser.submit_selected()

    def propose(self, draft: str, *, title: str, reason: str) -> None:
        self.open(f"{draft}compose/")
        self.submit("#describe-form", title=title, reason=reason)
        if "compose" in self.browser.url:
            raise CannotStart(f"The request could not be proposed: {self.said()}")

    def approve(self, change: str) -> int:
        """Approve everything that this person may; returns how many items that were."""
        self.open(f"{change}?tab=plan")
        boxes = self.page.select("#decision-form input[name=items]")
        if not boxes:
            return 0
        chosen = self.browser.select_form("#decision-form")
        chosen.check({"items": tuple(box["value"] for box in boxes)})
        chosen.choose_submit(self.page.select_one("#decision-form button[value=yes]"))
        self.browser.submit_selected()
        return len(boxes)

    def merge(self, change: str) -> None:
        self.open(change)
        if not self.page.select_one(f'form[action="{change}merge/"]'):
            raise CannotStart(f"It cannot be merged: {self.said()}")
        self.submit(f'form[action="{change}merge/"]')
        if refused := self.page.select_one(".messages .notice-bad, .messages .notice-warn"):
            raise CannotStart(f"It was not merged: {refused.get_text(' ', strip=True)}")

    def wait_until_applied(self, change: str) -> str:
        """The end state of its rollout; raises CannotStart when there is none in time."""
        limit = time.monotonic() + APPLIED_SECONDS
        while time.monotonic() < limit:
            self.open(f"{change}?tab=rollout")
            live = self.page.select_one("#rollout-live")
            if live and live["data-state"] in ("succeeded", "failed", "cancelled", "skipped"):
                return str(live["data-state"])
            time.sleep(0.3)
        raise CannotStart(f"{change} was not applied within {APPLIED_SECONDS} seconds.")
