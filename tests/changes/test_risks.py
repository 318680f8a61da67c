"""When a risk holds: a table per operator, and widening against a count of what is covered."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changes.comparing import compare
from changes.kinds import Risk
from changes.risks import covers, fields_at_risk, holds, widens

WORLD = "0.0.0.0/0"
HALVES = ["0.0.0.0/1", "128.0.0.0/1"]
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
IN = {"a": [WORLD], "b": "in"}


def held(on, field, before, after, value=None, unlimited=None, where=()):
    """Whether it holds for a change of a spec; None: there is none."""
    specs = [{} if spec is None else {"spec": spec} for spec in (before, after)]
    return holds(
        Risk(on, field, value, "Look out.", unlimited, tuple(dict(where).items())), compare(*specs), before, after
    )


@pytest.mark.parametrize(
    ("on", "field", "before", "after", "more", "expected"),
    [
        ("change", "a", {"a": 1}, {"a": 2}, {}, True),
        ("change", "a", {"a": {"b": 1}}, {"a": {"b": 2}}, {}, True),
        ("change", "a", {"a": 1, "b": 1}, {"a": 1, "b": 2}, {}, False),
        ("change", "a", None, {"a": 1}, {}, False),
        ("change", "a", {"a": 1}, None, {}, False),
        ("decrease", "a", {"a": 2}, {"a": 1}, {}, True),
        ("decrease", "a", {"a": 1}, {"a": 2}, {}, False),
        ("increase", "a", {"a": 1}, {"a": 2}, {}, True),
        ("decrease", "a", {"a": -1}, {"a": 5}, {"unlimited": -1}, True),
        ("decrease", "a", {"a": 5}, {"a": -1}, {"unlimited": -1}, False),
        ("increase", "a", {"a": 5}, {"a": -1}, {"unlimited": -1}, True),
        ("decrease", "a", {}, {"a": 5}, {"unlimited": "absent"}, True),
        ("decrease", "a", {}, {"a": 5}, {}, False),
        ("increase", "a", {"a": 5}, {}, {"unlimited": "absent"}, True),
        ("decrease", "a", {"a": 5}, {}, {"unlimited": "absent"}, False),
        ("decrease", "a", None, {"a": 5}, {"unlimited": "absent"}, False),
        ("decrease", "a.b", {"a": {"b": 5}}, {"a": {"b": 4}}, {}, True),
        ("equals", "a", None, {"a": False}, {"value": False}, True),
        ("equals", "a", {"a": True}, {"a": False}, {"value": False}, True),
        ("equals", "a", {"a": False, "b": 1}, {"a": False, "b": 2}, {"value": False}, False),
        ("equals", "a", {"a": 0}, {"a": False}, {"value": False}, True),
        ("equals", "a.*.b", None, {"a": [{"b": 1}, {"b": 0}]}, {"value": 0}, True),
        ("equals", "a.*.b", {"a": [{"b": 0}]}, {"a": [{"b": 0}, {"b": 1}]}, {"value": 0}, False),
        ("equals", "a.*.b", {"a": [{"b": 0}]}, {"a": [{"b": 0}, {"b": 0, "c": 1}]}, {"value": 0}, True),
        ("equals", "a.*", None, {"a": {"x": "all"}}, {"value": "all"}, True),
        ("contains", "a", {"a": [1]}, {"a": [1, 2]}, {"value": 2}, True),
        ("contains", "a", {"a": [2]}, {"a": [1, 2]}, {"value": 2}, False),
        ("contains", "a", None, {"a": HALVES}, {"value": WORLD}, True),
        ("contains", "a", None, {"a": ["0.0.0.0/00"]}, {"value": WORLD}, True),
        ("contains", "a", None, {"a": ["::0/0"]}, {"value": "::/0"}, True),
        ("contains", "a", None, {"a": ["::/0"]}, {"value": WORLD}, False),
        ("contains", "a", {"a": [WORLD]}, {"a": HALVES}, {"value": WORLD}, False),
        ("contains", "a", None, {"a": []}, {"value": WORLD}, False),
        ("contains", "a", None, {"a": ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"]}, {"value": WORLD}, True),
        ("contains", "a", None, {"a": ["8.0.0.0/6", "1.0.0.0/8"]}, {"value": WORLD}, True),
        ("contains", "a", None, {"a": PRIVATE}, {"value": WORLD}, False),
        ("contains", "a", None, {"a": ["2000::/3"]}, {"value": "::/0"}, True),
        ("contains", "a", None, {"a": ["fc00::/7", "fe80::/10"]}, {"value": "::/0"}, False),
        ("contains", "a", None, {"a": ["10.0.0.0/10"]}, {"value": "10.0.0.0/8"}, False),
        ("contains", "a", None, {"a": [WORLD], "b": "in"}, {"value": WORLD, "where": {"b": "in"}}, True),
        ("contains", "a", None, {"a": [WORLD], "b": "out"}, {"value": WORLD, "where": {"b": "in"}}, False),
        ("contains", "a", None, {"a": [WORLD], "b": "in"}, {"value": WORLD, "where": {"b": ["in", "x"]}}, True),
        ("contains", "a", IN | {"b": "out"}, IN, {"value": WORLD, "where": {"b": "in"}}, True),
        ("contains", "a", IN, IN | {"c": 1}, {"value": WORLD, "where": {"b": "in"}}, False),
        ("contains", "a.*.b", None, {"a": [{"b": ["read", "all"]}]}, {"value": "all"}, True),
        ("matches", "a", None, {"a": "*.apps"}, {"value": r"^\*"}, True),
        ("matches", "a", {"a": "*.apps"}, {"a": "*.shop"}, {"value": r"^\*"}, False),
        ("matches", "a", {"a": ["x"]}, {"a": ["x", "*.y"]}, {"value": r"^\*"}, True),
        ("matches", "a", None, {"a": 5}, {"value": "5"}, False),
        ("absent", "a", None, {"b": 1}, {}, True),
        ("absent", "a", {"a": 1}, {"b": 1}, {}, True),
        ("absent", "a", {"a": [1]}, {"a": []}, {}, True),
        ("absent", "a", {"b": 1}, {"b": 2}, {}, False),
        ("absent", "a", {"a": 1}, None, {}, False),
        ("absent", "a", None, {"a": 0}, {}, False),
        ("widen", "a", {"a": ["443"]}, {"a": ["443", "80"]}, {}, True),
        ("widen", "a", {"a": ["443"]}, {}, {}, True),
        ("widen", "a", {}, {"a": ["443"]}, {}, False),
        ("widen", "a", None, {"a": ["443"]}, {}, False),
        ("narrow", "a", {"a": ["443", "80"]}, {"a": ["443"]}, {}, True),
        ("narrow", "a", {"a": ["443"]}, {"a": ["443", "80"]}, {}, False),
        ("narrow", "a", {}, {"a": ["443"]}, {}, True),
        ("narrow", "a", None, {"a": ["443"]}, {}, False),
        ("narrow", "a", {"b": "in"}, {"a": ["443"], "b": "in"}, {"where": {"b": "in"}}, True),
        ("narrow", "a", {"b": "in"}, {"a": ["443"], "b": "in"}, {"where": {"b": "out"}}, False),
    ],
)
def test_a_risk_holds_where_its_operator_says_so(on, field, before, after, more, expected):
    assert held(on, field, before, after, **more) is expected


def test_the_fields_that_it_stands_at_are_those_in_it_and_around_it():
    changes = compare({"spec": {"a": [1], "b": 1}}, {"spec": {"a": [{"c": 1}], "b": 2}})
    assert [change.field for change in fields_at_risk(Risk("equals", "a.*.c", 1, ""), changes)] == ["spec.a"]
    assert [change.field for change in fields_at_risk(Risk("change", "b", None, ""), changes)] == ["spec.b"]


@pytest.mark.parametrize(
    ("before", "after", "wider"),
    [
        (["10.0.0.0/24"], ["10.0.0.0/24"], False),
        (["10.0.0.0/24"], ["10.0.0.8/32"], False),
        (["10.0.0.0/24"], ["10.0.0.0/23"], True),
        (["10.0.0.0/25", "10.0.0.128/25"], ["10.0.0.0/24"], False),
        (["10.0.0.0/24"], [WORLD], True),
        ([WORLD], ["2001:db8::/32"], True),
        (["2001:db8::/32"], ["2001:db8:1::/48"], False),
        (["any"], ["any"], False),
        (["any"], ["office"], True),
        (["10.0.0.0/24"], [], True),
        ([], ["10.0.0.0/24"], False),
        ([443], ["1-65535"], True),
        (["8000-8010", "8011-8020"], ["8005-8015"], False),
        (["80"], ["10.0.0.0/8"], True),
    ],
)
def test_a_list_widens_when_it_covers_more(before, after, wider):
    assert widens(before, after) is wider


ranges = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: f"{min(pair)}-{max(pair)}"), min_size=1
)
networks = st.lists(
    st.tuples(st.integers(0, 15), st.integers(28, 32)).map(lambda pair: f"10.0.0.{pair[0]}/{pair[1]}"), min_size=1
)


def ports_of(texts):
    return {port for text in texts for port in range(*(int(end) + n for n, end in enumerate(text.split("-"))))}


def addresses_of(texts):
    return {address for text in texts for address in ip_network(text, strict=False)}


@given(ranges, ranges)
def test_ports_widen_as_their_sets_do(before, after):
    assert widens(before, after) is not (ports_of(after) <= ports_of(before))


@given(networks, networks)
def test_networks_widen_as_their_sets_do(before, after):
    assert widens(before, after) is not (addresses_of(after) <= addresses_of(before))
    assert covers(before, after[0]) is (addresses_of(after[:1]) <= addresses_of(before))
