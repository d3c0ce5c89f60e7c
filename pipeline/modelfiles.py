"""Say what a model file or folder is, by its content, without loading it."""

import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

from pipeline.archives import check_members, open_archive
from pipeline.errors import ConfigError, Problem
from pipeline.folders import check_inside, find_inside, list_inside
from pipeline.modelforms import PROGRAMS, Form, ModelFile, describe_size, hash_file
from pipeline.onnxfiles import find_external, looks_like_onnx, read_onnx
from pipeline.pickles import Scan, find_first_number, join_scans, list_names, looks_like_pickle, scan_pickles
from pipeline.tensorfiles import looks_like_tensors, parse_json, read_tensor_places

_MAX_JSON = 100 * 1024**2  # bytes
_MAX_ODD_PICKLE = 16 * 1024**2  # bytes of a member of an archive that may be a pickle under another name
_MAX_NESTED = 3  # archives within archives
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # begins what torch.save wrote before it wrote archives
_LEGACY_PICKLES = 5
_PICKLE_NAMES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".debug_pkl")
# What TorchScript calls to reach files and the network, as it stands in its code; `ops.` are those of other libraries.
_SCRIPT_CALLS = re.compile(rb"\b(torch\.(?:save|load|from_file)|ops\.(?!prim\.)[a-z_0-9]+\.\w+|rpc_\w+)\(")
_EXPORT_TARGETS = re.compile(rb'"target"\s*:\s*"([^"\\]{1,200})"')
_EXPORT_PLAIN = re.compile(
    rb"torch\.ops\.(aten|prims|higher_order)\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+"
)
_EXPORT_TEXTS = re.compile(rb'"expr_str"\s*:\s*"([^"]*(?:__|lambda|import|eval|exec|open)[^"]*)"')
# What people put here by mistake, by how it begins.
_FOREIGN = {
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched (git lfs pull)",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; Keras 3 saves whole models as .keras",
    b"GGUF": "a GGUF file, which PyTorch does not train",
    b"\x93NUMPY": "an array of NumPy",
    b"PK\x05\x06": "an empty archive",
}
_WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def detect(path: Path, name: str = "") -> ModelFile:
    """Say what a model file or folder is. `name` is what messages call it.

    Raises ConfigError for one that is not there, is damaged, or reaches for files that are not its own.
    """
    name = name or str(path)
    try:
        return _detect_folder(path, name) if path.is_dir() else _detect_file(path, name)
    except FileNotFoundError:
        raise ConfigError([Problem(name, 0, 0, "no such file")]) from None
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(name, 0, 0, f"cannot be read as a model: {reason}")]) from error


def _detect_file(path: Path, name: str) -> ModelFile:
    if not path.is_file():
        path.stat()  # raises FileNotFoundError
        raise ValueError("it is neither a file nor a folder")
    with path.open("rb") as file:
        start = file.read(512)
    form, description, files, names = _read_file(path, start)
    sized = f"{description}, {describe_size(files)}"
    if form not in PROGRAMS:
        return ModelFile(path, name, form, files, sized, names)
    return ModelFile(path, name, form, files, sized, names, names, path, hash_file(path))


def _read_file(path: Path, start: bytes) -> tuple[Form, str, tuple[Path, ...], tuple[str, ...]]:
    """Return form, description, files and findings of a file that begins so."""
    if start.startswith(b"PK\x03\x04"):
        form, description, names = _read_archive(path)
        return form, description, (path,), names
    foreign = next((text for begin, text in _FOREIGN.items() if start.startswith(begin)), None)
    if foreign or not start:
        return Form.UNKNOWN, foreign or "an empty file", (path,), ()
    if start[257:262] == b"ustar":
        return Form.UNKNOWN, "a tar archive, as PyTorch wrote before 0.1.10; save it again", (path,), ()
    if looks_like_tensors(start):
        places = read_tensor_places(path)
        numbers = sum(prod(place.shape) for place in places)
        return Form.SAFETENSORS, f"{len(places)} tensors of {numbers:,} numbers in safetensors", (path,), ()
    if start.lstrip()[:1] == b"{" and path.name.endswith(".json"):
        shards = read_index(path)
        _refuse_unsafe_states(shards)
        return Form.SHARDED, f"a state in {len(shards)} shards", (path, *shards), ()
    if looks_like_onnx(start):
        onnx = read_onnx(path)
        files = (path, *find_external(path, onnx))
        by = f" by {onnx.producer}" if onnx.producer else ""
        return Form.ONNX, f"an ONNX graph of {onnx.num_nodes} nodes{by}", files, ()
    return _read_pickles(path, start)


