"""The comment's text, rendered by GitHub's own Markdown: nobody's text does anything, no cut swallows what follows."""

import random
import re
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

from pipeline.comments import MARKER, MAX_BODY_BYTES, build_body, escape_cell, escape_text, is_ours

URL = "https://github.com/octo-lab/force-build/actions/runs/1"
LONG = "\n".join(f"line {number} of a long report" for number in range(5000))

HOSTILE = [
    *("|", "||", "\\", "\\|", "\\\\|", "`", "``", "```", "\n", "\r\n", "\n\n", "\t", "    ", " ", "_", "__", "*", "**"),
    *(
        "~",
        "~~",
        "<",
        ">",
        "<!--",
        "-->",
        "<script>",
        "</td>",
        "</details>",
        "<br>",
        "<a href='x'>",
        "&amp;",
        "&#64;",
        "&",
    ),
    *("@team", "@octo-lab/all", "me@example.com", "#12", "octo/lab#3", "GH-7", "gh-7", "${{ secrets.X }}", "$x$", "$$"),
    *(
        "[a](http://evil.example)",
        "![i](http://evil.example/x.png)",
        "http://evil.example",
        "https://evil.example/?a=b",
    ),
    *("www.evil.example", "ftp://evil.example", "mailto:a@b.example", "xmpp:a@b.example", "<http://evil.example>"),
    *(
        "- ",
        "+ ",
        "* ",
        "1. ",
        "1) ",
        "> ",
        "# ",
        "===",
        "---",
        "| - |",
        "[^1]",
        "[ ]",
        "[x]: y",
        ":smile:",
        "!",
        "/merge",
    ),
    *("ü", "漢字", "🙂", "👩‍🔬", "word", "wide_net", "0.98", "'", '"', "..."),
]


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


def make_hostile(seed: int) -> str:
    """Return a few of the hostile texts in a row."""
    generator = random.Random(seed)
    return "".join(generator.choices(HOSTILE, k=generator.randint(1, 9)))


def assert_calls_nobody(rendered: Rendered) -> None:
    """Check what GitHub looks for in text when it is HTML already."""
    for elements, piece in rendered.pieces:
        if "code" not in elements:
            assert not re.search(r"[@#]\w|\bgh-\d", piece, re.IGNORECASE), piece
            assert piece == "$" or "$" not in piece, piece


@pytest.mark.parametrize("start", range(0, 1000, 200))
def test_cell_says_the_text_and_nothing_else_when_it_is_hostile(start: int) -> None:
    for seed in range(start, start + 200):
        text = make_hostile(seed)
        cell = escape_cell(text, limit=1000)
        assert "\n" not in cell
        assert not re.search(r"[|`<@#](?!span>|/span>|\d)", cell), cell
        rendered = Rendered(f"| a | b |\n| - | - |\n| {cell} | end |\n\nafter")
        assert rendered.tags <= {"table", "thead", "tbody", "tr", "th", "td", "p", "span"}, (text, rendered.tags)
        shown = " ".join(text.split())
        assert rendered.says("table", "tbody") == " ".join(f"{shown} end".split()), text
        assert rendered.around("after") == ("p",), text
        assert_calls_nobody(rendered)


@pytest.mark.parametrize("start", range(0, 1000, 200))
def test_paragraph_says_the_text_and_nothing_else_when_it_is_hostile(start: int) -> None:
    for seed in range(start, start + 200):
        text = make_hostile(seed)
        rendered = Rendered(f"{escape_text(text)}\n\nafter")
        assert rendered.tags <= {"p", "br", "span"}, (text, rendered.tags)
        shown = "".join(" ".join(line.split()) for line in text.splitlines())
        assert rendered.says() == " ".join(f"{shown} after".split()), text
        assert_calls_nobody(rendered)


