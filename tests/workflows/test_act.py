"""`force act` and plain act, for real, on small workflows in temporary repositories."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.checkouts import ROOT, Checkout, make_checkout
from tests.flows.commands import force, run, start_force, wait_until

UPLOAD = "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f"
DOWNLOAD = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c"
# What git allows in a branch's name and a shell would run.
HOSTILE = 'x/$(touch${IFS}pwned)`touch${IFS}pwned`"-y'

EXCHANGE = f"""\
name: exchange
on: [push, pull_request]
jobs:
  make:
    name: make ${{{{ matrix.name }}}}
    runs-on: ubuntu-24.04
    strategy:
      matrix:
        name: [a, b]
    steps:
      - uses: actions/checkout@v7
      - name: write files
        run: |
          mkdir -p out/.cache
          echo "$NAME" > "out/$NAME.txt"
          echo secret > out/.env
          echo "# made $NAME on $BRANCH" >> "$GITHUB_STEP_SUMMARY"
        env:
          NAME: ${{{{ matrix.name }}}}
          BRANCH: ${{{{ github.ref_name }}}}
      - uses: {UPLOAD}
        with:
          name: result-${{{{ matrix.name }}}}
          path: out
      - name: the same once more
        continue-on-error: true
        uses: {UPLOAD}
        with:
          name: result-${{{{ matrix.name }}}}
          path: out
  large:
    runs-on: [self-hosted, gpu]
    steps:
      - run: head -c 20000000 /dev/urandom > large && sha256sum large | cut -d' ' -f1 > large.sha256
      - uses: {UPLOAD}
        with:
          name: large
          path: "large*"
          compression-level: 0
  take:
    needs: [make, large]
    runs-on: ubuntu-latest
    steps:
      - uses: {DOWNLOAD}
        with:
          pattern: result-*
          path: apart
      - uses: {DOWNLOAD}
        with:
          pattern: result-*
          path: together
          merge-multiple: true
      - uses: {DOWNLOAD}
        with:
          name: large
          path: got
      - uses: {DOWNLOAD}
        with:
          pattern: nothing-*
          path: nothing
      - name: compare
        run: |
          test "$(find apart together -type f | sort | tr '\\n' ' ')" = \\
              "apart/result-a/a.txt apart/result-b/b.txt together/a.txt together/b.txt "
          test "$(sha256sum got/large | cut -d' ' -f1)" = "$(cat got/large.sha256)"
          test ! -e nothing
          test "$GITHUB_RUN_ID" != 1
          echo "$SETTING $TOKEN $RESULTS $FORCE_REMOTE_URL $GITHUB_REPOSITORY $GITHUB_ACTOR" > seen.txt
        env:
          SETTING: ${{{{ vars.SETTING }}}}
          TOKEN: ${{{{ secrets.TOKEN }}}}
          RESULTS: ${{{{ vars.FORCE_RESULTS }}}}
      - uses: {UPLOAD}
        with:
          name: seen
          path: seen.txt
"""

FAILING = """\
name: failing
on: push
jobs:
  bad:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v7
      - name: count
        run: |
          for number in $(seq 40); do echo "line $number"; done
          echo "::error file=a.py,line=3::it went wrong"
          exit 3
      - if: always()
        run: echo "not shown"
"""

SLOW = """\
name: slow
on: push
jobs:
  wait:
    runs-on: ubuntu-24.04
    steps:
      - name: wait
        run: |
          setsid nohup sleep 600 > /dev/null 2>&1 &
          echo $! > "$STARTED"
          sleep 600
      - if: always()
        name: tidy
        run: echo tidied
