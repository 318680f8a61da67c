"""Who may see and do what on pages. The rights themselves are computed in `changes.rights` from main."""

from django.http import HttpRequest


def person(request: HttpRequest) -> dict[str, object]:
    """Context processor."""
    return {}
