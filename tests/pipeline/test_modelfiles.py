"""What a model file is, by its content, and whether it is trusted."""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from common.model_files import pretrained as reading
from pipeline.errors import ConfigError
from pipeline.modelfiles import detect, find_code_key
from pipeline.modelforms import Form, ModelFile, check_trust, hash_file
from tests.payloads import FILES, RUNS, wrap_archive, wrap_legacy, write_all

STATE = {"weight": torch.zeros(2, 3), "bias": torch.ones(2)}


def field(number: int, value: bytes | int) -> bytes:
    """Return a field of a protobuf message."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)


def make_onnx(*locations: str) -> bytes:
    """Return an ONNX model of one node, with a tensor in each of these places."""
    tensors = b"".join(
        field(5, field(8, b"w") + field(13, field(1, b"location") + field(2, place.encode())) + field(14, 1))
        for place in locations
    )
    graph = field(1, field(4, b"Relu")) + field(2, b"graph") + tensors
    return field(1, 8) + field(2, b"pytorch") + field(7, graph) + field(8, field(2, 18))


def make_safetensors(header: Any, data: bytes = b"") -> bytes:
    """Return a safetensors file with a header that may be text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


def make_zip(*names: str, data: bytes = b"x") -> bytes:
    """Return an archive with members of these names."""
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w") as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


def make_state(**options: Any) -> bytes:
    """Return what torch.save makes of a state."""
    content = io.BytesIO()
    torch.save(STATE, content, **options)
    return content.getvalue()


def make_module(**options: Any) -> bytes:
    """Return what torch.save makes of a whole module."""
    content = io.BytesIO()
    torch.save(nn.Linear(3, 2), content, **options)
    return content.getvalue()


def make_script() -> bytes:
    """Return a TorchScript program, which writes a file when it runs."""

    class Writer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "written")
            return x

    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Writer()), content)
    return content.getvalue()


def make_export() -> bytes:
    """Return an exported program."""
    content = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),)), content)
    return content.getvalue()


def make_tensors(tmp_path: Path) -> bytes:
    """Return a safetensors file."""
    save_file(STATE, tmp_path / "made.safetensors")
    return (tmp_path / "made.safetensors").read_bytes()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _detect(tmp_path: Path, content: bytes, name: str = "model.any") -> ModelFile:
    (tmp_path / name).write_bytes(content)
    return detect(tmp_path / name, name)


def _fault(tmp_path: Path, content: bytes, name: str = "model.any") -> str:
    with pytest.raises(ConfigError) as caught:
        _detect(tmp_path, content, name)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(f"{name}: ")
    return caught.value.message