"""


def make_repository(root: Path, workflow: str) -> Checkout:
    """Make a checkout with one workflow, committed on a branch whose name a shell would run."""
    checkout = make_checkout(root)
    shutil.copytree(ROOT / ".github" / "act", root / ".github" / "act", ignore=shutil.ignore_patterns("__pycache__"))
    checkout.write(".github/workflows/flow.yml", workflow)
    assert force(checkout, "ci", "act-setup").returncode == 0
    checkout.commit()
    checkout.git("checkout", "--quiet", "-b", HOSTILE)
    return checkout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a repository, with a parent of its own."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


def find_run(checkout: Checkout) -> Path:
    (folder,) = (checkout.root / ".force" / "act").iterdir()
    return folder


def test_artifacts_come_back_as_on_github(root: Path) -> None:
    checkout = make_repository(root, EXCHANGE)
    done = force(checkout, "act", "--var", "SETTING=a b", "--secret", 'TOKEN=s3cr"et', "--", "--actor", "somebody")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = find_run(checkout)
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert kept == {
        "log.jsonl",
        "artifacts/result-a/a.txt",
        "artifacts/result-b/b.txt",
        "artifacts/large/large",
        "artifacts/large/large.sha256",
        "artifacts/seen/seen.txt",
        "summaries/exchange-make-a-1.md",
        "summaries/exchange-make-b-2.md",
    }
    remote = root.parent / "force-build-storage"
    assert (folder / "artifacts/seen/seen.txt").read_text() == f'a b s3cr"et none {remote} owner/repo somebody\n'
    assert (folder / "summaries/exchange-make-a-1.md").read_text() == f"# made a on {HOSTILE}\n"
    assert list(root.parent.rglob("pwned")) == []
    lines = done.stdout.splitlines()
    refused = [line for line in lines if line.startswith("error ")]
    assert len(refused) == 2
    assert all("an artifact with the name 'result-" in line for line in refused)
    assert [line for line in lines if line.startswith("failed ") and not line.endswith("  the job goes on")] == []
    assert f"log: {(folder / 'log.jsonl').relative_to(root)}" in lines
    assert "s3cr" not in (folder / "log.jsonl").read_text()


def test_output_of_a_failed_step_is_shown(root: Path) -> None:
    checkout = make_repository(root, FAILING)
    done = force(checkout, "act", "push", "--job", "bad")
    log = f".force/act/{find_run(checkout).name}/log.jsonl"
    assert done.returncode == 6
    assert done.stderr == f"error: 1 of 1 jobs failed: failing/bad\nhint: the log is {log}\n"
    lines = done.stdout.splitlines()
    assert lines[0].startswith("done        failing/bad: actions/checkout@v7  ")
    assert lines[1] == "error       failing/bad: count  a.py:3: it went wrong"
    assert lines[2].startswith("failed      failing/bad: count  ")
    assert lines[2].endswith(" s  exit status 3")
    assert lines[3:33] == [f"  | line {number}" for number in range(11, 41)]
    assert not any("not shown" in line for line in lines if line.startswith("  |"))


def test_reason_is_given_when_nothing_can_run(root: Path) -> None:
    checkout = make_repository(root, FAILING)
    done = force(checkout, "act", "push", "--job", "none")
    assert done.returncode == 5
    assert done.stderr.startswith("error: act failed: Could not find any stages to run.")


def test_event_is_that_of_the_file(root: Path) -> None:
    event = {"pull_request": {"number": 7, "head": {"ref": "$(touch pwned)", "repo": {"full_name": "owner/repo"}}}}
    workflow = """\
name: request
on: pull_request
jobs:
  own:
    if: github.event.pull_request.head.repo.full_name == github.repository
    runs-on: ubuntu-24.04
    steps:
      - run: echo "$BRANCH of ${{ github.event.pull_request.number }}"
        env:
          BRANCH: ${{ github.head_ref }}
"""
    checkout = make_repository(root, workflow)
    checkout.write("event.json", json.dumps(event))
    done = force(checkout, "act", "pull_request", "--event-file", "event.json", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "  request/own | $(touch pwned) of 7" in done.stdout.splitlines()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_running_when_a_run_is_ended(root: Path, how: signal.Signals) -> None:
    checkout = make_repository(root, SLOW)
    started = root.parent / "started"
    process = start_force(checkout, "act", "--env", f"STARTED={started}")
    wait_until(lambda: started.exists() and bool(started.read_text()), "the step")
    process.send_signal(how)
    out = process.communicate(timeout=60)[0]
    wait_until(lambda: not find_processes(started), "the end of every process")
    if how == signal.SIGKILL:
        return
    assert process.returncode == 130
    assert "done        slow/wait: tidy" in out
    log = f".force/act/{find_run(checkout).name}/log.jsonl"
    assert out.endswith(f"log: {log}\nerror: interrupted\nhint: the log is {log}\n")


def find_processes(started: Path) -> list[str]:
    """Return the command lines of act, and of the processes that inherited what it was told."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = b"\0".join((folder / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        if f"STARTED={started}".encode() in told.split(b"\0"):
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_plain_act_runs_twice_in_a_clone(root: Path) -> None:
    workflow = f"""\
name: plain
on: push
jobs:
  make:
    runs-on: ubuntu-24.04
    steps:
      - run: echo 1 > a
      - uses: {UPLOAD}
        with:
          name: a
          path: a
"""
    make_repository(root, workflow)
    clone = Checkout(root.parent / "clone")
    subprocess.run(["git", "clone", "--quiet", root, clone.root], check=True)
    for _ in range(2):
        done = run(clone, "act", "push")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "panic" not in done.stderr
    assert len(list(clone.root.glob(".force/act/artifacts/*/a/a.zip"))) == 2
    assert clone.git("status", "--porcelain") == ""
