"""Find the files that lines of paths and patterns name, by the rules of `actions/upload-artifact`.

A pattern matches what it names and everything below it. Lines count in order; `!` leaves out again. What starts with a
dot is left out, where a search starts there, too: `path: .hidden` finds nothing, `path: .hidden/folder` does.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from artifacts import ActionError

# What a segment of a pattern is made of: an escaped character, wildcards, a set, any other character.
_TOKEN = re.compile(r"\\(?P<escaped>.)|(?P<many>\*+)|(?P<one>\?)|\[(?P<set>[^\]]+)\]|(?P<plain>.)", re.DOTALL)


@dataclass(frozen=True)
class Pattern:
    """One line: does it leave out, what does it match, and where does the search for it start."""

    leaves_out: bool
    regex: re.Pattern[str]
    start: str


def find_files(lines: str, include_hidden: bool) -> tuple[list[str], str]:
    """Return the absolute paths of all files that match, in order, and the folder that they are packed relative to."""
    patterns = [parse_pattern(line) for line in map(str.strip, lines.split("\n")) if line and not line.startswith("#")]
    starts = list_starts(patterns)
    found = {path for start in starts for path in walk(start, include_hidden, ()) if is_match(patterns, path)}
    if not found:
        return [], ""
    if len(starts) == 1 and found == set(starts):
        return starts, os.path.dirname(starts[0])
    return sorted(found), os.path.commonpath(starts)


def parse_pattern(line: str) -> Pattern:
    """Read one line. Raises ActionError where '.' or '..' stands in a path, as the action itself fails then."""
    text = line.lstrip("!").strip()
    prefix, segments = _split(text)
    start = os.path.join(prefix, *(str(name) for name in takewhile(_is_known, map(_find_literal, segments))))
    below = "/.+" if text.endswith("/") else "(?:/.*)?"  # with a slash, a file of that name does not count
    if text.endswith("/") and segments[-1:] == ["**"]:
        segments.pop()
    regex = re.escape(prefix.rstrip("/")) + "".join(map(_translate, segments)) + below
    return Pattern((len(line) - len(line.lstrip("!"))) % 2 == 1, re.compile(regex, re.DOTALL), start)


def list_starts(patterns: list[Pattern]) -> list[str]:
    """Return where to search, without what lies below another of these."""
    starts = dict.fromkeys(pattern.start for pattern in patterns if not pattern.leaves_out)
    return [start for start in starts if not any(str(parent) in starts for parent in Path(start).parents)]


def walk(path: str, include_hidden: bool, above: tuple[str, ...]) -> Iterator[str]:
    """Yield the files at or below a path, through links; broken and circular links are left out."""
    name = os.path.basename(path)
    if (name.startswith(".") and not include_hidden) or not os.path.exists(path):
        return
    if not os.path.isdir(path):
        yield path
        return
    real = os.path.realpath(path)
    if real not in above:
        for entry in sorted(os.listdir(path)):
            yield from walk(os.path.join(path, entry), include_hidden, (*above, real))


def is_match(patterns: list[Pattern], path: str) -> bool:
    """Say whether the last pattern that matches a path takes it in."""
    result = False
    for pattern in patterns:
        if pattern.regex.fullmatch(path):
            result = not pattern.leaves_out
    return result


def _split(text: str) -> tuple[str, list[str]]:
    """Return the folder that a path counts from, and its segments."""
    segments = [segment for segment in text.split("/") if segment]
    first = "/" if text.startswith("/") else (segments or [".."])[0]
    rest = segments[1:] if first in (".", "~") else segments
    if "." in rest or ".." in (first, *rest):
        raise ActionError(f"'{text}' is not a valid path: '.' and '..' may not stand in it")
    return {"/": "/", "~": os.path.expanduser("~")}.get(first, os.getcwd()), rest


def _is_known(literal: str | None) -> bool:
    return literal is not None


def _find_literal(segment: str) -> str | None:
    """Return the name that a segment stands for, or None where it is a pattern.

    >>> _find_literal("a[b]c"), _find_literal("a*"), _find_literal("a[bc]")
    ('abc', None, None)
    """
    literal = ""
    for token in _TOKEN.finditer(segment):
        kind, text = token.lastgroup, token[str(token.lastgroup)]
        if kind in ("many", "one") or (kind == "set" and len(text) > 1):
            return None
        literal += text
    return literal


def _translate(segment: str) -> str:
    """Return the regular expression of a segment and the slash before it."""
    if segment == "**":
        return "(?:/[^/]+)*"
    regex = "/"
    for token in _TOKEN.finditer(segment):
        kind, text = token.lastgroup, token[str(token.lastgroup)]
        if kind == "set":
            negation = "^/" if text[0] in "!^" and len(text) > 1 else ""
            characters = text[1:] if negation else text
            regex += f"[{negation}{''.join(c if c == '-' else re.escape(c) for c in characters)}]"
        else:
            regex += {"many": "[^/]*", "one": "[^/]"}.get(str(kind), re.escape(text))
    return regex
