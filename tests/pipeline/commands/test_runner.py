"""`force runner`: files that can be installed as they are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.commands.runner import write_tree
from pipeline.errors import UsageError
from tests.checkouts import Ended

SYSTEMD = ("runner", "systemd", "--url", "https://github.com/lab/digits")
KUBERNETES = ("runner", "kubernetes", "--url", "https://github.com/lab/digits")
PATHS = [
    "etc/force-runner/environment",
    "etc/systemd/system/force-runner.service",
    "opt/force-runner/clean.sh",
    "opt/force-runner/prepare.sh",
    "opt/force-runner/start.sh",
]


def list_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_files_are_written_when_a_folder_is_named(force: Callable[..., Ended], tmp_path: Path) -> None:
    tree = tmp_path / "new" / "tree"
    ended = force(*SYSTEMD, "--gpus", "1,0", "--labels", "gpu,a100", "--output", str(tree))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[-1].startswith(f"next: read them, then `sudo cp -RT {tree} /`")
    assert list_files(tree) == PATHS
    assert [os.access(tree / path, os.X_OK) for path in PATHS] == [False, False, True, True, True]
    assert "FORCE_GPUS=0,1\n" in (tree / PATHS[0]).read_text()
    assert 'Environment="FORCE_RUNNER_LABELS=gpu,a100"\n' in (tree / PATHS[1]).read_text()
    assert list(tree.parent.iterdir()) == [tree]


def test_files_are_printed_with_their_paths_when_no_folder_is_named(force: Callable[..., Ended]) -> None:
    ended = force(*SYSTEMD)
    assert (ended.status, ended.err) == (0, "")
    heads = [line.split()[2] for line in ended.out.splitlines() if line.startswith("# ==>")]
    assert sorted(heads) == [f"/{path}" for path in PATHS]
    assert "\n#FORCE_GPUS=0,1\n" in ended.out


def test_name_makes_another_unit_and_folder_when_a_machine_has_two(force: Callable[..., Ended]) -> None:
    out = force(*SYSTEMD, "--name", "box-b").out
    assert "# ==> /etc/systemd/system/force-runner-box-b.service <==" in out
    assert "# ==> /opt/force-runner-box-b/start.sh <==" in out
    assert 'Environment="FORCE_RUNNER_NAME=box-b"' in out


def test_folder_stays_as_it_is_when_it_has_files_already(force: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    ended = force(*SYSTEMD, "--output", str(tmp_path))
    assert ended.status == 2
    assert ended.err == f"error: '{tmp_path}' is there already\nhint: name a new folder\n"
    assert "kept" in list_files(tmp_path)
    assert "etc" not in [path.name for path in tmp_path.iterdir()]


def test_nothing_is_written_when_not_all_can_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_tree(tmp_path / "tree", {"a": "1", "a/b": "2"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--url", "https://gitlab.com/a/b"), "'https://gitlab.com/a/b' is no repository or organization on GitHub"),
        (("--labels", "gpu,a b"), "--labels 'a b' cannot be used"),
        (("--labels", "gpu;reboot"), "--labels 'gpu;reboot' cannot be used"),
        (("--labels", ""), "--labels '' cannot be used"),
        (("--name", "$(id)"), "--name '$(id)' cannot be used"),
        (("--name", ""), "--name '' cannot be used"),
        (("--user", "root"), "--user 'root' cannot be used"),
        (("--directory", "/opt/a b"), "--directory '/opt/a b' cannot be used"),
        (("--directory", "/opt"), "--directory '/opt' cannot be used"),
        (("--data", "/home/me/data"), "--data '/home/me/data' cannot be used"),
        (("--data", "/opt/force-runner/run"), "--data '/opt/force-runner/run' is inside of --directory"),
        (("--gpus", "0,a"), "--gpus '0,a' are no numbers of GPUs"),
        (("--gpus", ""), "--gpus '' are no numbers of GPUs"),
    ],
)
def test_reason_is_given_in_two_lines_when_an_option_of_a_machine_is_wrong(
    force: Callable[..., Ended], args: tuple[str, ...], message: str
) -> None:
    ended = force(*SYSTEMD, *args)
    error, hint = ended.err.splitlines()
    assert (ended.status, ended.out, error) == (2, "", f"error: {message}")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--min", "3", "--max", "2"), "--min 3 is more than --max 2"),
        (("--labels", "a,,b"), "--labels '' cannot be used"),
        (("--name", "on"), "--name 'on' cannot be used"),
        (("--secret", "a: b"), "--secret 'a: b' cannot be used"),
        (("--claim", "A"), "--claim 'A' cannot be used"),
        (("--image", "a b"), "--image 'a b' cannot be used"),
        (("--runtime-class", "a\nb: c"), "--runtime-class 'a\\nb: c' cannot be used"),
    ],
)
def test_reason_is_given_in_two_lines_when_an_option_of_a_cluster_is_wrong(
    force: Callable[..., Ended], args: tuple[str, ...], message: str
) -> None:
    ended = force(*KUBERNETES, *args)
    error, hint = ended.err.splitlines()
    assert (ended.status, ended.out, error) == (2, "", f"error: {message}")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("args", [("--min", "-1"), ("--max", "0"), ("--gpus-per-runner", "0"), ("--max", "many")])
def test_reason_is_given_in_two_lines_when_a_number_is_none(force: Callable[..., Ended], args: tuple[str, ...]) -> None:
    ended = force(*KUBERNETES, *args)
    assert (ended.status, ended.out, len(ended.err.splitlines())) == (2, "", 2)


def test_values_are_printed_when_a_cluster_is_asked_for(force: Callable[..., Ended]) -> None:
    ended = force(*KUBERNETES, "--labels", "gpu,h100", "--max", "8", "--gpus-per-runner", "4", "--runtime-class", "")
    assert (ended.status, ended.err) == (0, "")
    values = yaml.safe_load(ended.out)
    spec = values["template"]["spec"]
    assert values["githubConfigUrl"] == "https://github.com/lab/digits"
    assert values["scaleSetLabels"] == ["self-hosted", "gpu", "h100"]
    assert values["maxRunners"] == 8
    assert spec["initContainers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 4}}
    assert spec["initContainers"][0]["image"] == "ghcr.io/lab/force-runner:latest"
    assert "runtimeClassName" not in spec


def test_server_of_the_lab_is_known_when_the_environment_names_it(
    force: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("runner", "systemd", "--url", "https://git.lab.org/a/b")
    assert force(*args).status == 2
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.lab.org")
    assert (
        "FORCE_RUNNER_API=https://git.lab.org/api/v3/repos/a/b/actions/runners/registration-token" in force(*args).out
    )
