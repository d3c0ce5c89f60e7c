"""The policy of the workflows and actions: the committed ones keep every rule, and every rule bites."""

import json
import re
from pathlib import Path

import pytest

from tests.checkouts import ROOT
from tests.repo.workflow_contracts import CONTRACT_RULES, LOCAL_COMMANDS
from tests.repo.workflow_files import File, Rule, read_files
from tests.repo.workflow_rules import SECURITY_RULES

RULES = (*SECURITY_RULES, *CONTRACT_RULES)
SHA = "3d3c42e5aac5ba805825da76410c181273ba90b1"
START = ".github/workflows/experiments.yml"
CALLED = ".github/workflows/image.yml"
ACTION = ".github/actions/setup/action.yml"

# A repository that keeps all rules, small enough to break each of them in one place.
SMALL = {
    START: f"""\
name: experiments
on:
  push:
  workflow_dispatch:
    inputs:
      experiments:
        description: names
        type: string
        required: true
permissions: {{}}
concurrency:
  group: experiments-${{{{ github.ref }}}}
  cancel-in-progress: true
jobs:
  plan:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      contents: read # the code
    outputs:
      any: ${{{{ steps.plan.outputs.any }}}}
      wave_1: ${{{{ steps.plan.outputs.wave_1 }}}}
    steps:
      - uses: actions/checkout@{SHA} # v7.0.1
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
        with:
          for: plan
      - id: plan
        run: force ci plan
  image:
    needs: plan
    if: needs.plan.outputs.any == 'true'
    permissions:
      packages: write # the image
    uses: ./.github/workflows/image.yml
    secrets:
      token: ${{{{ secrets.TOKEN }}}}
  results:
    needs: [plan, image]
    if: ${{{{ always() && github.event_name != 'pull_request' && needs.image.outputs.image != '' }}}}
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      contents: write # the results
    concurrency:
      # The newest has the others', too.
      group: results-${{{{ github.ref }}}}
      cancel-in-progress: false
    steps:
      - continue-on-error: true # there may be none
        run: |
          force ci results "$RESULTS" --branch "$BRANCH" \\
              --remote origin
        env:
          RESULTS: ${{{{ runner.temp }}}}/results
          BRANCH: ${{{{ github.ref_name }}}}
          GITHUB_TOKEN: ${{{{ github.token }}}}
      - run: force ci experiment x && force ci report; force ci gate x | force ci verdict x | force ci reap
      - run: force ci last-run
""",
    CALLED: f"""\
name: image
on:
  workflow_call:
    outputs:
      image:
        description: the image
        value: ${{{{ jobs.build.outputs.image }}}}
    secrets:
      token:
        description: of the registry
        required: false
permissions: {{}}
jobs:
  build:
    if: github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository
    runs-on: ${{{{ vars.RUNNER || 'ubuntu-24.04' }}}}
    timeout-minutes: 5
    permissions:
      packages: write # the image
    concurrency:
      group: image-${{{{ github.run_id }}}}
      cancel-in-progress: false
    outputs:
      image: ${{{{ steps.build.outputs.image }}}}
    steps:
      - uses: actions/checkout@{SHA} # v7.0.1
        with:
          fetch-depth: 0
          persist-credentials: false
      - id: build
        run: force ci image --registry "$REGISTRY"
        env:
          REGISTRY: ${{{{ vars.REGISTRY }}}}
""",
    ACTION: """\
name: set up
description: Put force on PATH.
inputs:
  for:
    description: plan or run
    required: true
runs:
  using: composite
  steps:
    - shell: bash
      env:
        FOR: ${{ inputs.for }}
      run: bash "$GITHUB_ACTION_PATH/setup.sh" "${FOR}"
""",
}