@pytest.mark.parametrize(
    ("make", "form", "description"),
    [
        (make_state, Form.TORCH_STATE, "a PyTorch state of 2 tensors, "),
        (lambda: make_state(_use_new_zipfile_serialization=False), Form.TORCH_STATE, "a PyTorch state of 2 tensors, "),
        (make_module, Form.TORCH_MODULE, "a PyTorch file with code, "),
        (lambda: make_module(pickle_protocol=5), Form.TORCH_MODULE, "a PyTorch file with code, "),
        (lambda: make_module(_use_new_zipfile_serialization=False), Form.TORCH_MODULE, "a PyTorch file of before 1.6"),
        (lambda: pickle.dumps(nn.Linear(3, 2), 0), Form.TORCH_MODULE, "a pickle of protocol 0, "),
        (lambda: pickle.dumps(nn.Linear(3, 2), 4), Form.TORCH_MODULE, "a pickle of protocol 4, "),
        (make_script, Form.TORCHSCRIPT, "a TorchScript program, "),
        (make_export, Form.TORCH_EXPORT, "an exported PyTorch program, "),
        (make_onnx, Form.ONNX, "an ONNX graph of 1 nodes by pytorch, 32 B"),
        (
            lambda: make_zip("config.json", "model.weights.h5", "metadata.json", data=b"{}"),
            Form.KERAS,
            "a Keras model, ",
        ),
        (lambda: make_safetensors({}), Form.SAFETENSORS, "0 tensors of 0 numbers in safetensors, 10 B"),
        (lambda: b"", Form.UNKNOWN, "an empty file, 0 B"),
        (lambda: b"import os\n", Form.UNKNOWN, "no model file that is known here, 10 B"),
        (lambda: b"\x89HDF\r\n\x1a\nxxx", Form.UNKNOWN, "an HDF5 file"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\n", Form.UNKNOWN, "a pointer of Git LFS"),
        (lambda: make_zip("a/data.txt"), Form.UNKNOWN, "a zip archive of 1 files"),
        (lambda: make_zip("m/data/aotinductor/m/x.so"), Form.UNKNOWN, "an archive of compiled code"),
    ],
)
def test_form_is_found_by_content(make: Callable[[], bytes], form: Form, description: str, tmp_path: Path) -> None:
    found = _detect(tmp_path, make())
    assert found.form is form
    assert found.description.startswith(description)
    assert found.files == (tmp_path / "model.any",)


def test_tensors_are_counted(tmp_path: Path) -> None:
    assert _detect(tmp_path, make_tensors(tmp_path)).description == "2 tensors of 8 numbers in safetensors, 160 B"


def test_what_a_program_would_use_is_listed(tmp_path: Path) -> None:
    assert _detect(tmp_path, make_script()).globals == ("torch.save",)
    assert "torch.nn.modules.linear.Linear" in _detect(tmp_path, make_module()).globals
    assert _detect(tmp_path, make_export()).globals == ()


def test_a_text_that_an_exported_program_would_have_evaluated_is_listed(tmp_path: Path) -> None:
    content = io.BytesIO()
    evil = json.dumps(
        {"sizes": [{"as_expr": {"expr_str": "__import__('os').system('x')"}}], "target": "torch.hub.load"}
    )
    with zipfile.ZipFile(io.BytesIO(make_export())) as source, zipfile.ZipFile(content, "w") as target:
        for each in source.namelist():
            target.writestr(each, evil if each.endswith("models/model.json") else source.read(each))
    found = _detect(tmp_path, content.getvalue())
    assert found.globals == ("__import__('os').system('x')", "torch.hub.load")


def test_code_is_found_wherever_an_archive_has_it(tmp_path: Path) -> None:
    evil = RUNS["stack global"]("true")
    for member in ("data.pkl", "data/1", "notes.txt", "other/data.pkl"):
        found = _detect(tmp_path, wrap_archive(evil, member))
        assert found.form is Form.TORCH_MODULE, member
        assert found.globals[0] == "os.system"
    nested = wrap_archive(wrap_archive(evil), "extra.pt")
    assert _detect(tmp_path, nested).globals[0] == "os.system"


def test_nothing_that_brings_code_passes_untrusted_and_nothing_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    paths = write_all(tmp_path, canary)
    assert len(paths) > 150
    for path in paths:
        found = detect(path, path.name)
        assert found.form is Form.TORCH_MODULE, path
        with pytest.raises(ConfigError) as caught:
            check_trust(found, {})
        assert found.globals[0] in caught.value.message
        assert f'trust: {{"{path.name}": "{hash_file(path)}"}}' in caught.value.hint
    assert not canary.exists()


def test_a_pin_lets_in_one_file_and_no_other(tmp_path: Path) -> None:
    found = _detect(tmp_path, make_module(), "model.pt")
    pins = {"model.pt": hash_file(found.path)}
    check_trust(found, pins)
    found.path.write_bytes(make_script())
    with pytest.raises(ConfigError, match="is not the file that") as caught:
        check_trust(detect(found.path, "model.pt"), pins)
    assert pins["model.pt"] in caught.value.message
    assert hash_file(found.path) in caught.value.message


def test_what_brings_no_code_wants_no_pin(tmp_path: Path) -> None:
    check_trust(_detect(tmp_path, make_state()), {})
    check_trust(_detect(tmp_path, make_tensors(tmp_path)), {})


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": _tensor(0, 8), "b": _tensor(4, 12)}, b"x" * 12, "'b' overlaps another tensor"),
        ({"a": _tensor(0, 4), "b": _tensor(8, 12)}, b"x" * 12, "'b' follows a gap"),
        ({"a": _tensor(0, 8)}, b"x" * 4, "the tensors take 8 bytes, the file has 4"),
        ({"a": _tensor(0, 8)}, b"x" * 12, "the tensors take 8 bytes, the file has 12"),
        ({"a": {**_tensor(0, 8), "shape": [3]}}, b"x" * 8, "the offsets of 'a' do not fit its shape [3]"),
        ({"a": {**_tensor(0, 8), "shape": [-2]}}, b"x" * 8, "shape or offsets of 'a'"),
        ({"a": {**_tensor(8, 0), "shape": [2]}}, b"x" * 8, "shape or offsets of 'a'"),
        ({"a": {**_tensor(0, 8), "dtype": "X9"}}, b"x" * 8, "'a' has the unknown dtype 'X9'"),
        ({"a": {"dtype": "F32"}}, b"x" * 8, "does not say dtype, shape and offsets of 'a'"),
        ({"a": 3}, b"", "does not say dtype, shape and offsets of 'a'"),
        (b'{"a": {}, "a": {}}', b"", "the name 'a' comes twice"),
        (b'{"a":' + b"[" * 100_000, b"", "too deep"),
        (b'{"\xff": 1}', b"", "the JSON is no UTF-8"),
        (b"{ not JSON", b"", "Expecting property name"),
    ],
)
def test_a_hostile_header_of_safetensors_is_refused(header: Any, data: bytes, message: str, tmp_path: Path) -> None:
    assert message in _fault(tmp_path, make_safetensors(header, data))


