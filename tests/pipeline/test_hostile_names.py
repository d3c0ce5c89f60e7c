"""Names and texts that want to be more: they go from git to the comment without anything being obeyed or executed."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.markdown import render_job
from pipeline.mermaid import draw_curves
from pipeline.statuses import Status
from pipeline.tools import actions
from tests.checkouts import Checkout, Ended
from tests.pipeline.hostile import BRANCHES, NAMES, REPOSITORY, TEXT, Job, Page, find_obeyed
from tests.recorded import METRICS, record, write_result
from tests.remotes import Origin, add_origin, push
from tests.standins.github import GitHubStandIn

CHANGE = "description: a test\nparams: {train: {epochs: 3}}\n"
# What our own Markdown and HTML become.
SAFE_TAGS = {"h2", "h3", "p", "code", "span", "strong", "ul", "li", "details", "summary", "pre"}
SAFE_TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}
# A trainer that takes a text.
NOTED = """\
from dataclasses import dataclass

from common import trainer

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Config(trainer.Config):
    note: str = ""


class Noted(trainer.Trainer):
    config: Config
"""


@pytest.fixture
def job(checkout: Checkout, force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A job in a checkout; whatever it meets, nothing is executed."""
    yield Job(checkout, force, monkeypatch)
    assert list(checkout.root.parent.rglob("pwned")) == []


def write_status(folder: Path, **changes: Any) -> Path:
    """Write the status of a job that failed, `changes` being what somebody made of it."""
    document = {
        "version": 1,
        "entry": "net",
        "wave": 1,
        "targets": ["net"],
        "status": "failed",
        "commit": "",
        "message": "it broke",
        "hint": "",
        "stages": {},
        "log": "",
        **changes,
    }
    (folder / "result-net").mkdir(parents=True)
    (folder / "result-net" / "status.json").write_text(json.dumps(document))
    return folder


# What steps print.