FAULTS = [
    # Permissions
    (START, "permissions: {}\n", "", "experiments.yml: permissions at the top are not {}"),
    (START, "permissions: {}\n", "permissions: read-all\n", "experiments.yml: permissions at the top are not {}"),
    (START, "    permissions:\n      contents: read # the code\n", "", "plan does not say its permissions one by one"),
    (START, "    permissions:\n      contents: read # the code", "    permissions: write-all", "plan does not say its"),
    (START, "contents: read # the code", "contents: read", "nothing says why plan has contents: read"),
    (START, "contents: read # the code", "contents: write # why not", "plan may not have contents: write"),
    (START, "contents: write # the res", "actions: write # the res", "results may not have actions: write"),
    (CALLED, "packages: write # the image", "contents: write # it", "build may not have contents: write"),
    (
        START,
        "packages: write # the image",
        "packages: read # the image",
        "image grants {'packages': 'read'}, image.yml",
    ),
    (CALLED, "packages: write # the image", "packages: read # it", "image.yml asks for {'packages': 'read'}"),
    # What is used
    (START, f"checkout@{SHA} # v7.0.1", "checkout@v7 # v7.0.1", "actions/checkout@v7 is not pinned"),
    (START, f"checkout@{SHA} # v7.0.1", f"checkout@{SHA[:7]} # v7.0.1", "is not pinned to a full commit"),
    (START, f"checkout@{SHA} # v7.0.1", f"checkout@{SHA} # v7", "no comment says which version"),
    (START, f"checkout@{SHA} # v7.0.1", f"checkout@{SHA}", "no comment says which version"),
    (START, f"checkout@{SHA}", f"checkout@{SHA[::-1]}", "actions/checkout is pinned to 1b09"),
    (START, f"checkout@{SHA} # v7.0.1", f"checkout@{SHA} # v7.0.2", f"to {SHA} (v7.0.1), {SHA} (v7.0.2)"),
    (START, "./.github/actions/setup", "./.github/actions/set-up", "./.github/actions/set-up is not there"),
    (START, "./.github/workflows/image.yml", "other/one/.github/workflows/x.yml@main", "x.yml@main is not pinned"),
    # Time
    (START, "    timeout-minutes: 5\n", "", "plan has no timeout-minutes"),
    (CALLED, "    timeout-minutes: 5\n", "", "build has no timeout-minutes"),
    (START, "concurrency:\n  group: experiments-${{ github.ref }}\n  cancel-in-progress: true\n", "", "has no concurr"),
    (CALLED, "permissions: {}\n", "permissions: {}\nconcurrency: x\n", "a called workflow has concurrency at its top"),
    (CALLED, "    concurrency:\n", "    defaults:\n", "build has no concurrency"),
    (START, "    concurrency:\n", "    defaults:\n", "results has no concurrency"),
    (START, "  cancel-in-progress: true\n", "", "wants group and cancel-in-progress"),
    (CALLED, "image-${{ github.run_id }}", "image", "nothing says why one that waits in image may be dropped"),
    (START, "      # The newest has the others', too.\n", "", "one that waits in results-${{ github.ref }} may be"),
    (START, "results-${{", "experiments-${{", "experiments-${{ github.ref }} is another's group, too"),
    # Who may start what
    (START, "  push:\n", "  push:\n  pull_request_target:\n", "starts on pull_request_target"),
    (START, "  push:\n", "  push:\n  issue_comment:\n", "starts on issue_comment"),
    (START, "  push:\n", "  push:\n  workflow_run:\n    workflows: [ci]\n", "starts on workflow_run"),
    (START, "  push:\n", "  push:\n  repository_dispatch:\n", "starts on repository_dispatch"),
    (CALLED, "    if: github.event_name != 'pull_request' ||", "    if: always() ||", "build would run for a fork's"),
    (CALLED, "    if: github", "    if: vars.FORKS || github", "build would run for a fork's pull request"),
    (START, "github.event_name != 'pull_request' && ", "", "results would run for a fork's pull request"),
    (START, "'pull_request' && needs", "'pull_request' || needs", "results would run for a fork's pull request"),
    (START, "    runs-on: ubuntu-24.04", "    runs-on: [self-hosted, gpu]", "plan would run for a fork's pull request"),
    (START, "    runs-on: ubuntu-24.04", "    runs-on: ${{ vars.X || 'ubuntu-24.04' }}", "plan would run for a fork's"),
    # What scripts and secrets meet
    (START, "run: force ci plan", "run: echo ${{ github.head_ref }}", "an expression stands in run"),
    (START, "run: force ci plan", "run: echo ${{ github.run_id }}", "an expression stands in run"),
    (START, "run: force ci plan", "shell: ${{ inputs.x }}\n        run: ls", "an expression stands in shell"),
    (ACTION, 'run: bash "', 'run: bash ${{ inputs.for }} "', "an expression stands in run"),
    (CALLED, "${{ vars.REGISTRY }}", "${{ toJSON(github) }}", "all of github is passed on"),
    (CALLED, "${{ vars.REGISTRY }}", "${{ tojson( secrets ) }}", "all of secrets is passed on"),
    (START, "    secrets:\n      token: ${{ secrets.TOKEN }}", "    secrets: inherit", "secrets are inherited"),
    (
        CALLED,
        "    outputs:\n      image: ${{ steps",
        "    env:\n      T: ${{ secrets.token }}\n    outputs:\n      image: ${{ steps",
        "not for one step",
    ),
    (START, "permissions: {}\n", "permissions: {}\nenv:\n  T: ${{ github.token }}\n", "a secret is not for one step"),
    (
        START,
        "      any: ${{ steps.plan.outputs.any }}",
        "      any: ${{ secrets['X'] }}",
        "a secret is not for one step alone",
    ),
    (START, "          persist-credentials: false", "          persist-credentials: true", "the token stays"),
    (START, "        with:\n          persist-credentials: false\n", "", "the token stays in the checkout"),
    (START, "          persist-c", "          ref: ${{ github.head_ref }}\n          persist-c", "checkout with ref"),
    (
        CALLED,
        "force ci image",
        "docker run -v /var/run/docker.sock:/s x; force ci image",
        "a container gets the machine",
    ),
    (CALLED, "force ci image", "docker run --privileged x; force ci image", "a container gets the machine"),
    (START, "true # there may be none", "true", "nothing says why it may fail"),
    (START, "    needs: plan\n", "    needs: plan\n    continue-on-error: true\n", "nothing says why it may fail"),
    # What is said of inputs and outputs
    (START, "        type: string\n", "", "experiments has no type"),
    (START, "        description: names\n", "", "experiments has no description"),
    (START, "        required: true\n", "", "experiments is neither required nor has it a default"),
    (CALLED, "        description: the image\n", "", "image has no description"),
    (CALLED, "        description: of the registry\n", "", "token has no description"),
    (ACTION, "    description: plan or run\n", "", "for has no description"),
    (ACTION, "    required: true\n", "", "for is neither required nor has it a default"),
    (ACTION, "description: Put force on PATH.\n", "", "has no description"),
    (ACTION, "    - shell: bash\n      env:", "    - env:", "has no shell"),
    (ACTION, "using: composite", "using: node20", "is not composite"),
    (START, "          for: plan\n", "          form: plan\n          for: plan\n", "there is no input form"),
    (START, "        with:\n          for: plan\n", "", "the input for is missing"),
    (START, "      token: ${{", "      tokens: ${{", "there is no input tokens"),
    (
        CALLED,
        "        required: false\n",
        "        required: true\n      other:\n        required: true\n",
        "input other is missing",
    ),
    (START, "          BRANCH:", "          BRANCHES:", "BRANCH is not set"),
    (ACTION, "        FOR:", "        WHAT:", "FOR is not set"),
    # Commands and what they write
    (START, "run: force ci plan", "run: force ci plam", "there is no force ci plam"),
    (START, "run: force ci plan", "run: force run x", "force run is not for workflows"),
    (START, "run: force ci plan", "run: force ci plan --deep", "force ci plan has no --deep"),
    (START, "--remote origin", "--remotes origin", "force ci results has no --remotes"),
    (START, "run: force ci plan", "run: 'true'", "no workflow calls force ci plan"),
    (CALLED, "force ci image", "force ci gate", "no workflow calls force ci image"),
    (START, "outputs.wave_1 }}", "outputs.wave_one }}", "force ci plan does not write wave_one"),
    (START, "steps.plan.outputs.any", "steps.plam.outputs.any", "no command of step plam can write any"),
    (CALLED, "steps.build.outputs.image", "steps.build.outputs.imag", "force ci image does not write imag"),
    (START, "needs.plan.outputs.any ==", "needs.plan.outputs.all ==", "plan gives no all"),
    (START, "needs.image.outputs.image", "needs.image.outputs.digest", "image gives no digest"),
    (CALLED, "jobs.build.outputs.image", "jobs.build.outputs.digest", "build gives no digest"),
    (START, "needs: [plan, image]", "needs: [plan]", "results does not need image"),
]


