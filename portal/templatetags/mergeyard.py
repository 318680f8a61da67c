"""The template tags of the design system: icons, states, times, identities, people, values.

Owns how a state, an operation, a time or a value looks, once for every page. Knows no query and no right.
"""

import json
import re
from datetime import date, datetime
from functools import cache, lru_cache
from pathlib import Path
from zlib import crc32

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from changes.models import User
from portal.looks import OPERATIONS, Look, look_of

register = template.Library()
SPRITE = Path(__file__).resolve().parent.parent / "static" / "vendor" / "lucide" / "sprite.svg"


@cache
def icon_names() -> frozenset[str]:
    """The names that the vendored sprite has."""
    text = SPRITE.read_text(encoding="utf-8")
    return frozenset(part.split('"', 1)[0] for part in text.split('<symbol id="')[1:])


@cache
def sprite_url() -> str:
    return static("vendor/lucide/sprite.svg")


@register.simple_tag
@lru_cache(maxsize=2000)
def icon(name: str, classes: str = "", label: str = "") -> SafeString:
    """An icon of the sprite; decoration unless it has a label. A name that the sprite lacks becomes a box."""
    shown = name if name in icon_names() else "box"
    css = f"icon {classes}".strip()
    if label:
        return format_html(
            '<svg class="{}" role="img" aria-label="{}"><use href="{}#{}"/></svg>', css, label, sprite_url(), shown
        )
    return format_html('<svg class="{}" aria-hidden="true"><use href="{}#{}"/></svg>', css, sprite_url(), shown)


@register.simple_tag
def state(name: str, size: str = "", label: str = "", count: int | None = None) -> SafeString:
    """The state of anything: always a word, a colour and an icon, and always the same ones."""
    look: Look = look_of(name)
    css = f"state tone-{look.tone} {look.extra} {'state-lg' if size == 'lg' else ''}".strip()
    return format_html(
        '<span class="{}" data-state="{}">{}<span>{}</span></span>',
        " ".join(css.split()),
        name,
        icon(look.icon, "spin" if look.moving else ""),
        (label or look.word) if count is None else f"{count} {(label or look.word).lower()}",
    )


@register.simple_tag
def state_icon(name: str, *, past: bool = False) -> SafeString:
    """The state as its icon alone, where the word stands beside it or is in its label. What is past does not move."""
    look = look_of(name)
    return format_html(
        '<span class="{}" title="{}">{}</span>',
        {"grey": "faint"}.get(look.tone, look.tone),
        look.word,
        icon(look.icon, "spin" if look.moving and not past else "", label=look.word),
    )


@register.simple_tag
@lru_cache(maxsize=100)
def operation(name: str) -> SafeString:
    """Create, update, transfer or delete: a word, a colour and a sign."""
    look = OPERATIONS.get(str(name).lower(), Look(str(name).title(), "grey", "dot"))
    return format_html('<span class="badge operation tone-{}">{}{}</span>', look.tone, icon(look.icon), look.word)


@register.simple_tag
def when(value: datetime | date | None, style: str = "relative") -> SafeString:
    """A time in words; the script puts the reader's zone in, and the exact time on hover. style: relative | exact."""
    if value is None:
        return format_html('<span class="faint">{}</span>', "never")
    if not isinstance(value, datetime):
        return format_html('<time datetime="{}">{}</time>', value.isoformat(), f"{value.day} {value:%b %Y}")
    exact = f"{value.day} {value:%b %Y, %H:%M} UTC"
    shown = exact if style == "exact" else relative(value, timezone.now())
    return format_html(
        '<time class="when" datetime="{}" data-when="{}" title="{}">{}</time>', value.isoformat(), style, exact, shown
    )