@pytest.mark.parametrize("length", [2**31, 2**40, 99_999_999])
def test_a_header_longer_than_its_file_is_refused(length: int, tmp_path: Path) -> None:
    assert f"the header claims {length} bytes" in _fault(tmp_path, struct.pack("<Q", length) + b'{"a":')


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("m/data.pkl", "../evil"), "a member that leaves it: '../evil'"),
        (("m/data.pkl", "/etc/evil"), "a member that leaves it: '/etc/evil'"),
        (("m/data.pkl", "m/../../evil"), "a member that leaves it"),
        (("m/data.pkl", "C:/evil"), "a member that leaves it"),
        (("m/data.pkl", "m\\..\\evil"), "a member that leaves it"),
        (("m/data.pkl", "m/data.pkl"), "has 'm/data.pkl' twice"),
    ],
)
def test_names_that_leave_an_archive_are_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert message in _fault(tmp_path, make_zip(*names, data=pickle.dumps({})))


def test_an_archive_behind_something_else_is_refused(tmp_path: Path) -> None:
    assert "does not fill its file" in _fault(tmp_path, b"PK\x03\x04" + RUNS["posix"]("true") + make_state())


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        link = zipfile.ZipInfo("m/data.pkl")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "the archive has a link: 'm/data.pkl'" in _fault(tmp_path, content.getvalue())


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(80 * 1024**2))
    assert "would grow to more than 100 times its size" in _fault(tmp_path, content.getvalue())


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    content = make_zip("m/data.pkl", "m/data.pk2", data=bytes(1000))
    first = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", first + 4)
    offset = content[first + 42 : first + 46]  # both members in one place; the file loses the other's bytes
    hostile = content[:1040] + content[first : second + 42] + offset + content[second + 46 :]
    hostile = hostile[:-6] + struct.pack("<I", 1040) + hostile[-2:]
    assert "overlap" in _fault(tmp_path, hostile)