def find_violations(files: list[File]) -> list[str]:
    """Return all that breaks a rule."""
    return [violation for rule in RULES for violation in rule(files)]


@pytest.fixture(scope="module")
def files() -> list[File]:
    """The workflows and actions of this repository."""
    return read_files(ROOT)


def test_workflows_and_actions_are_found(files: list[File]) -> None:
    names = {file.name for file in files}
    assert {"ci.yml", "experiments.yml", "experiment.yml", "image.yml", "report.yml", "setup", "registry"} <= names
    assert {"upload-artifact", "download-artifact"} <= names


@pytest.mark.parametrize("rule", RULES)
def test_workflows_keep_the_rule(rule: Rule, files: list[File]) -> None:
    assert list(rule(files)) == []


def test_no_rule_is_broken_when_workflows_keep_them() -> None:
    assert find_violations([File(path, text) for path, text in SMALL.items()]) == []


@pytest.mark.parametrize(("path", "old", "new", "expected"), FAULTS, ids=[fault[3] for fault in FAULTS])
def test_rule_is_broken_when_a_fault_is_planted(path: str, old: str, new: str, expected: str) -> None:
    assert old in SMALL[path]
    texts = {**SMALL, path: SMALL[path].replace(old, new, 1)}
    found = find_violations([File(name, text) for name, text in texts.items()])
    assert [violation for violation in found if expected in violation] != [], found


