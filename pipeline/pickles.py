"""List what a pickle would import, without running any of it.

A pickle is a program for a machine with a stack and a memo, and without branches: following where its texts go gives
each name that it imports exactly. What a pickle would have to compute first cannot be known, and counts as dangerous.
"""

import pickletools
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from pipeline.picklenames import DANGEROUS, HARMLESS_BUILTINS, SAFE, SAFE_OPCODES, USUAL

_MAX_OPCODES = 20_000_000  # beyond, a scan would take minutes
_LINE_ENDS = 2  # bytes of a name beside its text: the opcode and two line ends, less the blank between both parts
_FRAME_HEAD = 9  # bytes of the opcode and its length
_MAX_PICKLES = 1000  # one after the other in one file
_STARTS = frozenset(b"\x80(]}ciIFSUVNTLMKJGl)dt")  # the first byte of a pickle of any protocol


@dataclass(frozen=True)
class Scan:
    """What one pickle, or several of a file, would do."""

    imports: tuple[str, ...]  # dotted, dangerous ones first
    protocol: int
    num_tensors: int = 0  # what it leaves to who loads it, as torch does with tensors' storages
    doubts: tuple[str, ...] = ()  # what could not be decided, in words
    is_plain: bool = True  # only opcodes that `torch.load(weights_only=True)` executes

    @property
    def is_safe(self) -> bool:
        """Say whether `torch.load(weights_only=True)` reads it: tensors and plain containers only."""
        return self.is_plain and not self.doubts and SAFE.issuperset(self.imports)

    @property
    def findings(self) -> tuple[str, ...]:
        """What a person has to know before trusting it: the undecided first."""
        return (*self.doubts, *self.imports)


@dataclass
class _Machine:
    """The state of a pickle that is followed: its stack and memo, where only texts matter."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    imports: dict[str, None] = field(default_factory=dict)
    doubts: dict[str, None] = field(default_factory=dict)
    opcodes: Counter[str] = field(default_factory=Counter)
    protocol: int = 0
    frame_end: int = 0

    def step(self, opcode: pickletools.OpcodeInfo, arg: Any, place: int) -> None:
        """Follow one opcode. Raises IndexError where the stack has less than it takes."""
        name = opcode.name
        self.opcodes[name] += 1
        if place > self.frame_end > 0 or (name == "FRAME" and place < self.frame_end):
            self.doubts["what a frame cuts in two"] = None  # Python reads it in several ways
        self.frame_end = 0 if place >= self.frame_end else self.frame_end
        if name == "PROTO":
            self.protocol = max(self.protocol, arg)
        elif name == "FRAME":
            self.frame_end = place + _FRAME_HEAD + arg
        elif name in ("GLOBAL", "INST"):
            self._import(*arg.split(" ", 1))  # which of several blanks parts the two is not known
            self.doubts.update({"a name with a blank in it": None} if arg.count(" ") > 1 else {})
        elif name == "STACK_GLOBAL":
            self._import_from_stack()
        elif name.startswith("EXT"):
            self.doubts[f"what has number {arg} in copyreg's registry"] = None
        self._move(opcode, arg)

    def _import_from_stack(self) -> None:
        module, name = self.stack[-2:]
        if isinstance(module, str) and isinstance(name, str):
            self._import(module, name)
        else:
            self.doubts["what it computes the name of"] = None

    def _import(self, module: str, name: str) -> None:
        module = "builtins" if module == "__builtin__" else module  # protocols below 3 use Python 2's name
        self.imports[f"{module}.{name}"] = None

    def _move(self, opcode: pickletools.OpcodeInfo, arg: Any) -> None:
        """Do to stack and memo what the opcode does; what is no text becomes None."""
        name, stack = opcode.name, self.stack
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[arg] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[arg])
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            self._pop(opcode)
            for made in opcode.stack_after:
                mark = made is pickletools.markobject
                stack.append(_MARK if mark else arg if isinstance(arg, str) and _makes_text(opcode) else None)

    def _pop(self, opcode: pickletools.OpcodeInfo) -> None:
        taken = list(opcode.stack_before)
        if pickletools.markobject in taken:
            while self.stack.pop() is not _MARK:
                pass
            taken = taken[: taken.index(pickletools.markobject)]
        for _ in taken:
            self.stack.pop()


_MARK = object()


def _makes_text(opcode: pickletools.OpcodeInfo) -> bool:
    return opcode.name.endswith(("STRING", "UNICODE", "UNICODE8"))


def scan_pickle(file: IO[bytes]) -> Scan:
    """Follow the pickle at the file's position, and leave the file behind it.

    A damaged one counts as undecided from there on: what stands before the damage would have run.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in its texts
            _follow(_Bounded(file), machine)
    except (ValueError, IndexError, KeyError, OverflowError):
        machine.doubts["what stands behind damage"] = None
    imports = tuple(sorted(machine.imports, key=_rank))
    num_tensors = machine.opcodes["BINPERSID"] + machine.opcodes["PERSID"]
    is_plain = SAFE_OPCODES.issuperset(machine.opcodes)
    return Scan(imports, machine.protocol, num_tensors, tuple(machine.doubts), is_plain)


