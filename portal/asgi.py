"""The ASGI application: git over HTTP beside Django."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django_application: Any = get_asgi_application()

from changes.repository import must_be_the_forge  # noqa: E402  (needs Django's settings)
from portal import git_http  # noqa: E402

must_be_the_forge()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"].startswith(git_http.PREFIX):
        await git_http.application(scope, receive, send)
    else:
        await django_application(scope, receive, send)
