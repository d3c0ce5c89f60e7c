"""Make github_openapi.json: what GitHub's own description says of the requests that we make, and nothing else.

npm pack @octokit/openapi@23.0.2
python -m tests.standins.extract_openapi octokit-openapi-23.0.2.tgz
"""

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DESCRIPTION_NAME = "github_openapi.json"
LICENSE_NAME = "github_openapi.LICENSE.txt"

OPERATIONS = {
    "/repos/{owner}/{repo}/pulls": ["get"],
    "/repos/{owner}/{repo}/issues/{issue_number}/comments": ["get", "post"],
    "/repos/{owner}/{repo}/issues/comments/{comment_id}": ["patch", "delete"],
    "/repos/{owner}/{repo}/commits/{ref}/status": ["get"],
    "/repos/{owner}/{repo}/statuses/{sha}": ["post"],
    "/user": ["get"],
}
ALSO = ["#/components/schemas/basic-error"]  # the form of those errors that the operations do not list
METADATA = ("description", "example", "externalDocs", "tags", "summary", "x-github", "x-octokit")
NAMED = ("properties", "schemas", "examples", "responses", "paths", "parameters", "headers")


def main(package: str, folder: Path = FOLDER) -> None:
    """Write the extract and the licence from the package, as npm packs it."""
    with tarfile.open(package) as archive:
        document = json.loads(_read(archive, "package/generated/api.github.com.json"))
        (folder / LICENSE_NAME).write_bytes(_read(archive, "package/LICENSE"))
    text = json.dumps(extract(document), indent=1, ensure_ascii=False)
    (folder / DESCRIPTION_NAME).write_text(f"{text}\n")


def extract(document: dict[str, Any]) -> dict[str, Any]:
    """Return a closed description of `OPERATIONS` alone: every reference that is left leads to something in it."""
    paths = {path: {verb: document["paths"][path][verb] for verb in verbs} for path, verbs in OPERATIONS.items()}
    small: dict[str, Any] = {
        "openapi": document["openapi"],
        "info": {key: document["info"][key] for key in ("title", "version", "license")},
        "servers": document["servers"],
        "paths": paths,
        "components": {},
    }
    todo = [*find_references(paths), *ALSO]
    while todo:
        _, _, kind, name = todo.pop().split("/")
        group = small["components"].setdefault(kind, {})
        if name not in group:
            group[name] = document["components"][kind][name]
            todo += find_references(group[name])
    small = drop_metadata(small)
    for responses in [small["components"]["responses"], *find_responses(small)]:
        for response in responses.values():
            if "$ref" not in response:
                response["description"] = ""  # which OpenAPI demands
    allow_lost_heads(small["components"]["schemas"])
    small["components"] = {kind: dict(sorted(group.items())) for kind, group in sorted(small["components"].items())}
    return small


def allow_lost_heads(schemas: dict[str, Any]) -> None:
    """Allow what GitHub does and its description denies: the head of a pull request may be of a fork that is gone."""
    schemas["nullable-repository"] = {**schemas["repository"], "nullable": True}
    head = schemas["pull-request-simple"]["properties"]["head"]["properties"]
    head["repo"] = {"$ref": "#/components/schemas/nullable-repository"}
    head["label"]["nullable"] = True


def find_references(node: Any) -> Iterator[str]:
    """Yield the target of every `$ref` below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from find_references(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_references(value)


def find_responses(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the responses of every operation, by status."""
    for verbs in document["paths"].values():
        for operation in verbs.values():
            yield operation["responses"]


def drop_metadata(node: Any, *, is_named: bool = False) -> Any:
    """Return a node without what is for people alone; `is_named`: its keys are names of the API's, not of OpenAPI's.

    The values of examples stay whole.

    >>> drop_metadata({"properties": {"description": {"type": "string", "description": "for people"}}})
    {'properties': {'description': {'type': 'string'}}}
    """
    if isinstance(node, list):
        return [drop_metadata(value) for value in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if is_named or key not in METADATA}
    return {
        key: value if key == "value" and not is_named else drop_metadata(value, is_named=key in NAMED and not is_named)
        for key, value in kept.items()
    }


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None, f"{name} is no file"
    return member.read()


if __name__ == "__main__":
    main(sys.argv[1])
