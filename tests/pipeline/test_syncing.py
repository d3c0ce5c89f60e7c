"""Generated files: what they hold, which of them drifted, and how they are written."""

import json

from pipeline.dvcfiles import HEADER, render_dvc_file
from pipeline.syncing import PARAMS_SCHEMA, find_drift, find_orphans, render_generated, write_files
from tests.checkouts import Checkout
from tests.recorded import override, resolve


def render(checkout: Checkout) -> dict[str, str]:
    project, ownership = resolve(checkout)
    return render_generated(project.experiments, project.select(()), ownership)


def test_each_experiment_and_the_params_have_a_file_when_they_are_generated(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    texts = render(checkout)
    assert set(texts) == {PARAMS_SCHEMA, "dvc.yaml", "experiments/x/dvc.yaml"}
    _, ownership = resolve(checkout)
    assert texts["experiments/x/dvc.yaml"] == render_dvc_file(ownership.owned("x"))
    sections = json.loads(texts[PARAMS_SCHEMA])["properties"]
    assert set(sections) == {
        "data",
        "loader",
        "model",
        "train",
        "evaluate",
        "runtime",
        "container",
        "monitoring",
        "reporting",
    }


def test_only_the_selected_have_a_file_when_some_are_selected(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    checkout.experiment("y", model=override("model"))
    project, ownership = resolve(checkout)
    texts = render_generated(project.experiments, project.select(("y",)), ownership)
    assert set(texts) == {PARAMS_SCHEMA, "experiments/y/dvc.yaml"}


def test_drift_is_found_in_order_when_files_are_missing_or_edited(checkout: Checkout) -> None:
    checkout.write("same.yaml", "as rendered\n")
    checkout.write("edited.yaml", "by hand\n")
    (checkout.root / "binary.yaml").write_bytes(b"\xff")
    names = ("same.yaml", "missing/a.yaml", "edited.yaml", "binary.yaml")
    texts = dict.fromkeys(names, "as rendered\n")
    assert find_drift(checkout.root, texts) == ["binary.yaml", "edited.yaml", "missing/a.yaml"]


def test_only_the_listed_files_are_written_when_others_are_rendered_too(checkout: Checkout) -> None:
    texts = {"new/a.yaml": "a\n", "b.yaml": "b\n"}
    write_files(checkout.root, texts, ["new/a.yaml"])
    assert (checkout.root / "new/a.yaml").read_text() == "a\n"
    assert [path.name for path in (checkout.root / "new").iterdir()] == ["a.yaml"]
    assert not (checkout.root / "b.yaml").exists()


def test_file_is_replaced_whole_when_somebody_reads_it(checkout: Checkout) -> None:
    path = checkout.write("a.yaml", "before\n")
    with path.open() as reader:
        write_files(checkout.root, {"a.yaml": "after\n"}, ["a.yaml"])
        assert reader.read() == "before\n"
    assert path.read_text() == "after\n"


def test_nothing_drifts_when_everything_was_written(checkout: Checkout) -> None:
    checkout.experiment("x", model=override("model"))
    texts = render(checkout)
    write_files(checkout.root, texts, find_drift(checkout.root, texts))
    assert find_drift(checkout.root, render(checkout)) == []


def test_orphans_are_only_generated_files_when_their_experiment_is_gone(checkout: Checkout) -> None:
    checkout.write("experiments/here/dvc.yaml", f"{HEADER}stages: {{}}\n")
    checkout.write("experiments/gone/dvc.yaml", f"{HEADER}stages: {{}}\n")
    checkout.write("experiments/by_hand/dvc.yaml", "stages: {}\n")
    checkout.write("experiments/without/notes.md", "no dvc.yaml here\n")
    assert find_orphans(checkout.root, ["common", "here"]) == ["experiments/gone/dvc.yaml"]