def _read_pickles(path: Path, start: bytes) -> tuple[Form, str, tuple[Path, ...], tuple[str, ...]]:
    is_legacy = find_first_number(start) == _LEGACY_MAGIC
    with path.open("rb") as file:
        scans = scan_pickles(file, _LEGACY_PICKLES) if is_legacy else scan_pickles(file)
    if not looks_like_pickle(start, scans):
        return Form.UNKNOWN, "no model file that is known here", (path,), ()
    scan = join_scans(scans)
    if is_legacy and scan.is_safe:
        if len(scans) < _LEGACY_PICKLES:
            raise ValueError("the PyTorch file is cut off")
        return Form.TORCH_STATE, _describe_state(scan), (path,), ()
    description = "a PyTorch file of before 1.6 with code" if is_legacy else f"a pickle of protocol {scan.protocol}"
    return Form.TORCH_MODULE, description, (path,), scan.findings


def _describe_state(scan: Scan) -> str:
    return f"a PyTorch state of {scan.num_tensors} tensors"


def _read_archive(path: Path) -> tuple[Form, str, tuple[str, ...]]:
    """Return form, description and findings of a zip archive."""
    with open_archive(path) as archive:
        names = archive.namelist()
        inner = {name.partition("/")[2] for name in names}  # torch puts all below one folder
        if "constants.pkl" in inner:
            return Form.TORCHSCRIPT, "a TorchScript program", _find_script_calls(archive)
        if _is_export(names, inner):
            return Form.TORCH_EXPORT, "an exported PyTorch program", _find_export_calls(archive)
        if {"config.json", "model.weights.h5"} <= set(names):
            parse_json(_read_member(archive, "config.json"))
            return Form.KERAS, "a Keras model", ()
        if "data.pkl" not in inner:
            what = "an archive of compiled code" if any("aotinductor" in name for name in names) else "a zip archive"
            return Form.UNKNOWN, f"{what} of {len(names)} files, no model that is known here", ()
        scan = join_scans(_scan_members(archive))
        if scan.is_safe:
            return Form.TORCH_STATE, _describe_state(scan), ()
        return Form.TORCH_MODULE, "a PyTorch file with code", scan.findings or (f"pickle protocol {scan.protocol}",)


def _is_export(names: list[str], inner: set[str]) -> bool:
    models = any(re.fullmatch(r"models/[^/]+\.json", name) for name in inner)
    return (models and "archive_format" in inner) or "serialized_exported_program.json" in names


def _scan_members(archive: zipfile.ZipFile, depth: int = 0) -> Iterator[Scan]:
    """Yield what the pickles of an archive do, also of those that are named as something else, or in archives in it."""
    for member in archive.infolist():
        named = member.filename.endswith(_PICKLE_NAMES)
        if not named and member.file_size > _MAX_ODD_PICKLE:
            continue
        data = _read_member(archive, member.filename)
        if data.startswith(b"PK\x03\x04") and depth < _MAX_NESTED:
            with zipfile.ZipFile(BytesIO(data)) as within:
                check_members(within, len(data))
                yield from _scan_members(within, depth + 1)
            continue
        for scan in scan_pickles(BytesIO(data)):
            # Numbers that happen to begin as a pickle import nothing before they turn out to be none.
            if named or (scan.imports and (scan.protocol >= 2 or not scan.doubts)):
                yield scan


