"""Containers: what the params say of them, what they may see, and how they are found again."""

from pathlib import Path

import pytest

from pipeline.containers import JOB_LABEL, JOB_VARIABLE, ContainerParams, ContainerSpec, build_labels, read_params
from tests.checkouts import Checkout

PARAM = "'params.container"
GPUS = 'wanted one of "auto", "all", "none" or a list'


def find_faults(checkout: Checkout, section: str) -> list[str]:
    checkout.experiment("x", f"params: {{model: {{channels: 64}}, container: {section}}}\n")
    return [problem.message for problem in checkout.project().experiments.load_all()[1]]


@pytest.mark.parametrize(
    "section",
    [
        "{}",
        "{network: bridge}",
        "{gpus: all}",
        "{gpus: none}",
        "{gpus: [0, 3]}",
        "{shm_gib: 0.5, memory_gib: 16}",
        "{memory_gib: null}",
        "{mounts: [/data/digits]}",
    ],
)
def test_section_is_sound_when_containers_can_be_so(checkout: Checkout, section: str) -> None:
    assert find_faults(checkout, section) == []
    read_params(checkout.project().experiments.get("x").section("container"))


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("{netwrk: none}", "unknown key 'netwrk' in 'params.container'; did you mean 'network'?"),
        ("{network: 'container:db'}", f'{PARAM}.network\' is "container:db", wanted one of "none", "bridge", "host"'),
        ("{gpus: two}", f'{PARAM}.gpus\' is "two", {GPUS}'),
        ("{gpus: [all]}", f'{PARAM}.gpus\' is ["all"], {GPUS}'),
        ("{gpus: []}", f"{PARAM}.gpus' is [], {GPUS}"),
        ("{gpus: [-1]}", f"{PARAM}.gpus' is [-1], {GPUS}"),
        ("{shm_gib: 0}", f"{PARAM}.shm_gib' is 0, wanted a number above 0"),
        ("{memory_gib: -1}", f"{PARAM}.memory_gib' is -1, wanted a number above 0 or nothing"),
        ("{memory_gib: 16g}", f'{PARAM}.memory_gib\' is "16g", wanted a number above 0 or nothing'),
        ("{mounts: [data]}", f'{PARAM}.mounts.0\' is "data", wanted a text like /data/digits'),
        ("{mounts: /data}", f'{PARAM}.mounts\' is "/data", wanted a list'),
    ],
)
def test_section_is_refused_when_no_container_can_be_so(checkout: Checkout, section: str, fault: str) -> None:
    assert find_faults(checkout, section) == [fault]


def test_params_are_careful_ones_when_nobody_sets_them(checkout: Checkout) -> None:
    careful = ContainerParams(network="none", gpus="auto", shm_gib=2.0, memory_gib=None, mounts=())
    assert read_params(checkout.project().experiments.get("common").section("container")) == careful
    assert read_params({}) == careful


def test_params_are_an_ancestors_when_an_experiment_sets_others(checkout: Checkout) -> None:
    checkout.experiment("x", "params: {model: {channels: 64}, container: {memory_gib: 16, mounts: [/a]}}\n")
    checkout.experiment("y", "inherits: x\nparams: {model: {channels: 48}, container: {mounts: [/b, /c]}}\n")
    params = read_params(checkout.project().experiments.get("y").section("container"))
    assert (params.memory_gib, params.mounts) == (16, ("/b", "/c"))


def test_folders_keep_their_paths_when_they_are_bound() -> None:
    root = Path("/lab/checkout")
    spec = ContainerSpec(
        image="force-build/train:0123",
        args=("python",),
        folder=root,
        params=ContainerParams(),
        readable=(root / "experiments", root / "common"),
        writable=(root / "experiments/x/outputs/train.partial", root / "common"),
    )
    assert spec.binds == [
        "/lab/checkout/common:/lab/checkout/common:rw",
        "/lab/checkout/experiments:/lab/checkout/experiments:ro",
        "/lab/checkout/experiments/x/outputs/train.partial:/lab/checkout/experiments/x/outputs/train.partial:rw",
    ]


def test_container_is_found_by_its_job_only_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {
        "force-build.workspace": "/lab/checkout",
        "force-build.experiment": "x",
        "force-build.stage": "train",
    }
    assert build_labels(Path("/lab/checkout"), "x", "train") == labels
    monkeypatch.setenv(JOB_VARIABLE, "12-1-x")
    assert build_labels(Path("/lab/checkout"), "x", "train") == {**labels, JOB_LABEL: "12-1-x"}
