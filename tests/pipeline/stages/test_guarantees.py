"""What a stage says of the bits of its results."""

import logging
import warnings
from collections.abc import Iterator

import pytest
import torch

from pipeline.stages.guarantees import collect_doubts


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """Let torch warn of what is not deterministic."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _put() -> None:
    """Compute what torch has no deterministic way for, on the CPU either."""
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_nothing_is_doubted_when_all_is_deterministic(recwarn: pytest.WarningsRecorder) -> None:
    with warnings.catch_warnings(), collect_doubts({"deterministic": True}, 1) as doubts:
        warnings.simplefilter("always")
        warnings.warn("something else", stacklevel=1)
        logging.getLogger("force").warning("a file is missing")
        torch.ones(3) @ torch.ones(3)
    assert doubts == []


def test_params_and_processes_are_doubted() -> None:
    with collect_doubts({"deterministic": False}, 3) as doubts:
        pass
    assert doubts == [
        "runtime.deterministic is false",
        "computed by 3 processes: another number of them adds and draws otherwise",
    ]


def test_each_operation_without_a_deterministic_implementation_is_doubted_once_and_still_warned_of() -> None:
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: shown.append(str(message))
        with collect_doubts({}, 1) as doubts:
            _put()
            _put()
        _put()
    assert doubts == ["put_ has no deterministic implementation"]
    assert len(shown) == 3


def test_resuming_elsewhere_is_doubted() -> None:
    text = "a checkpoint was written by another machine: the last bits may differ"
    with collect_doubts({}, 1) as doubts:
        logging.getLogger("force").warning(text)
    logging.getLogger("force").warning(text)
    assert doubts == [text]
