"""What only BIND has: types, marks below a name, aliases that stand alone, zones with fewer rights, keys."""

from functools import partial

import pytest

from tests.systems.catalogue import Kind, server_of
from tests.systems.test_kafka import told

pytestmark = [pytest.mark.systems]
RECORD = Kind("bind", "DnsRecord")
BED = server_of("bind")
MARK = "Managed by Mergeyard ({}): {}"


@pytest.fixture
def stage(stages):
    return stages("bind")


@pytest.fixture
def other(stage, otherwise):
    return partial(otherwise, stage)


def record(sort, *values, **fields):
    return RECORD.resource(type=sort, values=[*values], **fields)


def texts(stage, name, zone=BED.ZONE):
    spec = {"zone": zone, "name": name, "type": "TXT"}
    return (BED.read(stage.testbed, "DnsRecord", spec) or {"values": []})["values"]


TYPES = [
    record("A", "192.0.2.2", "192.0.2.1"),
    record("AAAA", "2001:DB8:0:0::1", "2001:db8::ffff:0:1"),
    record("CNAME", "web.example.com."),
    record("MX", "10 mail.example.com", "20 mail.example.org."),
    record("MX", "0 ."),
    record("MX", "65535 mail.example.com"),
    record("SRV", "10 5 5060 sip.example.com", "10 0 5060 .", name="_sip._tcp.voice"),
    record("PTR", "web.example.com", zone=BED.REVERSE, name="77"),
    record("TXT", 'say "{{ 7 * 7 }}" \\ $(id); ', "x" * 600, "v=spf1 mx -all"),
    record("TXT", "of the zone itself", name="@"),
    record("A", "192.0.2.3", name="*.apps"),
    record("A", "192.0.2.4", name="*"),
]


def test_every_type_arrives_as_it_was_written_and_the_second_run_changes_nothing(stage):
    predicted = stage.play(replaced=TYPES, check=True)
    applied = stage.play(replaced=TYPES)
    assert applied.failed == []
    for resource in TYPES:
        assert applied.of(resource) == predicted.of(resource)
        assert stage.read(resource) == applied.of(resource)["after"], resource
    assert applied.of(TYPES[0])["after"]["values"] == ["192.0.2.1", "192.0.2.2"]
    assert applied.of(TYPES[1])["after"]["values"] == ["2001:db8::1", "2001:db8::ffff:0:1"]
    assert applied.of(TYPES[2])["after"]["values"] == ["web.example.com"]
    assert stage.play(replaced=TYPES).changed == []
    assert len(stage.play(deleted=TYPES).changed) == len(TYPES)
    assert [stage.read(resource) for resource in TYPES] == [None] * len(TYPES)


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        ("A", "192.0.2.256"),
        ("A", "2001:db8::1"),
        ("AAAA", "192.0.2.1"),
        ("CNAME", "web"),
        ("CNAME", "."),
        ("MX", "mail.example.com"),
        ("MX", "70000 mail.example.com"),
        ("MX", "65536 mail.example.com"),
        ("SRV", "1 2 mail.example.com"),
        ("SRV", "1 2 99999 mail.example.com"),
        ("PTR", "web.example.com; rm"),
        ("TXT", "one\nline"),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused_by_form_and_module(stage, sort, value):
    import jsonschema_rs

    resource = record(sort, value)
    validator = jsonschema_rs.Draft202012Validator(RECORD.schema, validate_formats=True)
    assert not validator.is_valid(resource["spec"])
    [event] = stage.play(replaced=[resource], check=True).resources
    assert event["message"].startswith("values: ")
    assert stage.read(resource) is None


def test_types_of_one_name_are_marked_apart_below_it_and_marks_are_nobodys_records(stage):
    address = record("A", "192.0.2.1")
    name = address["spec"]["name"]
    text = record("TXT", "hello", name=name)
    alias = record("CNAME", "web.example.com")
    stage.play(replaced=[address, text, alias])
    marks = [MARK.format(each["spec"]["type"], each["path"]) for each in (address, text)]
    assert texts(stage, f"_mergeyard.{name}") == sorted(marks)
    assert texts(stage, f"_mergeyard.{alias['spec']['name']}") == [MARK.format("CNAME", alias["path"])]
    listed = stage.play(book="discover").gathered("DnsRecord")
    assert [item for item in listed if item["identity"]["name"].startswith("_mergeyard")] == []
    assert {item["marker"] for item in listed if item["identity"]["name"] == name} == {address["path"], text["path"]}

    stage.play(deleted=[address])
    assert texts(stage, f"_mergeyard.{name}") == marks[1:]
    stage.play(deleted=[text, alias])
    assert texts(stage, f"_mergeyard.{name}") == texts(stage, f"_mergeyard.{alias['spec']['name']}") == []


