"""Tags of the rollout's block, which draws itself wherever it is included."""

from django import template
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from executors.models import Rollout
from portal import log
from portal.access import signed_in
from portal.rollouts import RolloutPage, rollout_page

register = template.Library()


def number_of(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


@register.simple_tag(takes_context=True, name="rollout_page")
def page(context: template.Context, rollout: Rollout) -> RolloutPage:
    """The block's content for this reader; the chosen item and run are in the address."""
    request: HttpRequest = context["request"]
    return rollout_page(
        rollout,
        signed_in(request),
        item=number_of(request.GET.get("item")),
        run=number_of(request.GET.get("run")),
        keep=number_of(request.headers.get("X-Keep-Log")),
    )


@register.simple_tag(takes_context=True)
def choosing(context: template.Context, item: int, run: int = 0) -> str:
    """This page's address with an item chosen; what else the address says stays."""
    query = context["request"].GET.copy()
    for name in ("item", "run", "line"):
        query.pop(name, None)
    query["item"] = str(item)
    if run:
        query["run"] = str(run)
    return f"?{query.urlencode()}#item"


@register.simple_tag
def log_lines(fold: log.Fold) -> SafeString:
    run = fold.lines[0]["run"]
    return log.lines_html(fold.lines, address=reverse("run_log", args=[run]))


@register.filter
def resource_page(path: str) -> str:
    """The page of the resource that a document's path names; empty for any other file."""
    names = path.removeprefix("resources/").removesuffix(".yml").split("/")
    return reverse("resource", args=names) if len(names) == 4 else ""


@register.filter
def resource_short(path: str) -> str:
    return path.removeprefix("resources/").removesuffix(".yml")


@register.filter
def seconds_of(cell_seconds: float | None) -> str:
    """For a clock: 12 s, 3:05, 1:02:09."""
    if cell_seconds is None:
        return ""
    whole = int(cell_seconds)
    if whole < 60:
        return f"{cell_seconds:.1f} s" if cell_seconds < 10 else f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
