"""Look at prepared data, for `force data`: `python -m pipeline.stages.inspection FOLDER`, FOLDER holding the request.

No stage of DVC's: it changes nothing but pictures. Leaves result.json, or failure.json with the reason. Ends when its
standard input does.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import build_config
from common.data import DataModule
from common.dataset import open_dataset
from common.drift import compare
from common.expectations import Judge
from common.overview import describe_summary, describe_tokens
from common.pictures import draw_pictures
from common.summary import summarise
from pipeline.stages.lifeline import end_with_input


@dataclass(frozen=True)
class Request:
    """What to look at."""

    action: str  # show or check
    data: str  # the folder of the dataset
    pictures: str = ""  # the folder to draw into
    reference: str = ""  # the folder of the dataset to compare with; empty for none
    expect: dict[str, Any] | None = None  # the params `data.expect`


def main() -> int:
    """Answer the request in the folder that the command line names; return the exit status."""
    threading.Thread(target=end_with_input, args=(os.dup(0),), daemon=True).start()
    return answer(Path(sys.argv[1]))


def answer(folder: Path) -> int:
    """Answer the request in a folder; return 0, or 1 where it failed."""
    request = Request(**json.loads((folder / "request.json").read_text()))
    try:
        result = ACTIONS[request.action](request)
    except Exception as error:  # of a dataset that somebody damaged: whoever asked says it in one line
        traceback.print_exc()
        failure = {"type": type(error).__name__, "message": str(error)}
        (folder / "failure.json").write_text(json.dumps(failure))
        return 1
    (folder / "result.json").write_text(json.dumps(result))
    return 0


def show(request: Request) -> dict[str, Any]:
    """Return the summary of a dataset, what its tokens are, and the pictures that were drawn."""
    folder = Path(request.data)
    with open_dataset(folder) as dataset:
        summary = summarise(dataset)
        pictures = draw_pictures(dataset, summary, folder, Path(request.pictures))
        tokens = describe_tokens(dataset)
        return {**describe_summary(summary), "tokens": tokens, "pictures": [path.name for path in pictures]}


def check(request: Request) -> dict[str, Any]:
    """Return what is broken, what is doubtful, and how far a dataset is from its reference."""
    folder, reference = Path(request.data), Path(request.reference)
    with ExitStack() as stack:
        dataset = stack.enter_context(open_dataset(folder))
        summary = summarise(dataset)
        judge = Judge(folder, dataset, summary)
        expect = build_config(DataModule, {"expect": request.expect}).expect
        result: dict[str, Any] = {
            "broken": judge.find_broken(expect) if expect else [],
            "doubts": [*([] if expect and expect.finite else judge.find_strange()), *judge.find_constant()],
            "drift": None,
        }
        if request.reference:
            other = stack.enter_context(open_dataset(reference))
            result["drift"] = compare(dataset, other, summary, summarise(other))
    return result


ACTIONS: dict[str, Callable[[Request], dict[str, Any]]] = {"show": show, "check": check}


if __name__ == "__main__":
    sys.exit(main())
