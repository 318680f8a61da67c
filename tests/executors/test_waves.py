"""The order of a rollout's work."""

from hypothesis import given
from hypothesis import strategies as st

from executors.waves import Edge, Node, arrange


def plays(arrangement):
    return [(item.wave, item.system, item.keys) for item in arrangement.items]


def test_resources_without_edges_share_one_wave():
    nodes = [Node("topic", "kafka", 0), Node("database", "pg", 1), Node("role", "pg", 0)]
    assert plays(arrange(nodes, [])) == [(0, "kafka", ("topic",)), (0, "pg", ("role", "database"))]


def test_an_edge_that_the_order_of_kinds_serves_costs_nothing():
    nodes = [Node("database", "pg", 1), Node("role", "pg", 0)]
    assert plays(arrange(nodes, [Edge("role", "database")])) == [(0, "pg", ("role", "database"))]


def test_an_edge_against_the_order_of_kinds_costs_a_wave():
    nodes = [Node("database", "pg", 1), Node("role", "pg", 0)]
    result = arrange(nodes, [Edge("database", "role")])
    assert plays(result) == [(0, "pg", ("database",)), (1, "pg", ("role",))]
    assert result.needs == {(1, 0)}


def test_an_edge_within_a_kind_orders_its_list():
    nodes = [Node("a", "pg", 0), Node("b", "pg", 0)]
    assert plays(arrange(nodes, [Edge("b", "a")])) == [(0, "pg", ("b", "a"))]


def test_an_edge_across_systems_costs_a_wave():
    nodes = [Node("topic", "kafka", 0), Node("route", "haproxy", 0), Node("other", "haproxy", 0)]
    result = arrange(nodes, [Edge("topic", "route")])
    assert plays(result) == [(0, "haproxy", ("other",)), (0, "kafka", ("topic",)), (1, "haproxy", ("route",))]
    assert result.needs == {(2, 1)}


def test_deletes_come_last_and_in_mirrored_order():
    nodes = [Node("role", "pg", 0, deleted=True), Node("database", "pg", 1, deleted=True), Node("new", "pg", 1)]
    result = arrange(nodes, [Edge("database", "role")])
    assert plays(result) == [(0, "pg", ("new", "database", "role"))]


def test_edges_apart_never_share_a_play():
    nodes = [Node("new", "pg", 0), Node("old", "pg", 0, deleted=True)]
    assert [item.wave for item in arrange(nodes, [Edge("new", "old", apart=True)]).items] == [0, 1]


def test_a_circle_is_cut_and_nothing_is_lost():
    nodes = [Node("a", "x", 0), Node("b", "y", 0), Node("c", "z", 0)]
    result = arrange(nodes, [Edge("a", "b"), Edge("b", "a"), Edge("b", "c")])
    assert plays(result) == [(0, "x", ("a",)), (1, "y", ("b",)), (2, "z", ("c",))]


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 12))
    nodes = [
        Node(f"n{index}", draw(st.sampled_from("pqr")), draw(st.integers(0, 3)), draw(st.booleans()))
        for index in range(size)
    ]
    pairs = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=30))
    return nodes, pairs


@given(graphs())
def test_every_edge_is_served_by_waves_phases_or_the_list(graph):
    nodes, pairs = graph
    edges = [Edge(f"n{min(pair)}", f"n{max(pair)}") for pair in pairs if pair[0] != pair[1]]
    result = arrange(nodes, edges)
    by_key = {node.key: node for node in nodes}
    where = {key: (index, at) for index, item in enumerate(result.items) for at, key in enumerate(item.keys)}
    for edge in edges:
        (before, before_at), (after, after_at) = where[edge.before], where[edge.after]
        if before == after:
            assert before_at < after_at
            assert by_key[edge.before].phase <= by_key[edge.after].phase
        else:
            assert result.items[before].wave < result.items[after].wave
            assert (after, before) in result.needs


@given(graphs())
def test_every_resource_stands_in_exactly_one_play_even_with_circles(graph):
    nodes, pairs = graph
    result = arrange(nodes, [Edge(f"n{a}", f"n{b}") for a, b in pairs])
    assert sorted(key for item in result.items for key in item.keys) == sorted(node.key for node in nodes)
    assert all(result.items[needed].wave < result.items[item].wave for item, needed in result.needs)


@given(graphs(), st.randoms())
def test_the_result_does_not_depend_on_the_order_of_the_input(graph, random):
    nodes, pairs = graph
    edges = [Edge(f"n{a}", f"n{b}") for a, b in pairs]
    shuffled_nodes, shuffled_edges = nodes[:], edges[:]
    random.shuffle(shuffled_nodes)
    random.shuffle(shuffled_edges)
    assert arrange(nodes, edges) == arrange(shuffled_nodes, shuffled_edges)
