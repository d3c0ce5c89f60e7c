"""The attributes of a trainer, of which each process has its own."""

from types import SimpleNamespace

from common.stateful import Attributes


def test_numbers_texts_and_none_are_kept() -> None:
    state = Attributes(SimpleNamespace(seen=3, rate=0.5, name="a", best=None, is_writer=True, rows=[1])).state_dict()
    assert state == {"seen": 3, "rate": 0.5, "name": "a", "best": None, "is_writer": True}


def test_only_the_first_process_takes_over_when_there_are_more_or_fewer() -> None:
    states = [{"is_writer": True, "seen": 3}, {"is_writer": False, "seen": 4}]
    first, second = SimpleNamespace(is_writer=True, seen=0), SimpleNamespace(is_writer=False, seen=0)
    Attributes(first).take_over(states, is_first=True)
    Attributes(second).take_over(states, is_first=False)
    assert (first.is_writer, first.seen, second.is_writer, second.seen) == (True, 3, False, 0)