@pytest.mark.parametrize("make", [make_state, make_module, make_script, make_export, lambda: make_zip("config.json")])
def test_a_cut_archive_is_refused(make: Callable[[], bytes], tmp_path: Path) -> None:
    content = make()
    for share in (0.2, 0.5, 0.9, 0.99):
        assert "the archive is damaged" in _fault(tmp_path, content[: int(len(content) * share)])


def test_a_cut_file_is_never_taken_for_whole(tmp_path: Path) -> None:
    tensors, onnx, legacy = make_tensors(tmp_path), make_onnx(), make_state(_use_new_zipfile_serialization=False)
    assert "the header claims" in _fault(tmp_path, tensors[:50])
    assert "the tensors take" in _fault(tmp_path, tensors[:-1])
    assert "in the middle" in _fault(tmp_path, onnx[:-3])
    assert _detect(tmp_path, legacy[:300]).needs_trust
    index = legacy.index(pickle.dumps(["x"], 2)[:2], len(legacy) - 120)
    assert "cut off" in _fault(tmp_path, legacy[:index])


@pytest.mark.parametrize(
    "place", ["../w.bin", "/etc/passwd", "a/../../w.bin", "C:\\w.bin", "missing.bin", "", "link.bin"]
)
def test_onnx_may_not_reach_out_of_its_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"x")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "m.onnx").write_bytes(make_onnx(place))
    with pytest.raises(ConfigError) as caught:
        detect(folder / "m.onnx", "m.onnx")
    assert place in caught.value.message


def test_onnx_is_made_of_its_tensors_files_too(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x" * 8)
    found = _detect(tmp_path, make_onnx("weights.bin", "weights.bin"))
    assert found.files == (tmp_path / "model.any", tmp_path / "weights.bin")


def test_graphs_without_end_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(60):
        graph = field(1, field(5, field(6, graph)))
    assert "deep" in _fault(tmp_path, field(1, 8) + field(7, graph))


def _index(**shards: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": shards}).encode()


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    files = {
        "model.safetensors.index.json": _index(weight="a.safetensors", bias="b.bin"),
        "a.safetensors": make_tensors(tmp_path),
        "b.bin": make_state(),
    }
    folder = write(tmp_path / "sharded", files)
    assert detect(folder).form is Form.SHARDED
    found = detect(folder / "model.safetensors.index.json")
    assert found.form is Form.SHARDED
    assert {path.name for path in found.files} == set(files)


@pytest.mark.parametrize("shard", ["../out.bin", "/etc/passwd", "missing.bin", "link.bin"])
def test_shards_of_elsewhere_are_refused(shard: str, tmp_path: Path) -> None:
    (tmp_path / "out.bin").write_bytes(make_state())
    folder = write(tmp_path / "sharded", {"m.index.json": _index(weight=shard)})
    (folder / "link.bin").symlink_to(tmp_path / "out.bin")
    for path in (folder, folder / "m.index.json"):
        with pytest.raises(ConfigError, match="link.bin" if path.is_dir() else shard):
            detect(path)


def test_shards_with_code_are_refused_pin_or_not(tmp_path: Path) -> None:
    shard = wrap_archive(RUNS["posix"]("true"))
    folder = write(tmp_path / "sharded", {"m.index.json": _index(weight="a.bin"), "a.bin": shard})
    with pytest.raises(ConfigError, match=r"'a.bin' is no state but .* would use posix\.system"):
        detect(folder)


def test_folders_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    tensors, config = make_tensors(tmp_path), b'{"architectures": ["BertModel"]}'
    pretrained = {"config.json": config, "model.safetensors": tensors, ".cache/x": b""}
    built = {
        "model.json": b'{"class": "ConvNet", "config": {}}',
        "weights.safetensors": tensors,
        "metadata.json": b"{}",
    }
    found = detect(write(tmp_path / "pretrained", pretrained))
    assert found.form is Form.HUGGINGFACE
    assert found.description == "a pretrained BertModel of transformers, 192 B"
    assert [path.name for path in found.files] == ["config.json", "model.safetensors"]
    assert detect(write(tmp_path / "built", built)).description == "a built ConvNet of 2 tensors, 196 B"
    keras = {"config.json": b"{}", "model.weights.h5": b"x", "metadata.json": b"{}"}
    assert detect(write(tmp_path / "keras", keras)).form is Form.KERAS
    assert detect(write(tmp_path / "tensorflow", {"saved_model.pb": b"x"})).form is Form.UNKNOWN
    assert detect(write(tmp_path / "other", {"x": b"x"})).form is Form.UNKNOWN


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"text_config": [{"auto_map": {}}]},
        {"trust_remote_code": True},
        {"_attn_implementation": "evil/kernels"},
    ],
)
def test_a_pretrained_model_that_asks_for_code_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": make_tensors(tmp_path)}
    with pytest.raises(ConfigError, match="asks for code of its own"):
        detect(write(tmp_path / "pretrained", files))


