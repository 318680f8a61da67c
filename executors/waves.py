"""Owns the order of a rollout's work: which resources share a play, and what has to wait for what.

Pure. It must not know kinds by name, documents, git or the database: it sees nodes and edges.

A play runs the kinds of its system type in their order with `replaced`, then in reverse order with `deleted`, and each
kind's list in the order it is given. That is a resource's *phase*. An edge within one system costs nothing if the
phases already serve it; any other edge costs a wave. So the wave of a node is the greatest cost of a path that ends in
it, every edge between two items leads to a later wave, and items can never wait for each other in a circle.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Phase = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Node:
    """One resource. `rank` is the place of its kind in the order of the system type."""

    key: str
    system: str
    rank: int
    deleted: bool = False

    @property
    def phase(self) -> Phase:
        return (1, -self.rank) if self.deleted else (0, self.rank)


@dataclass(frozen=True, slots=True)
class Edge:
    """`after` may begin only when `before` is done. `apart`: never in the same play, whatever the phases say."""

    before: str
    after: str
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One play: the keys of its resources in the order they are handed over."""

    system: str
    wave: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arrangement:
    items: tuple[Item, ...]  # by wave, then system
    needs: frozenset[tuple[int, int]]  # (item, the item it needs) as indexes of `items`


def arrange(nodes: Iterable[Node], edges: Iterable[Edge]) -> Arrangement:
    """The items and their needs. Edges from or to unknown keys are ignored; a circle is cut at its smallest key."""
    by_key = {node.key: node for node in nodes}
    known = {edge for edge in edges if edge.before in by_key and edge.after in by_key and edge.before != edge.after}
    order = _sorted(by_key, known)
    place = {key: index for index, key in enumerate(order)}
    known = {edge for edge in known if place[edge.before] < place[edge.after]}
    waves = _waves(order, by_key, known)
    return _items(order, by_key, waves=waves, edges=known)


def _sorted(by_key: Mapping[str, Node], edges: Iterable[Edge]) -> list[str]:
    """Every key after all that it waits for; among the free ones by phase and key, so the result is always the same."""
    after: dict[str, set[str]] = {key: set() for key in by_key}
    before: dict[str, set[str]] = {key: set() for key in by_key}
    for edge in edges:
        after[edge.before].add(edge.after)
        before[edge.after].add(edge.before)
    open_counts = {key: len(keys) for key, keys in before.items()}
    free = [(by_key[key].phase, key) for key, count in open_counts.items() if count == 0]
    heapq.heapify(free)
    circular = sorted(by_key)
    done: dict[str, None] = {}
    while len(done) < len(by_key):
        key = heapq.heappop(free)[1] if free else next(key for key in circular if key not in done)
        if key in done:
            continue
        done[key] = None
        for later in after[key]:
            open_counts[later] -= 1
            if open_counts[later] == 0:
                heapq.heappush(free, (by_key[later].phase, later))
    return list(done)


def _waves(order: list[str], by_key: Mapping[str, Node], edges: Iterable[Edge]) -> dict[str, int]:
    incoming: dict[str, list[Edge]] = {}
    for edge in edges:
        incoming.setdefault(edge.after, []).append(edge)
    waves: dict[str, int] = {}
    for key in order:
        costs = (waves[edge.before] + _cost(by_key, edge) for edge in incoming.get(key, ()))
        waves[key] = max(costs, default=0)
    return waves


def _cost(by_key: Mapping[str, Node], edge: Edge) -> int:
    before, after = by_key[edge.before], by_key[edge.after]
    served = not edge.apart and before.system == after.system and before.phase <= after.phase
    return 0 if served else 1


def _items(
    order: list[str], by_key: Mapping[str, Node], *, waves: Mapping[str, int], edges: Iterable[Edge]
) -> Arrangement:
    members: dict[tuple[int, str], list[str]] = {}
    for key in order:
        members.setdefault((waves[key], by_key[key].system), []).append(key)
    items: list[Item] = []
    item_of: dict[str, int] = {}
    for (wave, system), keys in sorted(members.items()):
        keys.sort(key=lambda key: by_key[key].phase)  # stable: dependencies stay first within a phase
        item_of.update(dict.fromkeys(keys, len(items)))
        items.append(Item(system, wave, tuple(keys)))
    pairs = ((item_of[edge.after], item_of[edge.before]) for edge in edges)
    return Arrangement(tuple(items), frozenset(pair for pair in pairs if pair[0] != pair[1]))
