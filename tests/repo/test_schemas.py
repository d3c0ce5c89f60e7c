"""The JSON Schemas: valid, and those that editors and `force` use are the committed ones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from pipeline.documents import parse_yaml
from pipeline.project import Project
from pipeline.syncing import PARAMS_SCHEMA, render_generated
from pipeline.validation import SCHEMAS_DIR
from tests.checkouts import ROOT

SCHEMA_PATHS = sorted(SCHEMAS_DIR.glob("*.schema.json"))
EXPERIMENT_PATHS = sorted((ROOT / "experiments").glob("*/experiment.yaml"))
SCHEMA_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")


def read_json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def find_schema(path: Path) -> Path:
    """Return the schema that the first line of a YAML file names."""
    match = SCHEMA_LINE.fullmatch(path.read_text().splitlines()[0])
    assert match, f"{path} does not name its schema"
    return (path.parent / match[1]).resolve()


def validate_as_editors_do(path: Path) -> list[str]:
    """Return the faults of a YAML file against the schema that it names, references followed by file."""
    resources = [(schema.as_uri(), Resource.from_contents(read_json(schema))) for schema in SCHEMA_PATHS]
    registry = Registry().with_resources(resources)
    validator = Draft202012Validator({"$ref": find_schema(path).as_uri()}, registry=registry)
    return [error.message for error in validator.iter_errors(parse_yaml(path.read_bytes(), str(path)))]


def test_schemas_are_found() -> None:
    names = {path.name.partition(".")[0] for path in SCHEMA_PATHS}
    assert {"experiment", "params", "metrics", "certificate", "outcome", "run", "metadata"} <= names


@pytest.mark.parametrize("path", SCHEMA_PATHS, ids=lambda path: path.name)
def test_schema_is_valid_when_it_is_read_as_draft_2020_12(path: Path) -> None:
    schema = read_json(path)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["title"]
    Draft202012Validator.check_schema(schema)


def test_schema_of_the_params_is_the_one_that_sync_would_write() -> None:
    project = Project(ROOT)
    texts = render_generated(project.experiments, {}, project.ownership({}))
    assert (ROOT / PARAMS_SCHEMA).read_text() == texts[PARAMS_SCHEMA]


def test_experiments_are_found() -> None:
    assert len(EXPERIMENT_PATHS) >= 5


@pytest.mark.parametrize("path", [*EXPERIMENT_PATHS, ROOT / "params.yaml"], ids=lambda path: path.parent.name)
def test_file_is_sound_when_it_is_checked_against_the_schema_that_it_names(path: Path) -> None:
    assert find_schema(path) in SCHEMA_PATHS
    assert validate_as_editors_do(path) == []


def test_editors_mark_the_fault_when_a_param_is_of_the_wrong_type(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    schema = SCHEMAS_DIR / "experiment.schema.json"
    path.write_text(f"# yaml-language-server: $schema={schema}\nparams: {{train: {{accumulate: many}}}}\n")
    assert validate_as_editors_do(path) == ["'many' is not of type 'integer'"]


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*/model.json")), ids=lambda path: path.parent.name)
def test_model_is_sound_when_it_is_checked_against_the_schema_that_it_names(path: Path) -> None:
    model = read_json(path)
    schema = (path.parent / model["$schema"]).resolve()
    assert schema in SCHEMA_PATHS
    assert Draft202012Validator(read_json(schema)).is_valid(model)