def relative(value: datetime, now: datetime) -> str:
    """How long ago, or how far ahead, in one short phrase."""
    seconds = (now - value).total_seconds()
    ahead, seconds = seconds < 0, abs(seconds)
    if seconds < 45:
        return "just now" if not ahead else "in a moment"
    for limit, unit, word in ((3600, 60, "min"), (86400, 3600, "h"), (30 * 86400, 86400, "d")):
        if seconds < limit:
            amount = max(1, int(seconds // unit))
            return f"in {amount} {word}" if ahead else f"{amount} {word} ago"
    shown = f"{value.day} {value:%b}"
    return shown if value.year == now.year else f"{shown} {value.year}"


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds as a person reads them: 0.4 s, 12 s, 3 min 5 s, 2 h 4 min."""
    if seconds is None:
        return ""
    if seconds < 10 and isinstance(seconds, float):
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


@register.simple_tag
def identity(text: str, href: str = "", shown: str = "") -> SafeString:
    """An identity or a value in monospace with a button that copies it."""
    inner = format_html("<code>{}</code>", shown or text)
    if href:
        inner = format_html('<a href="{}">{}</a>', href, inner)
    return format_html('<span class="identity">{}{}</span>', inner, copy(text))


@register.simple_tag
def copy(text: str, label: str = "") -> SafeString:
    """A button that copies the text."""
    return format_html(
        '<button type="button" class="copy" data-copy="{}" aria-label="{}" title="Copy">{}</button>',
        text,
        label or f"Copy {text}"[:120],
        icon("copy"),
    )


@register.simple_tag
def avatar(user: User | str, size: str = "") -> SafeString:
    """A person's initials in one of eight quiet colours; the same person always has the same."""
    name = user.shown_name if isinstance(user, User) else str(user)
    username = user.username if isinstance(user, User) else str(user)
    words = name.replace(".", " ").replace("-", " ").split() or ["?"]
    initials = (words[0][0] + (words[-1][0] if len(words) > 1 else "")).upper()
    css = f"avatar avatar-{crc32(username.encode()) % 8} {'avatar-lg' if size == 'lg' else ''}".strip()
    return format_html('<span class="{}" aria-hidden="true">{}</span>', css, initials)


@register.simple_tag
def person(user: User | str | None) -> SafeString:
    """A person: initials and name."""
    if user is None:
        return format_html('<span class="person">{}Mergeyard</span>', icon("bot", "icon-sm"))
    name = user.shown_name if isinstance(user, User) else str(user)
    return format_html('<span class="person">{}{}</span>', avatar(user), name)


# What hides in a text: controls, zero-width and bidirectional marks, byte order mark, odd spaces, tags.
_ODD = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff])"
)


@register.filter
def visible(text: object) -> SafeString:
    """The text with characters that a reader cannot see drawn as their code point; everything is escaped."""
    plain, *rest = _ODD.split(str(text))
    if not rest:
        return format_html("{}", plain)
    marked = [(f"U+{ord(odd):04X}", after) for odd, after in zip(rest[::2], rest[1::2], strict=True)]
    drawn = '<span class="odd" title="A character that cannot be seen">{}</span>{}'
    return format_html("{}{}", plain, format_html_join("", drawn, marked))


@register.filter
def value(thing: object) -> SafeString:
    """A value of a document: text as it is, all else as JSON, long ones folded."""
    text = thing if isinstance(thing, str) else json.dumps(thing, ensure_ascii=False, sort_keys=True)
    if text == "":
        text = '""'
    if len(text) <= 160:
        return format_html('<code class="value">{}</code>', visible(text))
    folded = format_html('<summary><code class="value">{}…</code></summary>', visible(text[:120]))
    return format_html('<details class="long-value">{}<code class="value">{}</code></details>', folded, visible(text))


@register.filter
def any_of(thing: object) -> SafeString:
    """A value, or the values of a list with "or" between them."""
    values = thing if isinstance(thing, list) else [thing]
    return format_html_join(" or ", "{}", ((value(one),) for one in values))


@register.simple_tag
def system_icon(type_name: str, classes: str = "") -> SafeString:
    """The icon that a system type's folder gives."""
    return icon(_type_icons().get(type_name, "server"), classes)


@register.simple_tag
def kind_icon(kind_name: str, classes: str = "") -> SafeString:
    return icon(_kind_icons().get(kind_name, "file-text"), classes)


def _type_icons() -> dict[str, str]:
    from changes.catalog import catalog

    return {name: kind.icon for name, kind in catalog().types.items()}


def _kind_icons() -> dict[str, str]:
    from changes.catalog import catalog

    known = catalog()
    return {name: kind.icon or known.types[kind.type].icon for name, kind in known.kinds.items()}


_YAML_LINE = re.compile(
    r"^(?P<lead>\s*(?:- )*)(?:(?P<key>[^\s#:\[{][^:#]*)(?P<colon>:)(?=\s|$))?(?P<rest>.*?)(?P<note>(?:^|\s)#.*)?$"
)


@register.filter
def yaml_line(line: str) -> SafeString:
    """One line of YAML with its key and its comment set apart; everything is escaped."""
    found = _YAML_LINE.match(line)
    if found is None:
        return visible(line)
    parts = found.groupdict(default="")
    key = format_html('<span class="y-key">{}</span>:', visible(parts["key"])) if parts["colon"] else ""
    note = format_html('<span class="y-note">{}</span>', visible(parts["note"])) if parts["note"] else ""
    return format_html("{}{}{}{}", visible(parts["lead"]), key, visible(parts["rest"]), note)
