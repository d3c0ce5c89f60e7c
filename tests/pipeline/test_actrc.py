"""What `.actrc` holds for which workflows."""

from pathlib import Path

import pytest

from pipeline.actrc import EXPERIMENTS, find_labels, render_actrc
from pipeline.errors import ConfigError, PlanError
from tests.checkouts import ROOT

SHA = "0123456789" * 4
WORKFLOW = """\
on: push
jobs:
  plan:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@{sha}
      - uses: ./.github/actions/setup
      - run: make
        env: {{uses: nothing}}
"""


def write(root: Path, path: str, text: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def write_workflow(root: Path, more: str = "") -> None:
    write(root, ".github/workflows/ci.yml", WORKFLOW.format(sha=SHA) + more)


def lines_of(root: Path, option: str) -> list[str]:
    return [line.removeprefix(f"{option} ") for line in render_actrc(root).splitlines() if line.startswith(option)]


def test_labels_are_those_of_the_workflows_and_the_usual_ones(tmp_path: Path) -> None:
    write_workflow(tmp_path, "  more:\n    runs-on: [self-hosted, a100]\n    steps: [{run: make}]\n")
    labels = ["a100", "gpu", "self-hosted", "ubuntu-24.04", "ubuntu-latest"]
    assert lines_of(tmp_path, "-P") == [f"{label}=-self-hosted" for label in labels]


@pytest.mark.parametrize(
    ("runs_on", "labels"),
    [
        ("ubuntu-24.04", ["ubuntu-24.04"]),
        (["self-hosted", "gpu"], ["self-hosted", "gpu"]),
        ({"group": "big", "labels": ["linux"]}, ["linux"]),
        ({"group": "big", "labels": "linux"}, ["linux"]),
        ("${{ matrix.runner }}", []),
        ('${{ fromJSON(vars.RUNNER || \'["self-hosted", "x"]\') }}', ["self-hosted", "x"]),
    ],
)
def test_labels_are_found_in_every_form(runs_on: object, labels: list[str]) -> None:
    called = {"uses": "./.github/workflows/other.yml"}
    assert list(find_labels({"jobs": {"a": {"runs-on": runs_on}, "b": called}})) == labels


@pytest.mark.parametrize("document", [None, "text", [], {"jobs": None}, {"jobs": {"a": None}}, {"on": "push"}])
def test_nothing_is_found_when_a_document_has_no_jobs(document: object) -> None:
    assert list(find_labels(document)) == []


def test_every_ref_of_an_action_has_a_line_when_there_is_a_stand_in(tmp_path: Path) -> None:
    write(tmp_path, ".github/act/upload-artifact/action.yml", "")
    write_workflow(tmp_path, f"      - uses: actions/upload-artifact@{SHA}\n" * 2)
    steps = "      - uses: actions/upload-artifact@v4\n"
    write(tmp_path, ".github/actions/setup/action.yml", f"runs:\n    steps:\n{steps}")
    stand_in = ".github/act/upload-artifact"
    assert lines_of(tmp_path, "--local-repository") == [
        f"actions/upload-artifact@{SHA}={stand_in}",
        f"actions/upload-artifact@v4={stand_in}",
    ]


@pytest.mark.parametrize(
    ("uses", "hint"),
    [
        ("actions/cache@v4", "write .github/act/cache/action.yml, then `force ci act-setup`"),
        ("other/upload-artifact@v4", "do it in a `run:` step, then `force ci act-setup`"),
        ("other/tool/sub/folder@v4", "do it in a `run:` step, then `force ci act-setup`"),
    ],
)
def test_place_is_named_when_an_action_has_no_stand_in(tmp_path: Path, uses: str, hint: str) -> None:
    write(tmp_path, ".github/act/upload-artifact/action.yml", "")
    write_workflow(tmp_path, f"      - name: a step\n        uses: {uses}\n")
    with pytest.raises(PlanError) as raised:
        render_actrc(tmp_path)
    repository = "/".join(uses.partition("@")[0].split("/")[:2])
    message = f".github/workflows/ci.yml:11: act cannot run {repository}: no stand-in is here"
    assert (raised.value.message, raised.value.hint) == (message, hint)


def test_called_workflow_of_another_repository_is_refused(tmp_path: Path) -> None:
    write_workflow(tmp_path, "  more:\n    uses: other/repo/.github/workflows/x.yml@v1\n")
    with pytest.raises(PlanError, match=r"^\.github/workflows/ci\.yml:11: act cannot run other/repo"):
        render_actrc(tmp_path)


def test_place_is_named_when_a_workflow_is_no_yaml(tmp_path: Path) -> None:
    write(tmp_path, ".github/workflows/ci.yml", "jobs: [")
    with pytest.raises(ConfigError, match=r"^\.github/workflows/ci\.yml:2:1"):
        render_actrc(tmp_path)


def test_servers_listen_on_the_loopback_interface_alone(tmp_path: Path) -> None:
    for server in ("artifact", "cache"):
        assert lines_of(tmp_path, f"--{server}-server-addr") == ["127.0.0.1"]


@pytest.mark.parametrize(("name", "expected"), [("experiments", [EXPERIMENTS]), ("other", [])])
def test_event_is_rehearsed_for_experiments_alone_when_they_have_a_workflow(
    tmp_path: Path, name: str, expected: list[str]
) -> None:
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / f".github/workflows/{name}.yml").write_text("on: push\n")
    assert lines_of(tmp_path, "--workflows") == expected


def test_no_path_is_absolute_and_no_variable_is_expanded() -> None:
    text = render_actrc(ROOT)
    assert not any("=/" in line or " /" in line or "$" in line for line in text.splitlines())


def test_committed_file_is_the_one_that_the_workflows_imply() -> None:
    assert (ROOT / ".actrc").read_text() == render_actrc(ROOT)
