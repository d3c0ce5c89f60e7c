"""README and docs: short, and true in what can be checked."""

import re
import subprocess
from pathlib import Path

import pytest

from pipeline.cli import COMMANDS
from tests.checkouts import ROOT

MAX_LINES = 150
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def find_code(text: str) -> list[str]:
    """Return the lines of fenced blocks, and what stands between backticks elsewhere."""
    blocks = [line for block in FENCE.findall(text) for line in block.splitlines()[1:-1]]
    return [*blocks, *re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def find_commands(text: str) -> set[str]:
    """Return X of every `force X` that a page shows as code; options and placeholders are none."""
    return {match[1] for code in find_code(text) for match in re.finditer(r"(?:^|[\s`])force ([a-z][\w-]*)", code)}


def find_links(text: str) -> list[str]:
    """Return the targets of links to files of the repository, without anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def read_layout() -> list[str]:
    """Return the top-level names of the tree below README's heading `Layout`."""
    section = README.read_text().partition("\n## Layout\n")[2]
    block = FENCE.search(section)
    assert block, "README.md shows no layout"
    return [line.split()[0] for line in block[0].splitlines()[1:-1] if line and not line.startswith(" ")]


def test_commands_and_links_are_found_when_a_page_has_them() -> None:
    page = (
        "Use `force plan [NAME]` by force now.\n```\n$ force run x\n```\n[a](docs/a.md#b) [c](https://x.org) [d](#e)\n"
    )
    assert find_commands(page) == {"plan", "run"}
    assert find_links(page) == ["docs/a.md"]


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_when_a_page_names_it(page: Path) -> None:
    assert find_commands(page.read_text()) <= set(COMMANDS)


def test_every_command_is_in_the_readme() -> None:
    assert set(COMMANDS) <= find_commands(README.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_exists_when_a_page_links_to_it(page: Path) -> None:
    missing = [target for target in find_links(page.read_text()) if not (page.parent / target).exists()]
    assert missing == []


def test_every_name_of_the_layout_exists() -> None:
    names = read_layout()
    assert {"pipeline/", "common/", "experiments/", "tests/"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_folder_with_sources_is_in_the_layout() -> None:
    done = subprocess.run(["git", "ls-files", "*/*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    folders = {f"{path.partition('/')[0]}/" for path in done.stdout.splitlines()}
    assert folders
    assert folders <= set(read_layout())
