"""The fields of a plan item as a table: drawn here and not by a template, since a plan may have thousands of rows.

Every text passes `visible` or `value`, which escape it.
"""

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from changes.plan import FieldChange, Operation, PlanItem
from portal.templatetags.mergeyard import value, visible

register = template.Library()
SHOWN_NAMES = 6
_NOT_SET = format_html('<span class="{}">not set</span>', "faint")
_HEADS = {
    Operation.CREATE: ("Field", "Value"),
    Operation.DELETE: ("Field", "Before"),
}


@register.simple_tag
def field_names(item: PlanItem) -> str:
    """What stands behind the fold: the first few names."""
    names = [change.field.removeprefix("spec.") for change in item.fields if change.field != "kind"]
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


@register.simple_tag
def fields_table(item: PlanItem) -> SafeString:
    """Field, before, after; of what is created or deleted only the one side that there is."""
    heads = _HEADS.get(item.operation, ("Field", "Before", "After"))
    return format_html(
        '<table class="fields"><caption class="visually-hidden">Fields of {}</caption>'
        '<thead class="{}"><tr>{}</tr></thead><tbody>{}</tbody></table>',
        visible(item.path),
        "unseen" if len(heads) == 2 else "",
        format_html_join("", '<th scope="col"><span>{}</span></th>', ((head,) for head in heads)),
        format_html_join(
            "",
            '<tr class="{}"><th scope="row"><code>{}</code></th>{}{}</tr>',
            (_row(change, item.operation) for change in item.fields if change.field != "kind"),
        ),
    )


def _row(change: FieldChange, operation: Operation) -> tuple[SafeString | str, ...]:
    before: SafeString | str = ""
    after: SafeString | str = ""
    if operation != Operation.CREATE:
        before = format_html('<td class="before">{}</td>', _NOT_SET if change.added else value(change.before))
    if operation != Operation.DELETE:
        after = format_html('<td class="after">{}</td>', _NOT_SET if change.removed else value(change.after))
    risky = "risky" if change.risk else ""
    return risky, visible(change.field.removeprefix("spec.")), before, after
