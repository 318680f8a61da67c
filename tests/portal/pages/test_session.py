"""Signing in, the colours, tokens and the pages for errors."""

import json
import re

import pytest
from django.core.cache import cache
from django.test import Client

from changes import tokens
from changes.models import AccessToken, MergeIntent, User
from changes.states import IntentState


def signed_up(office):
    cache.clear()
    user = office.rita
    user.set_password("correct horse")
    user.save()


def test_a_person_signs_in_and_lands_where_they_wanted(office, client):
    signed_up(office)
    answer = client.post("/login/", {"username": "rita", "password": "correct horse", "next": "/systems/"})
    assert answer.url == "/systems/"


@pytest.mark.threat("web.fixation")
def test_a_session_that_was_prepared_is_another_one_after_signing_in(office, client):
    signed_up(office)
    prepared = client.session.session_key
    client.get("/login/")
    assert client.cookies["sessionid"].value == prepared
    client.post("/login/", {"username": "rita", "password": "correct horse"})
    assert client.get("/tokens/").status_code == 200
    assert client.session.session_key != prepared
    assert not client.session.exists(prepared)


def members(office, *names):
    text = f"title: Payments\nmembers: [{', '.join(names)}]\n"
    sha = office.commit_by_hand({"teams/payments.yml": text.encode()})
    MergeIntent.objects.create(base="", head=sha, commit=sha, state=IntentState.DONE)


@pytest.mark.threat("web.role-lost")
def test_the_session_of_who_lost_a_role_ends_and_says_why(office, client):
    client.force_login(office.rita)
    assert client.get("/systems/").status_code == 200
    members(office, "paul")
    answer = client.post("/theme/", {"theme": "dark"})
    assert (answer.status_code, answer.url) == (302, "/login/?next=/")
    assert "theme" not in client.cookies
    assert "has changed since you signed in, so please sign in again" in client.get("/login/").content.decode()
    assert client.get("/systems/").status_code == 302


@pytest.mark.threat("web.role-lost")
def test_the_session_of_whose_account_was_closed_ends(office, client):
    client.force_login(office.rita)
    User.objects.filter(username="rita").update(is_active=False)
    assert client.get("/systems/").url == "/login/?next=/systems/"


def test_who_gains_a_role_goes_on_and_may_lose_that_one_later(office, client):
    client.force_login(office.sam)
    client.get("/systems/")
    members(office, "rita", "sam")
    assert client.get("/systems/").status_code == 200
    members(office, "rita")
    assert client.get("/systems/").status_code == 302


def test_nobody_is_signed_out_while_main_cannot_be_read(office, client, settings, tmp_path):
    client.force_login(office.rita)
    client.get("/tokens/")
    settings.MERGEYARD_REPOSITORY = tmp_path / "nothing.git"
    client.get("/tokens/")
    settings.MERGEYARD_REPOSITORY = office.path
    assert client.get("/tokens/").status_code == 200


def test_a_wrong_password_says_so_and_keeps_the_name(office, client):
    signed_up(office)
    text = client.post("/login/", {"username": "rita", "password": "no"}).content.decode()
    assert "The name or the password is not right" in text
    assert 'value="rita"' in text


@pytest.mark.threat("web.brute-force")
def test_after_ten_wrong_passwords_even_the_right_one_waits(office, client):
    signed_up(office)
    for _ in range(10):
        client.post("/login/", {"username": "rita", "password": "no"})
    answer = client.post("/login/", {"username": "rita", "password": "correct horse"})
    assert answer.status_code == 429
    assert "Wait five minutes" in answer.content.decode()


@pytest.mark.threat("web.brute-force")
def test_tries_at_the_same_time_are_counted_too(office, client, monkeypatch):
    """The next one comes while the password of the one before is looked at."""
    signed_up(office)
    looked_at = []

    def slowly(*given, **named):
        looked_at.append(named["password"])
        if len(looked_at) < 15:
            Client().post("/login/", {"username": "rita", "password": f"guess {len(looked_at)}"})

    monkeypatch.setattr("django.contrib.auth.forms.authenticate", slowly)
    client.post("/login/", {"username": "rita", "password": "guess 0"})
    assert looked_at == [f"guess {number}" for number in range(10)]


@pytest.mark.threat("web.brute-force")
def test_a_flood_of_other_names_does_not_make_it_forget(office, client):
    signed_up(office)
    for _ in range(10):
        client.post("/login/", {"username": "rita", "password": "no"})
    for number in range(2000):
        cache.add(f"login-failures:{number}", 1, 300)
    assert client.post("/login/", {"username": "rita", "password": "correct horse"}).status_code == 429


@pytest.mark.threat("web.redirect")
def test_it_never_sends_people_to_another_site(office, client):
    signed_up(office)
    form = {"username": "rita", "password": "correct horse", "next": "https://elsewhere.example/"}
    assert client.post("/login/", form).url == "/"
    for next in ("//elsewhere.example/", "home", "0", "", "javascript:/x", "http:home"):
        assert client.post("/theme/", {"theme": "dark", "next": next}).url == "/", next


def test_the_colours_are_drawn_by_the_server(office, reader):
    client = reader("rita")
    client.post("/theme/", {"theme": "dark", "next": "/"})
    assert 'data-theme="dark"' in client.get("/").content.decode()
    client.post("/theme/", {"theme": '"><script>', "next": "/"})
    assert 'data-theme="auto"' in client.get("/").content.decode()


def test_a_token_is_shown_once(office, reader):
    client = reader("rita")
    answer = client.post("/tokens/", {"title": "laptop", "days": "90"})
    secret = answer.context["secret"]
    assert secret in answer.content.decode()
    assert secret not in client.get("/tokens/").content.decode()
    assert tokens.owner("rita", secret) == office.rita
    assert answer["Cache-Control"].startswith("max-age=0")


def test_a_token_without_a_name_is_refused_at_the_field(office, reader):
    answer = reader("rita").post("/tokens/", {"title": " "})
    assert answer.status_code == 422
    assert "Say where you will use it" in answer.content.decode()
    assert not AccessToken.objects.exists()


def test_a_token_can_be_withdrawn_by_its_owner_only(office, reader):
    row, secret = tokens.create(office.rita, title="laptop")
    reader("sam").post(f"/tokens/{row.pk}/revoke/")
    assert tokens.owner("rita", secret)
    reader("rita").post(f"/tokens/{row.pk}/revoke/")
    assert tokens.owner("rita", secret) is None


def test_a_form_without_its_csrf_token_gets_a_page_that_helps(office):
    client = Client(enforce_csrf_checks=True)
    client.force_login(office.rita)
    answer = client.post("/tokens/", {"title": "laptop"})
    assert answer.status_code == 403
    assert "Nothing was done" in answer.content.decode()


def test_a_broken_page_says_that_we_are_broken(office, reader, monkeypatch):
    client = reader("rita")
    client.raise_request_exception = False
    monkeypatch.setattr("portal.views.systems.counts_by", lambda column: 1 / 0)
    answer = client.get("/systems/")
    assert answer.status_code == 500
    assert "We are broken, not you" in answer.content.decode()


@pytest.mark.threat("web.xss")
def test_htmx_evaluates_nothing_and_asks_nobody_but_us(office, reader):
    for client, path in ((Client(), "/login/"), (reader("rita"), "/")):
        page = client.get(path).content.decode()
        (told,) = re.findall("<meta name=\"htmx-config\" content='([^']*)'>", page)
        config = json.loads(told)
        assert config["allowEval"] is False
        assert config["selfRequestsOnly"] is True
