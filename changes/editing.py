"""Writes the one document a person edits: the new data goes into the old text, and the rest of it stays as it was.

Works on the text itself, at the places where libyaml found each node, so comments, order, quoting and layout of what
did not change are kept to the byte. What cannot be put in place is written anew in the house style, from the smallest
part that can. The result always reads back as the data given. Knows no schema and no path.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import cast

from yaml import CBaseLoader, CollectionNode, MappingNode, Node, ScalarNode, SequenceNode, compose

from changes.comparing import named, naming_field, same
from changes.documents import canonical_json
from changes.reading import InvalidFile, Json, one_number, read_yaml
from changes.rendering import after_dash, after_key, block, flow, render, text

__all__ = ["render", "update_text"]


NOWHERE = -1


class _Unfit(Exception):
    """The change cannot be made within this node; the part around it is written anew."""


@dataclass(frozen=True, slots=True)
class _Splice:
    start: int
    end: int
    text: str


def update_text(before: str, document: dict[str, Json]) -> str:
    """The text after setting it to `document`; an empty text gives a new one in the house style.

    Raises InvalidFile when the text cannot be read, or when the data holds what no file may hold.
    """
    if "\r\n" in before:
        return update_text(before.replace("\r\n", "\n"), document).replace("\n", "\r\n")
    if before and not before.endswith("\n"):
        before += "\n"
    document = {key: one_number(value) for key, value in document.items()}
    try:
        old = _read(before)
    except InvalidFile as error:
        if error.problems[0].id != "yaml.empty":
            raise
        return _checked(before + render(document), document)
    edited = _edited(before, old, document)
    try:
        return _checked(edited, document)
    except InvalidFile:
        return _checked(render(document), document)


def _read(content: str) -> Json:
    return read_yaml(content.encode(errors="surrogatepass"), "").value


def _checked(content: str, document: dict[str, Json]) -> str:
    if not same(_read(content), document):
        raise InvalidFile
    return content


def _edited(before: str, old: Json, new: Json) -> str:
    editor = _Editor(before)
    try:
        editor.value(cast(Node, compose(before, Loader=CBaseLoader)), old, new)
    except _Unfit:
        return render(new)
    # From the last to the first, so that positions hold; of two at one position the first written comes first.
    for _, _, _, splice in sorted(((s.start, s.end, n, s) for n, s in enumerate(editor.splices)), reverse=True):
        before = before[: splice.start] + splice.text + before[splice.end :]
    return before


class _Editor:
    """Collects the splices that turn a text's data into other data."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.splices: list[_Splice] = []

    def value(self, node: Node, old: Json, new: Json) -> None:
        """Change a value within its node, or raise _Unfit."""
        if same(old, new):
            return
        if _is_flow(node):
            self.flow(node, old, new)
        elif isinstance(node, MappingNode) and isinstance(old, dict) and isinstance(new, dict) and new:
            self.mapping(node, old, new)
        elif isinstance(node, SequenceNode) and isinstance(old, list) and isinstance(new, list) and new:
            self.sequence(node, old, new)
        elif isinstance(node, ScalarNode) and self.is_inline(node) and not isinstance(new, (dict, list)):
            self.scalar(node, new)
        else:
            raise _Unfit

    def scalar(self, node: ScalarNode, new: Json) -> None:
        if isinstance(new, str) and "\n" in new and node.style != '"':
            raise _Unfit
        shown = text(new, node.style) if isinstance(new, str) else flow(new)
        start = node.start_mark.index
        gap = "" if self.content[start - 1 : start] in ("", " ", "\n", "[", "{") else " "
        self.splices.append(_Splice(start, node.end_mark.index, gap + shown))

    def is_inline(self, node: ScalarNode) -> bool:
        return node.style not in ("|", ">") and node.start_mark.line == node.end_mark.line

    def flow(self, node: Node, old: Json, new: Json) -> None:
        """A flow collection keeps its layout while its keys or its length stay; else it is written on one line."""
        pairs: list[tuple[Node, Json, Json]] = []
        if (
            isinstance(node, MappingNode)
            and isinstance(old, dict)
            and isinstance(new, dict)
            and old.keys() == new.keys()
        ):
            pairs = [(value, old[key.value], new[key.value]) for key, value in node.value]
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            pairs = list(zip(node.value, old, new, strict=True))
        if not pairs and not (old and new and type(old) is type(new)):
            raise _Unfit
        kept = len(self.splices)
        try:
            if not pairs:
                raise _Unfit
            for part, before, after in pairs:
                self.value(part, before, after)
        except _Unfit:
            del self.splices[kept:]
            self.splices.append(_Splice(node.start_mark.index, node.end_mark.index, flow(new)))

    def mapping(self, node: MappingNode, old: dict[str, Json], new: dict[str, Json]) -> None:
        indent = node.start_mark.column
        ends = {}
        for key, value in node.value:
            name = key.value
            ends[name] = self.line_end(self.end(value))
            if name not in new:
                self.remove_lines(key.start_mark.index, ends[name])
                continue
            try:
                self.attempt(value, old[name], new[name])
            except _Unfit:
                colon = self.content.index(":", key.end_mark.index) + 1
                self.splices.append(_Splice(colon, self.end(value), "\n".join(after_key(new[name], indent))))
        if not set(ends) & set(new):
            raise _Unfit
        place = next(reversed(ends))
        for before, name in zip([None, *new], new, strict=False):
            if name in ends:
                continue
            after = before if before in ends else place
            self.insert(ends[after], block({name: new[name]}, indent))
            ends[name] = ends[after]

    def sequence(self, node: SequenceNode, old: list[Json], new: list[Json]) -> None:
        """Items are paired by equality, then by what names them, then by position."""
        indent = node.start_mark.column
        begin = self.line_start(node.start_mark.index)
        last, kept = begin - 1, False
        for was, becomes in _paired(old, new):
            if was == NOWHERE:
                if last < begin and self.content[begin : node.start_mark.index].strip():
                    raise _Unfit  # the list begins on the line of the one around it
                self.insert(last, block([new[becomes]], indent))
                continue
            part = node.value[was]
            last = self.line_end(self.end(part))
            if becomes == NOWHERE:
                self.remove_lines(self.dash(node, part), last)
            else:
                kept = True
                self.item(node, part, old[was], new[becomes])
        if not kept:
            raise _Unfit

    def item(self, node: SequenceNode, part: Node, old: Json, new: Json) -> None:
        try:
            self.attempt(part, old, new)
        except _Unfit:
            start = self.dash(node, part) + 1
            lines = after_dash(new, node.start_mark.column)
            self.splices.append(_Splice(start, self.end(part), "\n".join(lines)))

    def attempt(self, node: Node, old: Json, new: Json) -> None:
        """Change a value in place; what was begun is forgotten when it does not fit."""
        kept = len(self.splices)
        try:
            self.value(node, old, new)
        except _Unfit:
            del self.splices[kept:]
            raise

    def remove_lines(self, start: int, end: int) -> None:
        """Remove whole lines; not when something else begins on the first of them."""
        begin = self.line_start(start)
        if self.content[begin:start].strip():
            raise _Unfit
        self.splices.append(_Splice(begin, min(end + 1, len(self.content)), ""))

    def insert(self, line_end: int, lines: list[str]) -> None:
        at = line_end + 1
        self.splices.append(_Splice(at, at, "\n".join(lines) + "\n"))

    def dash(self, node: SequenceNode, part: Node) -> int:
        """Where the `-` of an item stands: in the list's column, at or above the item's line."""
        begin = self.line_start(part.start_mark.index)
        while self.content[begin + node.start_mark.column] != "-":
            begin = self.line_start(begin - 1)
        return begin + node.start_mark.column

    def line_start(self, index: int) -> int:
        return self.content.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        return self.content.index("\n", index)

    def end(self, node: Node) -> int:
        """Where a node's own text ends, without the comments and blank lines that follow."""
        if isinstance(node, ScalarNode):
            start, end = node.start_mark.index, node.end_mark.index
            return start + len(self.content[start:end].rstrip()) if node.style in ("|", ">") else end
        if _is_flow(node):
            return int(node.end_mark.index)
        last = node.value[-1]
        return self.end(last[1] if isinstance(node, MappingNode) else last)


def _is_flow(node: Node) -> bool:
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def _paired(old: list[Json], new: list[Json]) -> Iterator[tuple[int, int]]:
    """Pairs of positions in the order of `new`: kept or changed items, (i, NOWHERE) removed, (NOWHERE, j) added."""
    name = naming_field(old, new)
    if name:
        before, after = list(named(old, name)), list(named(new, name))
    else:
        before, after = [canonical_json(item) for item in old], [canonical_json(item) for item in new]
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        common = min(j - i, m - k) if tag == "equal" or not name else 0
        yield from zip(range(i, i + common), range(k, k + common), strict=True)
        yield from ((was, NOWHERE) for was in range(i + common, j))
        yield from ((NOWHERE, becomes) for becomes in range(k + common, m))
