"""Texts of anybody's as Markdown that says them and does nothing else, in GitHub's eyes too."""

import re
import unicodedata

# What Markdown, HTML or GitHub finds a meaning in, anywhere in a line. As an entity it has none, in and out of tables.
_SPECIAL = re.compile(
    r"""[\\`*\[\]<>&|~@#:$"']|(?<![^\W_])_|_(?![^\W_])|(?<=\bgh)-(?=\d)|(?<=\bwww)\.""", re.IGNORECASE
)
# What has one at the start of a line only: lists, underlines of headings, commands to bots.
_LEADING = re.compile(r"^(\d+(?=[.)](?:\s|$))|)([-+](?!\d)|[=/.)])")
# GitHub looks for people and issues when the Markdown is HTML already, and entities are characters again.
_ZERO_WIDTH_SPACE = "&#8203;"
_JOINERS = "\u200c\u200d"  # hidden, but some scripts and emoji cannot do without


def escape_cell(text: str, limit: int = 120) -> str:
    """Return a text of anybody's as one line of Markdown that says it and does nothing else, for a cell of a table.

    It may stand between HTML tags, `<code>` too, but not between backticks, where Markdown has no entities.
    `limit`: how many characters of the text are shown; an ellipsis is the last of them where there were more.

    >>> escape_cell("a|b <!-- @team #12")
    'a&#124;b &#60;!-- &#64;&#8203;team &#35;&#8203;12'
    >>> escape_cell("wide_net 0.98"), escape_cell("- a\\n- b")
    ('wide_net 0.98', '&#45; a - b')
    >>> escape_cell("${{ secrets.X }}", limit=8)
    '<span>$</span>{{ sec…'
    """
    line = _cut(" ".join(clean(text).split()), limit)
    return _LEADING.sub(lambda match: f"{match[1]}&#{ord(match[2])};", _SPECIAL.sub(_escape, line))


def escape_text(text: str, limit: int = 2000) -> str:
    """Return a text of anybody's as `escape_cell` does, its lines kept apart.

    >>> escape_text("# first\\r\\n\\n- second")
    '&#35; first<br>&#45; second'
    """
    lines = _cut(clean(text), limit).split("\n")
    return "<br>".join(filter(None, (escape_cell(line, limit) for line in lines)))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character == "$":  # formulas are looked for late, too; GitHub's manual has a dollar written like this
        return "<span>$</span>"
    following = match.string[match.end() : match.end() + 1]
    is_reference = character in "@#-" and following.isalnum()
    return f"&#{ord(character)};" + (_ZERO_WIDTH_SPACE if is_reference else "")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean(text: str) -> str:
    """Return a text with one kind of line end, and a replacement character for what no reader sees or no file holds."""
    text = re.sub(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]", "\n", text)
    return text.translate({ord(character): "\ufffd" for character in set(text) if _is_hidden(character)})


def _is_hidden(character: str) -> bool:
    """Say whether a character is a control, turns the direction of what follows, or is half of a pair."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in f"\n\t{_JOINERS}"
