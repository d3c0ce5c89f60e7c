"""The text of the one comment that a pull request keeps: marked, short enough, and harmless whoever wrote its parts.

Nothing here asks GitHub: `pipeline.tools.github` publishes what this builds.
"""

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.escaping import clean

MARKER = "<!-- force-build:report -->"

# GitHub takes 65,536 characters. Bytes of UTF-8 are never fewer than characters, however those are counted.
MAX_BODY_BYTES = 65_536
MAX_TEXT_BYTES = MAX_BODY_BYTES - len(MARKER) - 1

_CLOSERS_BYTES = 1_000  # kept free for what closes open blocks; a text that needs more is cut once more
_NOTICE = "This report is cut: a comment has room for no more. All of it is in "

_VOID_TAGS = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_RAW_BLOCK = re.compile(r"<(?:(?P<tag>pre|script|style|textarea)\b|(?P<mark>!--|\?|!\[CDATA\[|!))", re.IGNORECASE)
_RAW_ENDS = {"!--": "-->", "?": "?>", "![CDATA[": "]]>", "!": ">"}


def is_ours(body: str | None) -> bool:
    """Say whether a comment's text is one that `build_body` made. Whoever quotes one has something before the marker.

    >>> is_ours(build_body("fine")), is_ours("> " + build_body("fine")), is_ours(None)
    (True, False, False)
    """
    return body is not None and body.startswith(MARKER)


def build_body(text: str, whole_text_url: str = "") -> str:
    """Return the comment: the marker, and as many lines of the text as GitHub takes.

    `whole_text_url`: where all of it is, the summary of the job.
    """
    body = f"{MARKER}\n{clean(text)}"
    if _size(body) <= MAX_BODY_BYTES:
        return body
    where = f"[the summary of the job](<{whole_text_url}>)" if whole_text_url else "the summary of the job"
    notice = f"\n\n**{_NOTICE}{where}.**\n"
    room = MAX_BODY_BYTES - _size(notice)
    lines = _take_lines(body, room - _CLOSERS_BYTES)
    while _size(closed := _close("\n".join(lines))) > room:
        lines = lines[: max(1, len(lines) // 2)]
    return closed + notice


def _size(text: str) -> int:
    return len(text.encode())


def _take_lines(text: str, room: int) -> list[str]:
    """Return the lines, from the first, that fit into `room` bytes with their ends."""
    lines = text.split("\n")
    taken = 0
    for count, line in enumerate(lines):
        taken += _size(line) + 1
        if taken > room:
            return lines[:count]
    return lines


def _close(text: str) -> str:
    """Return a text with all closed that is open at its end; half a diagram and half a tag are left out."""
    while (block := _find_open_block(text)) is not None:
        if block.info.strip() == "mermaid":
            text = _take_before(block, text)
        else:
            text += f"\n{_end_of(block)}"
    tags = _OpenTags()
    for token in _parse(text):
        tags.read(token)
        if tags.rawdata:
            return _close(_take_before(token, text))
    return text + "\n\n" + "\n".join(f"</{tag}>" for tag in reversed(tags.found)) if tags.found else text


def _find_open_block(text: str) -> Token | None:
    """Return the block that would swallow a paragraph after the text."""
    last = _parse(f"{text}\n\nparagraph")[-1]
    return None if last.type == "paragraph_close" else last


def _end_of(block: Token) -> str:
    if block.type == "fence":
        return block.markup
    opening = _RAW_BLOCK.match(block.content.lstrip())
    assert opening, f"a block of HTML goes on after an empty line: {block.content[:80]!r}"
    return f"</{opening['tag']}>" if opening["tag"] else _RAW_ENDS[opening["mark"].upper()]


def _take_before(block: Token, text: str) -> str:
    """Return the lines before those of a block."""
    assert block.map, f"a {block.type} has lines"
    return "\n".join(text.split("\n")[: block.map[0]])


def _parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


class _OpenTags(HTMLParser):
    """Which elements of HTML are open after what was read, the outermost first; `rawdata` is half a tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def read(self, token: Token) -> None:
        """Read the HTML of a block."""
        for part in [token, *(token.children or [])]:
            if part.type in ("html_block", "html_inline"):
                self.feed(part.content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note that an element begins."""
        if tag not in _VOID_TAGS:
            self.found.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note that an element ends, and all in it."""
        if tag in self.found:
            del self.found[len(self.found) - 1 - self.found[::-1].index(tag) :]
