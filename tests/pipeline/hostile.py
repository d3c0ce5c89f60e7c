"""What an attacker would try, and what GitHub makes of what jobs print and publish."""

import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

from tests.checkouts import Checkout, Ended

REPOSITORY = "octo-lab/force-build"

# No names of experiments.
NAMES = {
    "separator": "a;touch pwned",
    "newline": "a\nb",
    "end of line": "a\n",
    "substitution": "$(touch pwned)",
    "backticks": "`touch pwned`",
    "expression": "${{ secrets.X }}",
    "path": "../x",
    "option": "-rf",
    "long": "x" * 200,
    "command": "a\n::set-output name=any::true",
    "letters": "é",
}
# Branches that git takes.
BRANCHES = {
    "substitution": "feat/$(touch${IFS}pwned)",
    "backticks": "feat/`touch${IFS}pwned`",
    "expression": "${{github.token}}",
    "quotes": "feat/\";rm'$(touch${IFS}pwned)",
    "option": "--upload-pack=touch${IFS}pwned",
    "table": "a|b||c",
    "html": "feat/<!--x--><img/src=x>&amp;",
    "escape": "feat/%0A%0D%25",
    "mention": "@team/#12",
    "direction": "feat/\u202egnp.exe",
    "long": "x" * 200,
    "script": "feat/é漢🙂",
}
# What a commit, a description or a log may say.
TEXT = """\
$(touch pwned) `touch pwned` "; touch pwned; " ${{ secrets.X }} %0A::error::pwned
::set-output name=any::pwned
  ::error file=a.py,line=1::pwned
##[add-path]pwned
::stop-commands::x
<!-- --> <img src=x> </pre></details> @team #12 | [a](http://evil.example) ```
"""
# A runner's commands that do something; https://docs.github.com has the list.
_COMMANDS = ("add-mask", "add-path", "debug", "endgroup", "error", "group", "notice", "save-state", "set-env")
_COMMANDS += ("set-output", "stop-commands", "warning")


def find_obeyed(text: str) -> list[str]:
    """Return the commands that a runner obeys in what a step prints, each as its name and data."""
    obeyed, resuming = [], ""
    for line in text.splitlines():
        match = re.match(r"\s*::([\w-]+)(?: .*?)?::(.*)", line) or re.search(r"##\[([\w-]+)(?: .*?)?\](.*)", line)
        if match and resuming:
            resuming = "" if match[1] == resuming else resuming
        elif match and match[1] == "stop-commands":
            resuming = match[2]
        elif match and match[1] in _COMMANDS:
            obeyed.append(f"{match[1]} {match[2]}")
    return obeyed


def read_outputs(path: Path) -> dict[str, str]:
    """Return the outputs of a step as a runner reads them from its file."""
    lines = iter(path.read_text().splitlines() if path.exists() else [])
    outputs = {}
    for line in lines:
        name, _, end = line.partition("<<")
        assert end, f"no output of ours: {line}"
        outputs[name] = "\n".join(iter(lambda: next(lines), end))
    return outputs


class Page(HTMLParser):
    """Markdown as GitHub shows it: its text, and the elements that it has."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        options = Options.CMARK_OPT_UNSAFE  # GitHub, too, lets HTML through here and filters it later
        self.feed(cmarkgfm.github_flavored_markdown_to_html(markdown, options=options))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        """Note text, without the spaces of no width that keep names from being mentions."""
        self.text += data.replace("\u200b", "")


class Job:
    """A job of GitHub's, in a checkout: its variables, its event, and what it leaves."""

    def __init__(self, checkout: Checkout, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
        self.checkout = checkout
        self.folder = checkout.root.parent
        self.force = force
        self.monkeypatch = monkeypatch
        self.ended = Ended(0, "", "")

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the step."""
        return read_outputs(self.folder / "output")

    @property
    def summary(self) -> Page:
        """The summary, as it is shown."""
        path = self.folder / "summary"
        return Page(path.read_text() if path.exists() else "")

    @property
    def obeyed(self) -> list[str]:
        """What the runner obeyed."""
        return find_obeyed(self.ended.out + self.ended.err)

    def start(self, event: str, payload: dict[str, Any], ref: str = "main", head: str = "") -> None:
        """Set what GitHub sets, and nothing of the machine that the test runs on."""
        for name in [name for name in os.environ if name.startswith(("GITHUB_", "FORCE_", "ACT"))]:
            self.monkeypatch.delenv(name)
        (self.folder / "event.json").write_text(json.dumps(payload))
        variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "GITHUB_REF_NAME": ref,
            "GITHUB_HEAD_REF": head,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
        }
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def ci(self, *args: str) -> Ended:
        """Run a step's command."""
        self.ended = self.force("ci", *args)
        return self.ended