def test_a_runner_obeys_nobody_but_us(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    print(TEXT)
    assert find_obeyed(capsys.readouterr().out) == ["set-output pwned", "error pwned", "add-path pwned"]
    with actions.stop_commands():
        print(TEXT)
        with actions.group("ours"):
            actions.annotate("error", "ours, too")
            print(TEXT)
    print(TEXT)
    assert find_obeyed(capsys.readouterr().out) == ["group ours", "error ours, too", "endgroup "]


def test_every_command_stops_the_runner_first(job: Job) -> None:
    job.start("push", {})
    assert re.match(r"::stop-commands::\S{20}", job.ci("gate", "nowhere").out)


def test_a_name_steers_no_terminal_when_it_is_refused(force: Callable[..., Ended]) -> None:
    done = force("plan", "\x1b[2J\u202ex\r")
    assert done == Ended(2, "", "error: no experiment '\\x1b[2J\\u202ex\\r'\nhint: force ls lists them\n")


# Names of experiments.


@pytest.mark.parametrize("name", [name for name in NAMES.values() if "/" not in name], ids=lambda name: name[:20])
def test_plan_leaves_out_a_folder_when_it_cannot_be_an_experiment(job: Job, name: str) -> None:
    before = job.checkout.commit()
    job.checkout.experiment(name, CHANGE)
    job.checkout.commit()
    job.start("push", {"before": before})
    assert job.ci("plan").status == 0
    assert (job.outputs["faults"], job.outputs["entries"]) == ("1", "common")
    assert [command.partition(" ")[0] for command in job.obeyed] == ["error"]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_plan_leaves_out_whose_parent_cannot_be_an_experiment(job: Job, name: str) -> None:
    before = job.checkout.commit()
    job.checkout.experiment("child", f"inherits: {json.dumps(name)}\n{CHANGE}")
    job.start("push", {"before": before})
    assert job.ci("plan").status == 0
    assert (job.outputs["faults"], "child" in job.outputs["entries"]) == ("1", False)
    assert job.obeyed == [f"error inherits '{name}', which is no experiment".replace("\n", "%0A")]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_plan_refuses_a_call_by_hand_when_it_names_no_experiment(job: Job, name: str) -> None:
    job.checkout.commit()
    job.start("workflow_dispatch", {"inputs": {"experiments": f"common {name}"}})
    assert job.ci("plan").status == 2
    found = "no experiment 'a'" if name in (NAMES["newline"], NAMES["end of line"]) else "cannot be the name"
    assert found in job.ended.err
    assert job.outputs == {}
    assert [line for line in job.obeyed if not line.startswith("error ")] == []  # but our own annotation


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("where", ["target", "name"])
def test_experiment_leaves_nothing_when_it_is_called_by_no_name(job: Job, name: str, where: str) -> None:
    job.start("push", {})
    names = {"target": "common", "name": "common", where: name}
    done = job.ci(
        "experiment", f"--name={names['name']}", "--out", str(job.folder / "a" / "out"), "--", names["target"]
    )
    assert done.status == 2
    assert not (job.folder / "a").exists()
    assert (job.outputs, job.obeyed) == ({}, [])


@pytest.mark.parametrize("name", [name for name in NAMES.values() if len(name) < 200], ids=lambda name: name[:20])
@pytest.mark.parametrize(("command", "status"), [("results", 0), ("gate", 7)])
@pytest.mark.parametrize("field", ["entry", "targets"])
def test_status_brings_nothing_when_it_holds_no_name(
    job: Job, name: str, command: str, status: int, field: str
) -> None:
    job.checkout.commit()
    job.start("push", {})
    folder = write_status(job.folder / "in", **{field: [name] if field == "targets" else name})
    assert job.ci(command, str(folder)).status == status
    assert [line.partition(":")[0] for line in job.obeyed] == (["error result-net"] if command == "gate" else [])


def test_report_goes_on_when_statuses_hold_no_names(job: Job, origin: Origin) -> None:
    push(job.checkout, "feature")
    job.start("push", {"repository": {"default_branch": "main"}}, ref="feature")
    names = [name for name in NAMES.values() if len(name) < 200]
    for number, name in enumerate(names):
        left = write_status(job.folder / "in", entry=name, targets=[name], message=TEXT) / "result-net"
        left.rename(left.with_name(f"result-{number}"))
    assert job.ci("report", "--no-comment", "--results", str(job.folder / "in")).status == 0
    assert job.obeyed == []
    assert job.summary.text.count("left no sound status.json") == len(names)
    assert not job.summary.tags & {"img", "a", "script"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_new_makes_nothing_when_the_name_is_none(job: Job, name: str) -> None:
    assert job.force("new", "--set", "train.epochs=3", "--", name).status == 2
    assert list((job.checkout.root / "experiments").iterdir()) == []


def test_plan_shows_the_name_when_a_bad_folder_is_gone(job: Job) -> None:
    name = "a|b <img src=x> @team"
    job.checkout.experiment(name, CHANGE)
    before = job.checkout.commit()
    shutil.rmtree(job.checkout.root / "experiments" / name)
    job.checkout.commit()
    job.start("push", {"before": before})
    assert job.ci("plan").status == 0
    assert name in job.summary.text
    assert "img" not in job.summary.tags


# Branches, commits and descriptions, from a push to the comment.


@pytest.fixture
def origin(job: Job) -> Origin:
    """What the checkout was cloned of, with the results of the common build."""
    record(job.checkout)
    origin = add_origin(job.checkout)
    push(job.checkout)
    return origin


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    """GitHub's API."""
    with GitHubStandIn(REPOSITORY, "t0k3n") as server:
        yield server
    assert server.violations == []


@pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
def test_a_branch_goes_from_its_push_to_the_comment(
    job: Job, origin: Origin, github: GitHubStandIn, branch: str
) -> None:
    checkout = job.checkout
    before = checkout.git("rev-parse", "HEAD")
    checkout.experiment("net", f"description: {json.dumps(TEXT)}\nparams: {{train: {{epochs: 3}}}}\n")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", TEXT)
    commit = push(checkout, branch)
    payload = {"before": before, "head_commit": {"message": TEXT}, "repository": {"default_branch": "main"}}

    job.start("push", {**payload, "commits": [payload["head_commit"]]}, ref=branch)
    assert job.ci("plan").status == 0
    assert job.obeyed == []
    assert [entry["name"] for entry in json.loads(job.outputs["wave_1"])["include"]] == ["net"]
    assert branch.replace("\u202e", "\ufffd")[:100] in job.summary.text
    assert job.summary.tags <= SAFE_TAGS

    folder = write_status(job.folder / "in", status="ok", message="")
    checkout.write("../in/result-net/files/experiments/net/dvc.lock", "stages: {}\n")
    assert job.ci("results", str(folder)).status == 0
    assert job.obeyed == []
    assert origin.git("rev-parse", f"refs/heads/{branch}^") == commit
    assert origin.git("show", f"refs/heads/{branch}:experiments/net/dvc.lock") == "stages: {}"

    number = github.add_pull_request(branch)
    job.monkeypatch.setenv("GITHUB_API_URL", github.url)
    job.monkeypatch.setenv("GITHUB_TOKEN", "t0k3n")
    done = job.ci("report", "--results", str(folder), "--base", branch if branch != "main" else "")
    assert done.status == 0, done.err
    assert job.obeyed == []
    (body,) = github.bodies(number)
    assert "net" in Page(body).text
    assert Page(body).tags <= SAFE_TAGS


def test_a_pull_requests_base_is_shown_and_does_nothing(job: Job, origin: Origin, github: GitHubStandIn) -> None:
    base = BRANCHES["html"]
    job.checkout.experiment("net", CHANGE)
    record(job.checkout)
    write_result(job.checkout, "experiments/net", METRICS)
    push(job.checkout, base)
    job.checkout.experiment("net", CHANGE.replace("3", "4"))
    push(job.checkout, "feature")
    number = github.add_pull_request("feature")
    head = {"ref": "feature", "repo": {"full_name": REPOSITORY}}
    payload = {"pull_request": {"number": number, "head": head, "base": {"ref": base}}}
    job.start("pull_request", payload, ref=f"{number}/merge", head="feature")
    job.monkeypatch.setenv("GITHUB_API_URL", github.url)
    job.monkeypatch.setenv("GITHUB_TOKEN", "t0k3n")
    assert job.ci("report").status == 0
    (body,) = github.bodies(number)
    assert f"against {base}" in Page(body).text
    assert Page(body).tags <= SAFE_TAGS

    github.pull_requests[0].base = base
    github.add_pull_request("feature")
    job.start("push", {}, ref="feature")
    job.monkeypatch.setenv("GITHUB_API_URL", github.url)
    job.monkeypatch.setenv("GITHUB_TOKEN", "t0k3n")
    assert job.ci("report").status == 0
    assert job.obeyed == []
    assert github.bodies(number) == [body]
    assert f"Against {base}" in job.summary.text
    assert job.summary.tags <= SAFE_TAGS | {"h1"}


def test_plan_shows_a_value_when_it_is_hostile(job: Job) -> None:
    job.checkout.experiment("net", "params: {train: {note: a}}\n", trainer=NOTED)
    before = job.checkout.commit()
    job.checkout.experiment("net", f"params: {{train: {{note: {json.dumps(TEXT)}}}}}\n")
    job.start("push", {"before": before})
    assert job.ci("plan").status == 0
    assert job.obeyed == []
    assert "train.note: a → $(touch pwned) `touch pwned`" in job.summary.text
    assert job.summary.tags <= SAFE_TAGS


def test_plan_says_what_is_wrong_when_a_value_is_hostile(job: Job) -> None:
    before = job.checkout.commit()
    job.checkout.experiment("net", f"description: a test\nparams: {{train: {{{json.dumps(TEXT)}: 3}}}}\n")
    job.start("push", {"before": before})
    assert job.ci("plan").status == 0
    (command,) = job.obeyed
    assert command.startswith("error unknown key '$(touch pwned)")
    assert (job.outputs["faults"], "net" in job.outputs["entries"]) == ("1", False)


# What failed jobs say.


def test_gate_obeys_nothing_when_a_message_is_hostile(job: Job) -> None:
    job.start("push", {})
    folder = write_status(job.folder / "in", message=TEXT)
    needs = json.dumps({"plan": {"result": "success"}})
    assert job.ci("gate", str(folder), "--entries", "net", "--needs", needs).status == 7
    assert job.obeyed == [f"error net: {TEXT}".replace("%", "%25").replace("\n", "%0A")]


def test_report_shows_messages_and_logs_when_they_are_hostile(job: Job, origin: Origin) -> None:
    job.checkout.experiment("net", CHANGE)
    push(job.checkout, "feature")
    job.start("push", {"repository": {"default_branch": "main"}}, ref="feature")
    folder = write_status(job.folder / "in", message=TEXT, log=TEXT)
    assert job.ci("report", "--no-comment", "--results", str(folder)).status == 0
    assert job.obeyed == []
    assert "touch pwned" in job.summary.text
    assert not job.summary.tags & {"img", "a", "script"}


def test_summary_of_a_job_shows_logs_and_curves_when_they_are_hostile() -> None:
    status = Status("net", 1, ("net",), "failed", "", message=TEXT, log=TEXT)
    history = [{"epoch": epoch, f'valid_"\n```\n{TEXT}': 0.5, "train_loss": 0.25} for epoch in (1, 2)]
    page = Page(render_job(status, [], {"net": history}, []))
    assert not page.tags & {"img", "a", "script"}
    assert page.text.count("xychart-beta") == 2
    assert page.text.rstrip().endswith("line [0.25, 0.25]")


@pytest.mark.parametrize("value", ["x", None, [1], float("nan"), float("inf")])
def test_a_curve_is_left_out_when_its_values_are_no_numbers(value: Any) -> None:
    history = [{"epoch": 1, "train_loss": 0.5, "valid_x": 0.5}, {"epoch": 2, "train_loss": 0.25, "valid_x": value}]
    chart = "".join(draw_curves({"net": history}))
    assert "net: train_loss" in chart
    assert "valid_x" not in chart
    assert draw_curves({"net": [{"epoch": value, "train_loss": 0.5}] * 2}) == []
