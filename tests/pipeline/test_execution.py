"""How a run ended, in one line; real runs are in tests/flows."""

from pipeline.execution import Summary


def test_stages_are_counted_by_how_they_ended() -> None:
    states = {("x", "train"): "failed", ("x", "evaluate"): "skipped", ("y", "train"): "done", ("y", "evaluate"): "done"}
    assert str(Summary(states)) == "2 done, 1 failed, 1 skipped"
    assert str(Summary()) == ""
