"""Monitoring: what the params say of it, and that it is no input of anything."""

import sys
from pathlib import Path

import pytest

from pipeline.errors import ToolError
from pipeline.installing import suggest_install
from pipeline.monitoring import (
    LOGGERS,
    MonitoringParams,
    check_installed,
    collect_variables,
    find_log_dir,
    make_writable_dirs,
    read_params,
)
from tests.checkouts import Checkout

YAML = "experiments/x/experiment.yaml"
PARAM = "'params.monitoring"
ONE_OF = 'wanted one of "tensorboard", "mlflow", "wandb"'


def find_faults(checkout: Checkout, section: str) -> list[str]:
    checkout.experiment("x", f"params:\n  model: {{channels: 64}}\n  monitoring: {section}\n")
    return [str(problem) for problem in checkout.project().experiments.load_all()[1]]


@pytest.mark.parametrize(
    "section",
    ["{}", "{loggers: []}", "{loggers: [wandb, mlflow, tensorboard]}", "{checkpoint_minutes: 0.5}"],
)
def test_section_is_sound_when_a_training_can_be_watched_so(checkout: Checkout, section: str) -> None:
    assert find_faults(checkout, section) == []
    read_params(checkout.project().experiments.get("x").section("monitoring"))


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("{logers: []}", "3:16: unknown key 'logers' in 'params.monitoring'; did you mean 'loggers'?"),
        ("{loggers: [wandb, tensorbord]}", f'3:33: {PARAM}.loggers.1\' is "tensorbord", {ONE_OF}'),
        ("{loggers: wandb}", f'3:25: {PARAM}.loggers\' is "wandb", wanted a list'),
        ("{checkpoint_minutes: 0}", f"3:36: {PARAM}.checkpoint_minutes' is 0, wanted a number above 0 or nothing"),
        ("{checkpoint_minutes: often}", f'3:36: {PARAM}.checkpoint_minutes\' is "often", wanted a number above 0'),
    ],
)
def test_section_is_refused_with_the_place_when_it_is_faulty(checkout: Checkout, section: str, fault: str) -> None:
    (found,) = find_faults(checkout, section)
    assert found.startswith(f"{YAML}:{fault}")


def test_nobody_hears_of_a_training_when_the_params_are_the_common_ones(checkout: Checkout) -> None:
    common = MonitoringParams(loggers=(), checkpoint_minutes=10)
    assert read_params(checkout.project().experiments.get("common").section("monitoring")) == common
    assert read_params({}) == common


def test_states_are_kept_after_epochs_alone_when_the_minutes_are_null(checkout: Checkout) -> None:
    assert find_faults(checkout, "{checkpoint_minutes: null}") == []
    params = read_params(checkout.project().experiments.get("x").section("monitoring"))
    assert params.checkpoint_minutes is None


def test_each_logger_is_asked_for_once_when_it_is_named_twice() -> None:
    assert read_params({"loggers": ["wandb", "mlflow", "wandb"]}).loggers == ("wandb", "mlflow")


def test_folders_are_made_outside_of_the_outs(tmp_path: Path) -> None:
    assert make_writable_dirs(find_log_dir(tmp_path), ()) == ()
    assert not (tmp_path / ".force").exists()
    folders = make_writable_dirs(find_log_dir(tmp_path), ("tensorboard", "mlflow"))
    assert folders == (tmp_path / ".force/tensorboard", tmp_path / ".force/mlflow")
    assert all(folder.is_dir() for folder in folders)


def test_addresses_but_no_secrets_go_into_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "WANDB_PROJECT", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.setenv(name, f"the {name}")
    assert collect_variables(()) == {}
    assert collect_variables(("tensorboard",)) == {}
    assert collect_variables(("mlflow",)) == {"MLFLOW_TRACKING_URI": "the MLFLOW_TRACKING_URI"}
    assert collect_variables(("wandb",)) == {"WANDB_PROJECT": "the WANDB_PROJECT", "WANDB_MODE": "offline"}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has the only packages that are installed."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in LOGGERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_nothing_is_said_when_the_packages_are_there(packages: Path) -> None:
    (packages / "mlflow").mkdir()
    (packages / "mlflow/__init__.py").touch()
    check_installed(())
    check_installed(("mlflow",))


@pytest.mark.parametrize(("name", "title"), LOGGERS.items())
def test_missing_package_is_named_with_how_to_install_it(packages: Path, name: str, title: str) -> None:
    (packages / name).mkdir()  # as `wandb/` may be, which holds somebody's runs
    with pytest.raises(ToolError) as raised:
        check_installed((name,))
    assert raised.value.render() == f"error: {title} is not installed\nhint: {suggest_install(name)}"
