"""The same commit has the same plan on a laptop, under act and inside the container, to the byte."""

import subprocess
from pathlib import Path

from tests.checkouts import with_bins
from tests.workflows.labs import TIMEOUT_S, Lab

WORKFLOW = """\
on: push
jobs:
  plan:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
      - uses: ./.github/actions/setup
        with:
          for: plan
      - run: force plan --json > "$PLAN"
        env:
          PLAN: ${{ vars.PLAN }}
"""


def test_plans_are_the_same_everywhere(lab: Lab, image: str, tmp_path: Path) -> None:
    lab.experiment("bins", with_bins(7))
    lab.write("common/loader.py", (lab.root / "common/loader.py").read_text() + "# edited\n")
    lab.write(".github/workflows/parity.yml", WORKFLOW)
    lab.commit()
    here = subprocess.run(
        ["force", "plan", "--json"], cwd=lab.root, env=lab.environment, capture_output=True, text=True, check=True
    ).stdout
    assert '"state": "run"' in here
    seen = tmp_path / "plan.json"
    subprocess.run(
        ["act", "push", "--workflows", ".github/workflows/parity.yml", "--var", f"PLAN={seen}"],
        cwd=lab.root,
        env=lab.environment,
        stdin=subprocess.DEVNULL,
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    assert seen.read_text() == here
    command = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--volume", f"{lab.root}:/lab"]
    inside = subprocess.run(
        [*command, "--workdir", "/lab/experiments/wide", image, "force", "plan", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert inside.returncode == 0, inside.stderr
    assert inside.stdout == here
