"""Charts and graphs as Mermaid."""

from typing import Any

import pytest

from pipeline.mermaid import draw_bars, draw_curves, draw_lineage

USES = [
    ("x", "prepare", "common", "up to date"),
    ("x", "train", "x", "done"),
    ("x", "evaluate", "x", "done"),
    ("y", "prepare", "common", "up to date"),
    ("y", "train", "common", "up to date"),
    ("y", "evaluate", "y", "failed"),
]


def make_history(num_epochs: int, **last: Any) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = [
        {"epoch": epoch, "train_loss": 1 / epoch, "valid_loss": 2 / epoch, "seconds": 3.0}
        for epoch in range(1, num_epochs + 1)
    ]
    history[-1] |= last
    return history


def test_loss_and_validation_are_charts_when_a_training_has_epochs() -> None:
    lines = "\n".join(draw_curves({"x": make_history(3)})).splitlines()
    assert lines[:9] == [
        "```mermaid",
        "---",
        "config: {themeVariables: {xyChart: {plotColorPalette: '#0969da, #bc4c00'}}}",
        "---",
        "xychart-beta",
        '    title "x: train_loss"',
        '    x-axis "epoch" 1 --> 3',
        "    line [1, 0.5, 0.3333]",
        "```",
    ]
    assert [line for line in lines if "title" in line] == ['    title "x: train_loss"', '    title "x: valid_loss"']


@pytest.mark.parametrize("num_epochs", [60, 61, 1000])
def test_curve_has_few_points_when_there_were_many_epochs(num_epochs: int) -> None:
    points = draw_curves({"x": make_history(num_epochs)})[0].splitlines()[-2]
    assert 30 <= points.count(",") + 1 <= 60


@pytest.mark.parametrize(
    "history",
    [
        [],
        make_history(1),
        [{"epoch": 1, "seconds": 1.0}, {"epoch": 2, "seconds": 1.0}],
        [{"train_loss": 1.0}, {"train_loss": 0.5}],
        [{"epoch": 1, "train_loss": 1.0}, {"epoch": 1, "train_loss": 0.5}],
        make_history(2, epoch="last"),
    ],
)
def test_there_is_no_chart_when_there_is_no_curve(history: list[dict[str, Any]]) -> None:
    assert draw_curves({"x": history}) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.5"])
def test_only_that_chart_is_missing_when_a_training_diverged(value: Any) -> None:
    text = "".join(draw_curves({"x": make_history(3, train_loss=value)}))
    assert "train_loss" not in text
    assert "valid_loss" in text


def test_title_cannot_end_itself_when_a_metric_has_a_hostile_name() -> None:
    name = 'valid_"\n```\n# x'
    (text,) = draw_curves({"x": [{"epoch": 1, name: 1.0}, {"epoch": 2, name: 1.0}]})
    assert text.count("```") == 2
    assert '    title "x: valid_??????? x"' in text.splitlines()


def test_each_stage_is_one_node_when_experiments_share_it() -> None:
    lines = draw_lineage(USES).splitlines()
    assert lines[:2] == ["```mermaid", "flowchart LR"]
    assert lines[2:-1] == [
        '    s0["common: prepare<br/>up to date"]',
        '    s1["x: train<br/>done"]',
        '    s2["x: evaluate<br/>done"]',
        '    s3["common: train<br/>up to date"]',
        '    s4["y: evaluate<br/>failed"]',
        "    s0 --> s1",
        "    s1 --> s2",
        "    s0 --> s3",
        "    s3 --> s4",
    ]


def read_lines(chart: str) -> list[str]:
    return [line.strip() for line in chart.splitlines() if line.strip().startswith(("title", "line", "bar", "x-axis"))]