def test_an_alias_beside_another_record_is_refused_which_the_server_would_ignore_without_a_word(stage):
    address, text = record("A", "192.0.2.1"), record("TXT", "new")
    stage.play(replaced=[address])
    alias = record("CNAME", "web.example.com", name=address["spec"]["name"])
    both = record("CNAME", "web.example.com", name=text["spec"]["name"])
    apex = record("CNAME", "web.example.com", name="@")
    for check in (True, False):
        played = stage.play(replaced=[alias, text, both, apex], check=check)
        assert sorted(played.failed) == sorted(each["path"] for each in (alias, both, apex))
        for each, sort in ((alias, "A"), (both, "TXT"), (apex, "NS")):
            assert played.of(each)["message"].startswith(f"There is a record of type {sort} for this name")
    assert stage.read(address) is not None
    assert stage.read(alias) is None


def test_a_record_takes_the_place_of_one_that_is_deleted_in_the_same_work(stage):
    address, six, text = record("A", "192.0.2.1"), record("AAAA", "2001:db8::1"), record("TXT", "alone")
    alias = record("CNAME", "web.example.com", name=address["spec"]["name"])
    for each in (six, text):
        each["spec"]["name"] = address["spec"]["name"]
    stage.play(replaced=[address, six])
    predicted = stage.play(replaced=[alias], deleted=[address, six], check=True)
    assert predicted.of(alias)["reasons"] == [
        "it does not exist yet",
        "it takes the place of the A and AAAA record of that name, which is deleted",
    ]
    assert predicted.of(six)["reasons"] == ["its document was removed"]
    played = stage.play(replaced=[alias], deleted=[address, six])
    assert played.code == 0
    assert [played.of(each) for each in (alias, address, six)] == [predicted.of(each) for each in (alias, address, six)]
    assert [stage.read(each) for each in (address, six)] == [None, None]
    assert stage.read(alias) == predicted.of(alias)["after"]

    back = stage.play(replaced=[address, six, text], deleted=[alias])  # the first one takes the alias's place
    assert back.failed == []
    assert stage.read(alias) is None
    assert None not in [stage.read(each) for each in (address, six, text)]


def test_what_is_replaced_stays_if_the_record_in_its_place_is_refused(other):
    stage = other(zones=[BED.CLOSED])
    address = record("A", "192.0.2.1", zone=BED.CLOSED)
    alias = record("CNAME", "web.example.com", zone=BED.CLOSED, name=address["spec"]["name"])
    stage.play(replaced=[address])
    for check in (True, False):
        played = stage.play(replaced=[alias], deleted=[address], check=check)
        assert played.of(alias)["message"] == "BIND refused it: the key may not do that."
        assert played.of(address)["message"].startswith("It is still there, as the record that takes its place")
    assert stage.read(address) is not None
    assert stage.play(deleted=[address]).changed == [address["path"]]


def test_what_is_replaced_stays_too_if_the_record_in_its_place_is_refused_before_the_server_is_asked(stage):
    address, alias = record("A", "192.0.2.1"), record("CNAME", "web.example.com")
    text = record("TXT", "made by others", name=address["spec"]["name"])
    instead = record("CNAME", "web.example.com", name=address["spec"]["name"])
    twice = record("AAAA", "2001:db8::1", "2001:db8:0::1", name=alias["spec"]["name"])
    stage.play(replaced=[address, alias])
    BED.make(stage.testbed, "DnsRecord", text["spec"])
    for check in (True, False):
        played = stage.play(replaced=[instead, twice], deleted=[address, alias], check=check)
        assert played.of(instead)["message"].startswith("There is a record of type TXT for this name")
        assert "is there twice" in played.of(twice)["message"]
        for each in (address, alias):
            assert played.of(each)["message"].startswith("It is still there, as the record that takes its place")
    assert None not in [stage.read(each) for each in (address, alias)]


def test_it_takes_no_place_of_what_others_made(stage):
    address = record("A", "192.0.2.1")
    alias = record("CNAME", "web.example.com", name=address["spec"]["name"])
    BED.make(stage.testbed, "DnsRecord", address["spec"])
    played = stage.play(replaced=[alias], deleted=[address])
    assert played.failed == [alias["path"]]
    assert stage.read(address) is not None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"zone": BED.CLOSED}, "is none of the zones that are managed on this system"),
        ({"name": f"www.{BED.ZONE}"}, f"write only what stands before .{BED.ZONE}"),
        ({"name": "_mergeyard.www"}, "is reserved"),
        ({"name": ".".join(["x" * 60] * 4)}, "is too long"),
    ],
)
def test_a_name_that_cannot_be_one_here_is_refused(stage, fields, said):
    resource = record("A", "192.0.2.1", **fields)
    for play in ({"replaced": [resource]}, {"deleted": [resource]}):
        assert said in stage.play(**play).of(resource)["message"]


