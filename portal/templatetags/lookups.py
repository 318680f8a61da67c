"""Looking a thing up by a name that only the template knows."""

from collections.abc import Mapping

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from changes.models import User
from executors.models import Commit

register = template.Library()


@register.filter
def get(mapping: Mapping[str, object], key: str) -> object:
    return mapping.get(key)


@register.filter
def shown_in(username: str, people: Mapping[str, User]) -> str:
    """A person's name, where they are known."""
    found = people.get(username)
    return found.shown_name if found else username


@register.simple_tag
def commit_link(commit: Commit) -> SafeString:
    """A commit as the change request that it merged, else as its id."""
    if commit.change_request_id is None:
        return format_html("<code>{}</code>", commit.sha[:10])
    url = reverse("change", args=[commit.change_request_id])
    return format_html('<a href="{}">change #{}</a>', url, commit.change_request_id)