def test_parent_is_drawn_over_the_same_epochs_when_it_has_the_curve() -> None:
    histories = {"x": make_history(3), "common": [*make_history(2), {"epoch": 9, "train_loss": 7.0}]}
    assert read_lines(draw_curves(histories)[0]) == [
        'title "train_loss: x blue, common orange"',
        'x-axis "epoch" 1 --> 3',
        "line [1, 0.5, 0.3333]",
        "line [1, 0.5, 0.5]",
    ]


@pytest.mark.parametrize("rows", [[], [{"epoch": 2, "train_loss": 1.0}], [{"epoch": 1}], [{"train_loss": 1.0}]])
def test_parent_is_not_drawn_when_it_has_nothing_at_the_first_epoch(rows: list[dict[str, Any]]) -> None:
    chart = draw_curves({"x": make_history(3), "common": rows})[0]
    assert read_lines(chart)[0] == 'title "x: train_loss"'
    assert chart.count("    line [") == 1


def test_the_last_epoch_is_drawn_and_a_repeated_one_once() -> None:
    rows = make_history(118)
    assert 'x-axis "epoch" 1 --> 118' in read_lines(draw_curves({"x": rows})[0])
    again = [{"epoch": 2, "train_loss": 9.0}, {"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": 0.5}]
    assert read_lines(draw_curves({"x": again})[0])[1:] == ['x-axis "epoch" 1 --> 2', "line [1, 0.5]"]


def test_epochs_of_unequal_distance_are_labelled() -> None:
    rows = [{"epoch": epoch, "train_loss": 1.0 / epoch} for epoch in (1, 2, 10)]
    assert read_lines(draw_curves({"x": rows})[0])[1] == 'x-axis "epoch" ["1", "2", "10"]'
    many = [{"epoch": epoch**2, "train_loss": 1.0} for epoch in range(1, 1001)]
    assert read_lines(draw_curves({"x": many})[0])[1].endswith('"1000000"]')
    assert read_lines(draw_curves({"x": many})[0])[1].count('"') == 2 + 2 * 20


def test_metric_of_every_other_epoch_is_drawn_where_it_is() -> None:
    rows = [{"epoch": e, "train_loss": 1.0, **({"valid_loss": 1.0 * e} if e % 2 == 0 else {})} for e in range(1, 7)]
    assert read_lines(draw_curves({"x": rows})[1]) == [
        'title "x: valid_loss"',
        'x-axis "epoch" 2 --> 6',
        "line [2, 4, 6]",
    ]


def test_bars_begin_at_zero_and_equal_names_are_told_apart() -> None:
    chart = draw_bars("x", [("ü", 10), ("a|", 9), ("a]", 8), ("a? 3", 7)], "samples")
    assert read_lines(chart)[1] == 'x-axis ["ü", "a?", "a? 2", "a? 3"]'
    assert 'y-axis "samples" 0 --> 10' in chart


def test_graph_has_no_more_than_mermaid_draws_and_nothing_ends_it() -> None:
    uses = [(f"x{place}", stage, f"x{place}", "done") for place in range(300) for stage in ("train", "evaluate")]
    assert draw_lineage(uses).count(" --> ") == 50
    graph = draw_lineage([("x", "train", "x", 'done"]\n```\n<img src=x>')])
    assert graph.splitlines()[2:] == ['    s0["x: train<br/>done????????img src?x?"]', "```"]


def test_there_are_no_more_charts_than_wanted() -> None:
    assert len(draw_curves({"x": make_history(3)}, limit=1)) == 1
    assert draw_curves({}) == []


def test_bars_have_their_names_harmless_and_are_not_too_many() -> None:
    chart = draw_bars('x"', [('a"]\n```', 3), *((str(place), 1) for place in range(20))], "samples")
    lines = read_lines(chart)
    assert lines[0] == 'title "x?"'
    assert lines[1].startswith('x-axis ["a??????", "0", ')
    assert lines[2] == "bar [3, 1, 1, 1, 1, 1, 1, 1, 1, 1]"
    assert chart.count("```") == 2
    assert draw_bars("x", [], "samples") == ""
