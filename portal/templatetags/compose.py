"""Small words of the compose and catalogue pages."""

import re

from django import template

register = template.Library()


@register.filter
def short_field(path: str) -> str:
    """A field as a reader of one document names it: without `spec.`, rows counted from 1."""
    parts = path.removeprefix("spec.").split(".")
    return " › ".join(f"entry {int(part) + 1}" if part.isdigit() else part for part in parts)


@register.filter
def paragraphs(text: str) -> list[str]:
    """A folded text as its paragraphs; line breaks within one mean nothing."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]