def test_a_zone_that_may_not_be_transferred_is_read_name_by_name_and_a_wildcard_is_not_mistaken(other):
    stage = other(zones=[BED.ZONE, BED.CLOSED])
    wild = record("A", "192.0.2.1", zone=BED.CLOSED, name="*")
    text = record("TXT", "below all names", zone=BED.CLOSED, name="*")
    named = record("A", "192.0.2.2", zone=BED.CLOSED)
    assert stage.play(replaced=[wild, text]).failed == []
    predicted = stage.play(replaced=[named], check=True).of(named)
    assert (predicted["before"], predicted["changed"]) == (None, True)
    assert stage.play(replaced=[named]).of(named) == predicted
    assert stage.play(replaced=[wild, text, named]).changed == []
    alias = record("CNAME", "web.example.com", zone=BED.CLOSED, name=named["spec"]["name"])
    assert "There is a record of type A" in stage.play(replaced=[alias], check=True).of(alias)["message"]
    listing = stage.play(book="discover")
    assert listing.code != 0
    assert f"The records of {BED.CLOSED} cannot be listed" in listing.output
    assert len(stage.play(deleted=[wild, text, named]).changed) == 3


def test_what_the_server_refuses_does_not_keep_the_others_of_its_update_back(other):
    stage = other(zones=[BED.CLOSED])
    good = [record("A", f"192.0.2.{number}", zone=BED.CLOSED) for number in range(3)]
    mail = record("MX", "10 mail.example.com", zone=BED.CLOSED)
    predicted = stage.play(replaced=[good[0], mail, *good[1:]], check=True)
    assert [stage.read(each) for each in good] == [None] * 3
    played = stage.play(replaced=[good[0], mail, *good[1:]])
    assert predicted.failed == played.failed == [mail["path"]]
    assert played.of(mail)["message"] == "BIND refused it: the key may not do that."
    for each in (mail, *good):
        assert predicted.of(each) == played.of(each)
    assert [stage.read(each) for each in good] == [played.of(each)["after"] for each in good]
    assert stage.read(mail) is None


def test_a_zone_that_the_key_may_not_change_fails_its_records_only_and_in_the_preview_already(other):
    stage = other(zones=[BED.ZONE, BED.FIXED])
    fixed, fine = record("A", "192.0.2.1", zone=BED.FIXED), record("A", "192.0.2.1")
    for check in (True, False):
        played = stage.play(replaced=[fixed, fine], check=check)
        assert played.changed == [fine["path"]]
        assert played.of(fixed)["message"] == "BIND refuses the zone fixed.test: the key may not do that."


@pytest.mark.parametrize(
    ("secret", "connection", "said"),
    [
        ("bm90IHRoZSBrZXk=", {}, "the key's secret is not the one that it knows"),
        ("not base64!", {}, "is not a key in base64"),
        (None, {"key_name": "stranger"}, "it does not know the key"),
    ],
)
def test_a_wrong_key_is_told_apart(other, secret, connection, said):
    stage = other({"tsig_key": secret} if secret else None, **connection)
    resource = record("A", "192.0.2.1")
    message = stage.play(replaced=[resource]).of(resource)["message"]
    assert said in message
    assert "\n" not in message
    assert stage.read(resource) is None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, {"name": "*"}, "Every name of the zone"),
        (None, {"name": "*.apps"}, "Every name below"),
        (None, {"name": "@"}, "the zone itself"),
        (None, {"type": "MX", "values": ["10 mail.example.com"]}, "Mail for the name"),
        ({"ttl": 60}, {"ttl": 600}, "is seen later"),
        ({}, {"values": ["192.0.2.2"]}, "sent somewhere else"),
        (None, {}, ""),
        ({"ttl": 600}, {"ttl": 60}, ""),
    ],
)
def test_what_is_risky_is_told_in_the_plan(before, after, said):
    common = {"zone": BED.ZONE, "name": "www", "type": "A", "values": ["192.0.2.1"]}
    message = told(RECORD, None if before is None else common | before, common | after)
    assert said in message
    assert bool(said) == bool(message)
