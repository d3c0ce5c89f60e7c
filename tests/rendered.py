"""Markdown as GitHub's own renderer shows it."""

from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options


class Rendered(HTMLParser):
    """HTML as GitHub renders a text: its pieces of text, each with the elements around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.pieces: list[tuple[tuple[str, ...], str]] = []
        options = Options.CMARK_OPT_UNSAFE  # GitHub, too, lets HTML through here and filters it later
        self.feed(cmarkgfm.github_flavored_markdown_to_html(text, options=options))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while tag in self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.pieces.append((tuple(self.open), data))

    def around(self, text: str) -> tuple[str, ...]:
        """Return the elements around the only piece that has a text."""
        (found,) = [elements for elements, piece in self.pieces if text in piece]
        return found

    def says(self, *elements: str) -> str:
        """Return all the text in some elements, as a reader sees it."""
        pieces = [piece for around, piece in self.pieces if around[: len(elements)] == elements]
        return " ".join("".join(pieces).replace("\u200b", "").split())
