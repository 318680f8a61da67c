"""Tokens: shown once, kept as a digest, refused as soon as they should be."""

from datetime import timedelta

import pytest
from django.utils import timezone

from changes import tokens
from changes.models import AccessToken, User


@pytest.fixture
def rita(db):
    return User.objects.create(username="rita")


def test_a_token_names_its_owner_and_notes_its_use(rita):
    row, secret = tokens.create(rita, title="laptop")
    assert tokens.owner("rita", secret) == rita
    row.refresh_from_db()
    assert row.last_used_at is not None
    assert secret.startswith(row.prefix)
    assert secret not in str(AccessToken.objects.values().get())


def test_a_token_is_for_its_owner_only(rita):
    _, secret = tokens.create(rita, title="laptop")
    assert tokens.owner("olga", secret) is None
    assert tokens.owner("rita", secret + "x") is None
    assert tokens.owner("rita", "\udcff") is None


def test_a_token_ends_by_its_date_by_withdrawal_or_with_its_owner(rita):
    _, old = tokens.create(rita, title="old", expires_at=timezone.now() - timedelta(seconds=1))
    assert tokens.owner("rita", old) is None
    row, secret = tokens.create(rita, title="laptop")
    stranger = User.objects.create(username="sam")
    assert not tokens.revoke(stranger, row.pk)
    assert tokens.owner("rita", secret) == rita
    assert tokens.revoke(rita, row.pk)
    assert tokens.owner("rita", secret) is None
    _, last = tokens.create(rita, title="desk")
    User.objects.filter(pk=rita.pk).update(is_active=False)
    assert tokens.owner("rita", last) is None