def _find_script_calls(archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Return what a TorchScript program calls beyond torch's own operators."""
    return _find_texts(archive, ".py", lambda text: _SCRIPT_CALLS.findall(text))


def _find_export_calls(archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Return what an exported program imports, calls beyond torch's operators, and would have torch evaluate."""

    def find(text: bytes) -> list[bytes]:
        targets = [target for target in _EXPORT_TARGETS.findall(text) if b"." in target]
        return [*_EXPORT_TEXTS.findall(text), *(name for name in targets if not _EXPORT_PLAIN.fullmatch(name))]

    scan = join_scans(_scan_members(archive))
    unsafe = () if scan.is_safe else scan.findings
    return tuple(dict.fromkeys((*_find_texts(archive, ".json", find), *unsafe)))


def _find_texts(archive: zipfile.ZipFile, suffix: str, find: Any) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in archive.namelist():
        if name.endswith(suffix):
            found.update((text.decode("utf-8", "replace"), None) for text in find(_read_member(archive, name)))
    return tuple(found)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_JSON:
        raise ValueError(f"'{name}' in the archive is larger than {_MAX_JSON} bytes")
    return archive.read(name)


def _detect_folder(path: Path, name: str) -> ModelFile:
    files = tuple(file for file in list_inside(path) if not _is_hidden(file.relative_to(path)))
    form, description = _read_folder(path, {file.name for file in files if file.parent == path})
    found = ModelFile(path, name, form, files, f"{description}, {describe_size(files)}")
    return _look_into_built(found) if form is Form.FORCE else found


def _look_into_built(found: ModelFile) -> ModelFile:
    """Return what is known of a built model, with the modules of its class and of what it was built from in turn."""
    rebuild = _read_json(found.path / "model.json")
    imports = (f"{rebuild.get('module')}.{rebuild.get('class')}",)
    if "file" not in rebuild:
        return replace(found, imports=imports)
    inner = found.path / str(rebuild["file"])
    check_inside(found.path, inner)
    if "sha256" in rebuild or inner.is_dir():
        source = detect(inner, f"{found.name}/{rebuild['file']}")
        return replace(
            found,
            globals=source.globals,
            imports=(*imports, *source.imports),
            program=source.program,
            sha256=source.sha256,
        )
    return replace(found, imports=imports)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _read_folder(path: Path, names: set[str]) -> tuple[Form, str]:
    """Return form and description of a folder with these files."""
    if {"model.json", "weights.safetensors"} <= names:
        kind = _read_json(path / "model.json").get("class")
        places = read_tensor_places(path / "weights.safetensors")
        return Form.FORCE, f"a built {kind} of {len(places)} tensors"
    if {"config.json", "model.weights.h5"} <= names:
        _read_json(path / "config.json")
        return Form.KERAS, "a Keras model"
    weights = next((name for name in _WEIGHTS if name in names), None)
    if "config.json" in names and weights:
        return Form.HUGGINGFACE, _read_pretrained(path, weights)
    indexes = [name for name in sorted(names) if name.endswith(".index.json")]
    if len(indexes) == 1:
        shards = read_index(path / indexes[0])
        _refuse_unsafe_states(shards)
        return Form.SHARDED, f"a state in {len(shards)} shards"
    if "saved_model.pb" in names:
        return Form.UNKNOWN, "a SavedModel of TensorFlow; Keras 3 saves whole models as .keras"
    return Form.UNKNOWN, "a folder of no form that is known here"


def _read_pretrained(path: Path, weights: str) -> str:
    """Check what `save_pretrained` of transformers wrote, and describe it."""
    config = _read_json(path / "config.json")
    if (key := find_code_key(config)) is not None:
        raise ValueError(f"config.json asks for code of its own ('{key}'), which is never run")
    shards = read_index(path / weights) if weights.endswith(".json") else [path / weights]
    _refuse_unsafe_states(shards)
    kinds = config.get("architectures")
    kind = kinds[0] if isinstance(kinds, list) and kinds else config.get("model_type", "model")
    return f"a pretrained {kind} of transformers"


def find_code_key(config: Any) -> str | None:
    """Return the key by which a config of transformers would bring code of its own, or fetch it, None without one."""
    if isinstance(config, list):
        return next((key for key in map(find_code_key, config) if key), None)
    if not isinstance(config, dict):
        return None
    for key, value in config.items():
        kernel = key in ("_attn_implementation", "attn_implementation") and "/" in str(value)
        if key in ("auto_map", "custom_pipelines", "trust_remote_code") or kernel:
            return str(key)
    return find_code_key(list(config.values()))


def read_index(path: Path) -> list[Path]:
    """Return the shards that an index names. Raises ValueError for one outside its folder, and for no index."""
    weight_map = _read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"'{path.name}' has no 'weight_map'")
    if not all(isinstance(shard, str) for shard in weight_map.values()):
        raise ValueError(f"'{path.name}' names a shard that is no text")
    return [find_inside(path.parent, shard) for shard in sorted(set(weight_map.values()))]


def _refuse_unsafe_states(shards: Iterable[Path]) -> None:
    """Check that parts of a model are tensors alone. No pin helps them: they are read as states only."""
    for shard in shards:
        part = _detect_file(shard, shard.name)
        if part.form not in (Form.SAFETENSORS, Form.TORCH_STATE):
            asks = f", which would use {list_names(part.globals)}" if part.globals else ""
            raise ValueError(f"'{shard.name}' is no state but {part.description}{asks}; save it as safetensors")


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_JSON:
        raise ValueError(f"'{path.name}' is larger than {_MAX_JSON} bytes")
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"'{path.name}' is no JSON object: {error}") from error