def test_probe_finds_the_fault_when_a_text_is_not_escaped() -> None:
    """The two tests above can fail: the same text, as it came, is a table of more cells, HTML, links and mentions."""
    rendered = Rendered("| a | b |\n| - | - |\n| x|<b>y</b> @team http://evil.example | end |\n")
    assert rendered.tags > {"b", "a"}
    assert "end" not in rendered.says()
    with pytest.raises(AssertionError, match="@team"):
        assert_calls_nobody(rendered)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b\x1b[31mc\x7fd", "a�b�&#91;31mc�d"),
        ("safe\u202egnp.exe", "safe�gnp.exe"),
        ("a\u2066b\u2069c\u200bd\ufeffe", "a�b�c�d�e"),
        ("broken \udce9 name", "broken � name"),
        ("a\u2028b\x85c\vd\fe", "a b c d e"),
        ("👩‍🔬 می‌خواهم", "👩‍🔬 می‌خواهم"),
        ("  two   words\t", "two words"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_hidden_characters_are_replaced_when_a_text_has_them(text: str, expected: str) -> None:
    assert escape_cell(text) == expected
    assert escape_text(text) in (expected, expected.replace(" ", "<br>"))


def test_no_escape_is_broken_when_a_text_is_too_long() -> None:
    assert escape_cell("|" * 500, limit=3) == "&#124;&#124;…"
    assert escape_cell("abc", limit=3) == "abc"
    assert Rendered(escape_text("line\n" * 500, limit=13)).says() == "linelineli…"


@pytest.mark.parametrize(
    "name", ["main", "wide_net", "worst-class", "v1.2.3", "feature/x", "résumé", "0.9895 +0.0000", "-0.0236"]
)
def test_text_stays_readable_when_it_is_plain(name: str) -> None:
    assert escape_cell(name) == name


def test_comment_is_marked_and_whole_when_it_fits() -> None:
    assert build_body("# Results\n\nfine\n") == f"{MARKER}\n# Results\n\nfine\n"
    exact = "x" * (MAX_BODY_BYTES - len(MARKER) - 1)
    assert build_body(exact) == f"{MARKER}\n{exact}"
    assert "This report is cut" in build_body(f"{exact}\n")


def test_comment_is_ours_only_when_it_starts_with_the_marker() -> None:
    body = build_body("fine")
    assert is_ours(body)
    assert not any(
        map(is_ours, [None, "", "fine", f"> {body}", f"look:\n{body}", f"\n{body}", f" {body}", MARKER[:-1]])
    )


def test_comment_is_text_that_a_request_can_carry_when_the_report_is_damaged() -> None:
    body = build_body("a\x00b\udce9c\r\nd\u202ee")
    assert body == f"{MARKER}\na�b�c\nd�e"
    body.encode()


@pytest.mark.parametrize("line", ["plain", "ü" * 40, "🙂" * 30, "| a | 🙂 | ü |", ""])
def test_comment_has_whole_lines_and_says_where_the_rest_is_when_it_is_cut(line: str) -> None:
    text = "\n".join(f"{number} {line}" for number in range(20_000))
    body = build_body(text, URL)
    assert MAX_BODY_BYTES - 2000 < len(body.encode()) <= MAX_BODY_BYTES
    kept, _, notice = body.removeprefix(f"{MARKER}\n").rpartition("\n\n")
    assert text.startswith(f"{kept}\n")
    assert notice == (
        f"**This report is cut: a comment has room for no more. All of it is in [the summary of the job](<{URL}>).**\n"
    )


def test_comment_says_where_the_rest_is_when_no_address_is_known() -> None:
    assert build_body(LONG).endswith("All of it is in the summary of the job.**\n")


def test_comment_is_the_notice_alone_when_the_only_line_is_too_long() -> None:
    body = build_body("x" * 100_000)
    assert body.startswith(f"{MARKER}\n\n**This report is cut")
    assert body.count("\n") == 3


@pytest.mark.parametrize(
    "opening",
    [
        "```",
        "```python",
        "~~~~ text",
        "   `````",
        "- item\n\n  ```",
        "> ```",
        "1. ```\n   code",
        "<details>\n\n",
        "<details><summary>more</summary>\n\n<b>",
        "<details>\n\n<details>\n\n```json",
        "<details>\n<table><tr><td>\n\n",
        "<details>\n<img src=x><br>\n\n| a |\n| - |",
        "text <sub><b>",
        "<!-- a remark",
        "<pre>",
        "<details><summary>the log</summary>\n\n<pre>",
        "<pre><code>",
        "<script>",
        "<STYLE>",
        "<textarea>",
        "<?php",
        "<![CDATA[",
        "<!DOCTYPE x",
        "<div\nclass='",
        "<details>\n\n<div\nclass='",
        "# heading\n\n```mermaid\nxychart-beta",
        "<details>\n\n```mermaid",
        "```\n```\n\n~~~",
        "`<details>`\n\n```\n<details>\n```\n",
        "paragraph",
        "    indented",
    ],
)
def test_nothing_is_swallowed_when_a_block_is_open_at_the_cut(opening: str) -> None:
    body = build_body(f"{opening}\n{LONG}\n\n{LONG}", URL)
    assert len(body.encode()) <= MAX_BODY_BYTES
    rendered = Rendered(f"{body}\n\nafter")
    assert rendered.around("This report is cut") == ("p", "strong")
    assert rendered.around("the summary of the job") == ("p", "strong", "a")
    assert rendered.around("after") == ("p",)


def test_only_what_is_open_is_closed_when_tags_need_no_end() -> None:
    body = build_body(f"<details>\n<img src=x><br><p>one</p>\n\n{LONG}")
    assert body.partition("\n\n**This report is cut")[0].endswith(" of a long report\n\n</details>")


def test_probe_finds_the_swallowed_text_when_a_block_is_open() -> None:
    """The test above can fail: unclosed, each of these takes in what follows."""
    assert Rendered("```\ncode\n\nafter").around("after") == ("pre", "code")
    assert Rendered("<details>\n\nafter").around("after") == ("details", "p")
    assert Rendered("<!-- remark\n\nafter").around("after") == ()


def test_diagram_is_left_out_when_half_of_it_would_be_left() -> None:
    before = "\n".join(["some text"] * 6000)
    body = build_body(f"{before}\n\n```mermaid\n{LONG}\n```\n")
    assert "mermaid" not in body
    assert before in body


def test_diagram_stays_when_the_cut_is_after_it() -> None:
    body = build_body(f"```mermaid\nxychart-beta\n```\n{LONG}\n{LONG}")
    assert body.startswith(f"{MARKER}\n```mermaid\nxychart-beta\n```\n")


def test_comment_is_cut_once_more_when_its_closing_tags_have_no_room() -> None:
    body = build_body("<blockquote>\n\n" * 20_000)
    assert len(body.encode()) <= MAX_BODY_BYTES
    assert body.count("<blockquote>") == body.count("</blockquote>") > 1000