def test_every_rule_is_broken_by_a_planted_fault() -> None:
    planted = [
        [File(p, t.replace(old, new, 1) if p == path else t) for p, t in SMALL.items()] for path, old, new, _ in FAULTS
    ]
    assert [rule.__name__ for rule in RULES if not any(list(rule(files)) for files in planted)] == []


def test_files_are_read_when_they_are_below_the_root(tmp_path: Path) -> None:
    for path, text in SMALL.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert {file.path: file.text for file in read_files(tmp_path)} == SMALL


def test_the_gate_waits_for_every_job_and_hears_how_it_ended(files: list[File]) -> None:
    (jobs,) = [file.jobs for file in files if file.name == "experiments.yml"]
    assert set(jobs["gate"]["needs"]) == set(jobs) - {"gate", "verdict"}
    needs = jobs["gate"]["steps"][-1]["env"]["NEEDS"]
    heard = json.loads(re.sub(r"\$\{\{ needs\.([\w-]+)\.result \}\}", r"how \1 ended", needs))
    assert heard == {name: {"result": f"how {name} ended"} for name in jobs["gate"]["needs"]}


def test_settings_are_those_that_the_documentation_names(files: list[File]) -> None:
    texts = "\n".join(file.text for file in files)
    section = (ROOT / "docs/ci.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`([A-Z_]+)`", section))
    assert {*re.findall(r"\bvars\.(\w+)", texts), *re.findall(r"\bsecrets\.([A-Z_]+)\b", texts)} == documented


@pytest.mark.parametrize("command", sorted(LOCAL_COMMANDS))
def test_command_is_documented_when_no_workflow_calls_it(command: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"force ci {command}" in page.read_text() for page in pages)
