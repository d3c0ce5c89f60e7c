"""What a pickle would import, without running it."""

import io
import pickle
import subprocess
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._weights_only_unpickler import _get_allowed_globals

from pipeline.picklenames import SAFE
from pipeline.pickles import join_scans, list_names, scan_pickle, scan_pickles
from tests.payloads import NAMES, RUNS, head, name, stacked, text

UNPICKLE = "import pickle, sys; pickle.load(sys.stdin.buffer)"
# One opcode each, without argument, and a few with one.
PARTS = [
    *(bytes([code]) for code in b"()*.0123NQRabdeloqstu}]\x85\x86\x87\x88\x89\x81\x93\x94\x90\x91\x8f"),
    *(text("os"), text("system"), name("os", "system"), stacked(text("a"), text("b")), head(), b"S'os'\n", b"U\x02os"),
    *(b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"K\x01", b"r\x02\0\0\0", b"j\x02\0\0\0", b"p3\n", b"g3\n"),
]
VALUES = st.recursive(
    st.none() | st.text() | st.binary() | st.sampled_from([Path("a"), Counter("a"), 1j, range(3), len, int]),
    lambda below: st.lists(below) | st.tuples(below, below) | st.dictionaries(st.text(), below),
    max_leaves=8,
)


class Stub:
    """Stands for whatever a pickle imports: takes any call, state and item."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> "Stub":
        """Take any arguments."""
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def take(self, *_args: Any) -> None:
        """Do nothing."""

    __setstate__ = __setitem__ = append = extend = add = take


class Recorder(pickle.Unpickler):
    """Unpickles as Python does, but imports nothing: it notes the names, and goes on with a stub instead."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Note a name."""
        self.names.add(f"{'builtins' if module == '__builtin__' else module}.{name}")
        return Stub

    def persistent_load(self, pid: Any) -> Any:
        """Take any."""
        return pid


def _record(content: bytes) -> set[str]:
    recorder = Recorder(content)
    try:
        recorder.load()
    except Exception:  # what a damaged pickle raises is of no interest here
        return recorder.names
    return recorder.names


@pytest.mark.parametrize("key", [*RUNS, *NAMES])
def test_code_is_never_taken_for_tensors(key: str) -> None:
    payload = RUNS[key]("true") if key in RUNS else NAMES[key]
    scan = join_scans(scan_pickles(io.BytesIO(payload)))
    assert scan.findings
    assert not scan.is_safe


@pytest.mark.parametrize("key", RUNS)
def test_payloads_do_run_when_they_are_unpickled(key: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    payload = RUNS[key](f"touch {canary}")
    subprocess.run([sys.executable, "-c", UNPICKLE], input=payload, capture_output=True, cwd=tmp_path, check=False)
    assert canary.exists()


@pytest.mark.parametrize(
    ("key", "imports"),
    [
        ("os in protocol 0", {"os.system"}),
        ("stack global from the memo", {"os.system"}),
        ("memo written twice", {"os.system"}),
        ("memoize counts what is put", {"os.system"}),
        ("dup and pop", {"os.system"}),
        ("escapes in protocol 0", {"os.system"}),
        ("dotted name", {"posixpath.os.system"}),
        ("inst", {"os.system"}),
        ("obj", {"os.system"}),
        ("eval of Python 2", {"builtins.eval"}),
    ],
)
def test_names_are_found_exactly(key: str, imports: set[str]) -> None:
    scan = scan_pickle(io.BytesIO(RUNS[key]("true")))
    assert set(scan.imports) == imports
    assert not scan.doubts


def test_a_name_with_a_blank_is_a_doubt() -> None:
    assert scan_pickle(io.BytesIO(name("os system", "x") + b".")).doubts == ("a name with a blank in it",)


def test_an_odd_escape_in_a_text_raises_no_warning() -> None:
    assert not scan_pickle(io.BytesIO(b"S'\\o'\n.")).findings


def test_what_cannot_be_known_is_told_first() -> None:
    scan = scan_pickle(io.BytesIO(RUNS["computed name"]("true")))
    assert scan.findings[0] == "what it computes the name of"


@pytest.mark.parametrize("opcode", [b"c", b"(i"])
def test_what_reads_like_an_escape_in_a_name_is_told(opcode: bytes) -> None:
    content = opcode + rb"mod\x75le" + b"\nName\n."
    scan = scan_pickle(io.BytesIO(content))
    assert scan.findings[0] == "a name with a backslash in it"
    assert _record(content) == {r"mod\x75le.Name"}


def test_dangerous_names_come_before_those_of_models() -> None:
    content = head() + name("torch.nn.modules.linear", "Linear") + name("my_lab", "Net") + name("os", "system") + b"."
    scan = scan_pickle(io.BytesIO(content))
    assert scan.imports == ("os.system", "my_lab.Net", "torch.nn.modules.linear.Linear")


def test_a_second_pickle_is_seen() -> None:
    content = pickle.dumps({"weight": 1}) + RUNS["posix"]("true")
    assert join_scans(scan_pickles(io.BytesIO(content))).imports == ("posix.system",)


def test_the_safe_names_are_those_of_torch() -> None:
    assert set(_get_allowed_globals()) == SAFE


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_state_is_safe_only_as_torch_reads_it(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    state = OrderedDict(weight=torch.zeros(2), count=Counter("ab"))
    torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    scan = join_scans(scan_pickles(io.BytesIO(path.read_bytes()), 5))
    if scan.is_safe:
        assert torch.load(path, weights_only=True)["weight"].tolist() == [0, 0]
    else:
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
    assert scan.is_safe == (protocol <= 3)
    assert scan.num_tensors == 1


def test_names_in_one_line_are_not_too_many() -> None:
    assert list_names([f"a.b{n}" for n in range(10)], 2) == "a.b0, a.b1 and 8 more"


@settings(max_examples=100, deadline=None)
@given(VALUES, st.integers(0, 5))
def test_whatever_python_pickles_is_followed(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    scan = scan_pickle(io.BytesIO(content))
    assert not scan.doubts
    assert _record(content) == set(scan.imports)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=25))
def test_no_name_that_python_would_import_escapes(parts: list[bytes]) -> None:
    content = b"".join(parts) + b"."
    scan = scan_pickle(io.BytesIO(content))
    assert scan.doubts or _record(content) <= set(scan.imports)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(RUNS)), st.data())
def test_no_change_of_a_byte_hides_a_name(key: str, draw: Any) -> None:
    content = bytearray(RUNS[key]("true"))
    content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    scan = scan_pickle(io.BytesIO(bytes(content)))
    assert scan.doubts or _record(bytes(content)) <= set(scan.imports)