def test_a_link_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "pretrained", {"config.json": b"{}"})
    (tmp_path / "secret").write_bytes(make_tensors(tmp_path))
    (folder / "model.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match=r"'model.safetensors' is a link out of its folder"):
        detect(folder)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError):
        detect(tmp_path)


def test_what_is_not_there_or_no_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.pt: no such file"):
        detect(tmp_path / "model.pt", "model.pt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        detect(tmp_path / "pipe", "pipe")


STARTS = [
    b"PK\x03\x04",
    b"\x80\x02",
    b"\x80\x04\x95",
    b"\x08\x08",
    b"\x10\0\0\0\0\0\0\0{",
    b"{",
    b"c",
    b"(",
    b"\x89HDF",
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", *STARTS]), st.binary(max_size=200), st.sampled_from(["m.pt", "m.index.json"]))
def test_random_bytes_are_known_or_refused_in_words(start: bytes, rest: bytes, name: str) -> None:
    with TemporaryDirectory() as folder:
        _expect_words(Path(folder) / name, start + rest)


@cache
def make_valid() -> list[bytes]:
    """Return one sound file of each form."""
    makes = (make_state, make_module, make_script, make_export, make_onnx, lambda: pickle.dumps(nn.Linear(3, 2)))
    legacy = make_state(_use_new_zipfile_serialization=False)
    payloads = [wrap(RUNS["stack global"]("true")) for wrap in FILES.values()]
    tensors = make_safetensors({"a": _tensor(0, 8)}, bytes(8))
    return [*(make() for make in makes), legacy, tensors, *payloads, wrap_legacy(b"N.")]


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 20), CHANGES, st.booleans())
def test_changed_files_are_known_or_refused_in_words(
    index: int, changes: list[tuple[float, bytes]], inserts: bool
) -> None:
    valid = make_valid()
    content = bytearray(valid[index % len(valid)])
    for share, patch in changes:
        place = int(share * len(content))
        content[place : place + (0 if inserts else max(len(patch), 1))] = patch
    with TemporaryDirectory() as folder:
        _expect_words(Path(folder) / "changed", bytes(content))


def test_a_text_that_is_said_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    found = _detect(tmp_path, b"\x80\x04cos\nsystem\n\x8d" + (2**62).to_bytes(8, "little") + b"abc.")
    assert found.globals == ("what stands behind damage", "os.system")


def _expect_words(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        words = detect(path, "model.any").description
    except ConfigError as error:
        words = error.message.partition("model.any: ")[2]
    assert words


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"auto_map": {"AutoModel": "x.Net"}},
        {"text": [{"custom_pipelines": {}}]},
        {"trust_remote_code": True},
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "sdpa"},
    ],
)
def test_what_is_detected_as_code_is_what_loading_refuses(config: dict[str, Any]) -> None:
    """Neither may know the other: planning has no torch, and common no tooling."""
    assert find_code_key(config) == reading.find_code_key(config)
