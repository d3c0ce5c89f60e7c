"""Which params a component takes: the fields of its `Config` as JSON Schema, with the dataclasses that they name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.components import SECTIONS, Component
from pipeline.errors import ConfigError, Problem
from pipeline.modules import ModuleGraph
from pipeline.params import INIT_FROM, INIT_MAP

# The schemas of what every component takes in its section, and no Config gets.
RESERVED_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "model": {
        INIT_FROM: {"anyOf": [{"type": "string", "x-built-model": True}, {"type": "null"}]},
        INIT_MAP: {
            "anyOf": [
                {"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                {"type": "null"},
            ]
        },
    }
}

_NEEDS_A_LOOK = {"x-choice", "x-built-model", "x-data-path", "required"}  # once params are merged
_TYPES = {"object": dict, "array": list, "string": str}
_ClassId = tuple[str, str]  # path and name


@dataclass(frozen=True)
class Section:
    """What a section of the params may hold where one component is in use."""

    config: _ClassId | None  # the Config that says so
    fields: Mapping[str, Any]  # name → {schema, required}
    schema: Mapping[str, Any]  # of the whole, once merged
    overrides: Mapping[str, Any]  # of what one experiment sets: nothing is required
    is_plain: bool  # no choices, built models or required keys inside its fields


class Node(NamedTuple):
    """A part of a section that has to be looked at once it is merged."""

    path: tuple[str | int, ...]  # in the params, the section first
    schema: Mapping[str, Any]
    value: Any

    @property
    def kind(self) -> str:
        """The kind of a choice, else empty."""
        return str(self.schema.get("x-choice", ""))

    @property
    def key(self) -> str:
        """The path as a dotted key."""
        return ".".join(map(str, self.path))


class Configs:
    """The sections of the params that components take, each read once."""

    def __init__(self, modules: ModuleGraph) -> None:
        self._modules = modules
        self._found: dict[_ClassId, _ClassId | None] = {}
        self._sections: dict[tuple[str, _ClassId | None], Section] = {}

    def section(self, name: str, components: Mapping[str, Component]) -> Section:
        """Return what the section `name` may hold. Raises ConfigError for a Config that cannot be built."""
        component = components[SECTIONS[name].name]
        config = self._find(component.path, component.class_name)
        if (name, config) not in self._sections:
            self._sections[name, config] = self._build(name, config)
        return self._sections[name, config]

    def _build(self, name: str, config: _ClassId | None) -> Section:
        fields = self._read_fields(*config, frozenset([config])) if config else {}
        reserved = {
            key: {"schema": schema, "required": False} for key, schema in RESERVED_SCHEMAS.get(name, {}).items()
        }
        if config and (taken := sorted(set(fields) & set(reserved))):
            line = self._modules.facts(config[0])["classes"][config[1]]["line"]
            message = f"'{config[1]}' has a field '{taken[0]}', a key that section '{name}' has for every component"
            raise ConfigError([Problem(config[0], line, 1, message, "rename the field")])
        fields = {**fields, **reserved}
        schema = build_section_schema(fields)
        return Section(config, fields, schema, _drop_required(schema), _is_plain(schema))

    def _find(self, path: str, name: str) -> _ClassId | None:
        """Return the Config beside a class, or beside the nearest class that it extends."""
        if (path, name) not in self._found:
            self._found[path, name] = self._search(path, name)
        return self._found[path, name]

    def _search(self, path: str, name: str) -> _ClassId | None:
        config = self._modules.resolve(path, "Config")
        if config[0]:
            return config
        for dotted in self._modules.facts(path)["classes"][name]["bases"]:
            base = self._modules.resolve(path, dotted, imported=dotted == name)
            if base[0] and (found := self._find(*base)):
                return found
        return None

    def _read_fields(self, path: str, name: str, seen: frozenset[_ClassId]) -> dict[str, Any]:
        """Return the fields of a dataclass, those of its bases first; `seen` are the classes that it stands in."""
        facts = self._modules.facts(path)["classes"][name]
        if facts["fields"] and not facts["is_dataclass"]:
            hint = f"write @dataclass(frozen=True) above `class {name}`"
            raise ConfigError([Problem(path, facts["line"], 1, f"'{name}' has fields, but is no dataclass", hint)])
        fields: dict[str, Any] = {}
        for dotted in facts["bases"]:
            base = self._modules.resolve(path, dotted, imported=dotted == name)
            if base[0]:
                fields |= self._read_fields(*base, seen)
        for field, found in facts["fields"].items():
            if "default_at" in found:
                line, column = found["default_at"]
                message = f"the default of '{field}' may name a built model, and only params make one an input"
                raise ConfigError([Problem(path, line, column, message, "make it None, and set it in params")])
            fields[field] = {"schema": self._resolve(found["schema"], path, seen), "required": found["required"]}
        return fields

    def _resolve(self, schema: Mapping[str, Any], path: str, seen: frozenset[_ClassId]) -> dict[str, Any]:
        """Return a schema with the schema of each class in place of its name, which the file at `path` knows."""
        if "x-package" in schema:
            return {**schema, "x-members": self._list_members(schema["x-package"], tuple(schema["x-base"]), seen)}
        if "x-class" in schema:
            return self._describe_class(self._modules.resolve(path, schema["x-class"]), seen)
        resolved = dict(schema)
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                resolved[key] = self._resolve(schema[key], path, seen)
        for key in ("anyOf", "prefixItems"):
            if key in schema:
                resolved[key] = [self._resolve(option, path, seen) for option in schema[key]]
        return resolved if all(resolved.get("anyOf", [True])) else {}

    def _list_members(self, package: str, base: _ClassId, seen: frozenset[_ClassId]) -> dict[str, Any]:
        """Return what a choice may name: module of a package → {file, arguments, required} of the class in it."""
        members = {}
        for name in sorted(self._modules.list_package(package)):
            path = self._modules.find(f"{package}.{name}") or ""
            classes = self._modules.facts(path)["classes"] if path.endswith(f"/{name}.py") else {}
            found = [class_name for class_name in classes if self._modules.is_subclass(path, class_name, base)]
            if not classes:
                continue
            if len(found) != 1:
                message = f"defines {len(found)} subclasses of {base[1]}, wanted exactly one"
                raise ConfigError([Problem(path, 1, 1, message)])
            fields = self._read_fields(path, found[0], seen)
            members[name] = {
                "file": path,
                "arguments": {field: fields[field]["schema"] for field in fields},
                "required": [field for field in fields if fields[field]["required"]],
            }
        return members

    def _describe_class(self, class_id: _ClassId, seen: frozenset[_ClassId]) -> dict[str, Any]:
        """Return the schema of a dataclass, closed; of any other class, and of what is not ours, one of anything."""
        if not class_id[0] or not self._is_dataclass(*class_id):
            return {}
        if class_id in seen:  # it holds itself: one level is checked
            return {"type": "object"}
        fields = self._read_fields(*class_id, seen | {class_id})
        required = [name for name, field in fields.items() if field["required"]]
        return build_section_schema(fields) | ({"required": required} if required else {})

    def _is_dataclass(self, path: str, name: str) -> bool:
        facts = self._modules.facts(path)["classes"].get(name)
        if facts is None or facts["is_dataclass"] or facts["fields"]:
            return bool(facts and facts["is_dataclass"])
        bases = (self._modules.resolve(path, dotted, imported=dotted == name) for dotted in facts["bases"])
        return any(base[0] and self._is_dataclass(*base) for base in bases)


def build_section_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a mapping that may hold exactly these fields."""
    properties = {name: field["schema"] for name, field in fields.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def find_nodes(schema: Mapping[str, Any], value: Any, path: tuple[str | int, ...]) -> Iterator[Node]:
    """Yield the choices, built models, paths of data and mappings with required keys in `value`, which is at `path`."""
    if "anyOf" in schema:
        schema = next((option for option in schema["anyOf"] if _fits(option, value)), {})
    if not _fits(schema, value):
        return
    if not _NEEDS_A_LOOK.isdisjoint(schema):
        yield Node(path, schema, value)
    if isinstance(value, dict):
        if member := schema.get("x-members", {}).get(value.get("name")):
            schema = {"properties": member["arguments"]}
        others = schema.get("additionalProperties")
        for key, member in value.items():
            inner = schema.get("properties", {}).get(key, others)
            if isinstance(inner, dict):
                yield from find_nodes(inner, member, (*path, key))
    elif isinstance(value, list):
        first = schema.get("prefixItems", [])
        for place, member in enumerate(value):
            inner = first[place] if place < len(first) else schema.get("items", {})
            yield from find_nodes(inner, member, (*path, place))


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Say whether a schema is of the mapping, list or text that a value is."""
    wanted = _TYPES.get(schema.get("type", ""))
    return wanted is not None and isinstance(value, wanted)


def takes(schema: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Say whether a schema has a place for a value at `path`."""
    if not path or not schema:
        return True
    if "anyOf" in schema:
        return any(takes(option, path) for option in schema["anyOf"])
    if "x-choice" in schema:
        return True
    inner = schema.get("properties", {}).get(path[0], schema.get("additionalProperties", "type" in schema))
    if isinstance(inner, dict):
        return takes(inner, path[1:])
    return schema.get("type") == "object" and bool(inner)


def _drop_required(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that a part of a mapping fits, too. Lists are never merged, and stay as they are."""
    kept = {key: value for key, value in schema.items() if key != "required"}
    if "properties" in kept:
        kept["properties"] = {name: _drop_required(field) for name, field in kept["properties"].items()}
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = _drop_required(kept["additionalProperties"])
    if "anyOf" in kept:
        kept["anyOf"] = [_drop_required(option) for option in kept["anyOf"]]
    return kept


def _is_plain(schema: Any) -> bool:
    """Say whether nothing in a schema has to be looked at once params are merged."""
    if isinstance(schema, Mapping):
        return _NEEDS_A_LOOK.isdisjoint(schema) and all(map(_is_plain, schema.values()))
    return all(map(_is_plain, schema)) if isinstance(schema, list) else True
