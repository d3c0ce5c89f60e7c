"""The comment's text, rendered by GitHub's own Markdown: no cut swallows what follows."""

import pytest

from pipeline.comments import MARKER, MAX_BODY_BYTES, build_body, is_ours
from tests.rendered import Rendered

URL = "https://github.com/octo-lab/force-build/actions/runs/1"
LONG = "\n".join(f"line {number} of a long report" for number in range(5000))


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
