"""Texts of anybody's, rendered by GitHub's own Markdown: they say what they are, and do nothing."""

import random
import re

import pytest

from pipeline.escaping import escape_cell, escape_text
from tests.rendered import Rendered

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