class _Bounded:
    """What `pickletools` reads of a file; asked for more than there is, it takes no memory for that."""

    def __init__(self, file: IO[bytes]) -> None:
        place = file.tell()
        self._end = file.seek(0, 2)
        file.seek(place)
        self._file = file
        self.tell, self.readline = file.tell, file.readline

    def read(self, size: int) -> bytes:
        """Return so many bytes, or all that are left."""
        return self._file.read(min(size, self._end - self._file.tell()))


def _follow(file: Any, machine: _Machine) -> None:
    for count, (opcode, arg, place) in enumerate(pickletools.genops(file)):
        machine.step(opcode, arg, place or 0)
        if opcode.name in ("GLOBAL", "INST") and file.tell() - (place or 0) != len(str(arg)) + _LINE_ENDS:
            machine.doubts["a name with a backslash in it"] = None  # pickletools takes it for an escape, and Python not
        if count >= _MAX_OPCODES:
            machine.doubts["more than could be read through"] = None
            return


def scan_pickles(file: IO[bytes], limit: int = _MAX_PICKLES) -> list[Scan]:
    """Follow the pickles that stand one after the other, up to a damaged one, or to what begins as no pickle."""
    scans: list[Scan] = []
    while len(scans) < limit:
        place = file.tell()
        start = file.read(1)
        file.seek(place)
        if not start or start[0] not in _STARTS:
            break
        scans.append(scan_pickle(file))
        if scans[-1].doubts:
            break
    return scans


def join_scans(scans: Iterable[Scan]) -> Scan:
    """Return what several pickles do together."""
    scans = list(scans)
    imports = tuple(sorted({name for scan in scans for name in scan.imports}, key=_rank))
    doubts = tuple(dict.fromkeys(doubt for scan in scans for doubt in scan.doubts))
    protocol = max((scan.protocol for scan in scans), default=0)
    num_tensors = sum(scan.num_tensors for scan in scans)
    return Scan(imports, protocol, num_tensors, doubts, all(scan.is_plain for scan in scans))


def is_dangerous(name: str) -> bool:
    """Say whether a name is known for running code or touching files.

    >>> is_dangerous("posix.system"), is_dangerous("builtins.list"), is_dangerous("torch.nn.modules.linear.Linear")
    (True, False, False)
    """
    module, _, last = name.rpartition(".")
    if name in SAFE or (module == "builtins" and last in HARMLESS_BUILTINS):
        return False
    return any(part in DANGEROUS for part in _prefixes(name))


def _prefixes(name: str) -> Iterator[str]:
    """Yield "a", "a.b", "a.b.c" of "a.b.c"."""
    parts = name.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _rank(name: str) -> tuple[int, str]:
    """Order names: the dangerous, the unknown, those of every model."""
    if is_dangerous(name):
        return 0, name
    return (2 if name in SAFE or name.startswith(USUAL) else 1), name


def list_names(names: Collection[str], most: int = 8) -> str:
    """Return names in one line, in their order.

    >>> list_names(["os.system", "builtins.eval", "a.B"], most=2)
    'os.system, builtins.eval and 1 more'
    """
    shown = list(names)[:most]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown) + more


def looks_like_pickle(start: bytes, scans: list[Scan]) -> bool:
    """Say whether what begins so, and was followed so, is a pickle.

    Protocols 2 and up say so; before them, any text may begin like one, but does not end like one.
    """
    return bool(scans) and (start[0] == 0x80 or not scans[0].doubts)


def find_first_number(start: bytes) -> int | None:
    """Return the number that the pickle at the start of a file is, None where it is no number."""
    try:
        return next((arg for opcode, arg, _ in pickletools.genops(start) if opcode.name.startswith("LONG")), None)
    except ValueError:
        return None
