"""Looking a thing up by a name that only the template knows."""

from collections.abc import Mapping

from django import template

register = template.Library()


@register.filter
def get(mapping: Mapping[str, object], key: str) -> object:
    return mapping.get(key)
