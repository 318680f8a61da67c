"""A person's tokens for git over HTTP: 256 random bits, of which only the SHA-256 is kept.

Because the secret is random and long, one SHA-256 is enough; a slow password hash would cost every request.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from changes.models import AccessToken, User

PREFIX = "my_"
SHOWN = len(PREFIX) + 5
USED_EVERY = timedelta(minutes=1)


def create(user: User, *, title: str, expires_at: datetime | None = None) -> tuple[AccessToken, str]:
    """The token's row and its secret, which can be shown this once and never again."""
    secret = PREFIX + secrets.token_hex(32)
    row = AccessToken.objects.create(
        user=user,
        title=title.strip() or "git",
        digest=_digest(secret),
        prefix=secret[:SHOWN],
        expires_at=expires_at,
    )
    return row, secret


def owner(username: str, secret: str) -> User | None:
    """The active person whose token this is, if it is theirs and still good; its use is noted once a minute."""
    digest = _digest(secret)
    now = timezone.now()
    row = AccessToken.objects.select_related("user").filter(digest=digest, revoked_at=None).first()
    if row is None or not hmac.compare_digest(row.digest, digest):
        return None
    same_person = hmac.compare_digest(row.user.username.encode(), username.encode())
    if not same_person or not row.user.is_active or (row.expires_at is not None and row.expires_at <= now):
        return None
    if row.last_used_at is None or now - row.last_used_at > USED_EVERY:
        AccessToken.objects.filter(pk=row.pk).update(last_used_at=now)
    return row.user


def of(user: User) -> QuerySet[AccessToken]:
    """A person's tokens that still work or have run out, newest first."""
    return AccessToken.objects.filter(user=user, revoked_at=None).order_by("-id")


def revoke(user: User, token_id: int) -> bool:
    """Withdraw one of the person's own tokens; False when there is no such token."""
    return bool(AccessToken.objects.filter(pk=token_id, user=user, revoked_at=None).update(revoked_at=timezone.now()))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
