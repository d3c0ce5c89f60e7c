"""What breaks an OpenAPI description: of every request and response, in one line each."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from openapi_core import OpenAPI
from openapi_core.contrib.werkzeug import WerkzeugOpenAPIRequest, WerkzeugOpenAPIResponse
from openapi_core.validation.schemas.exceptions import InvalidSchemaValue
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

# GitHub lists few of the errors and redirects that it answers; all have this form, but those of the servers before it.
UNLISTED = {"application/json": {"schema": {"$ref": "#/components/schemas/basic-error"}}}
UNLISTED_BY_FAMILY = {
    "3XX": UNLISTED,
    "4XX": UNLISTED,
    "5XX": {**UNLISTED, "text/html": {"schema": {"type": "string"}}},
}

MAX_FAULT_CHARS = 200  # a fault quotes what it is in, which may be a whole page


@cache
def read_contract(path: Path) -> "Contract":
    """Read a description once for all who ask: it takes a while."""
    return Contract(json.loads(path.read_text()))


class Contract:
    """A description that requests and responses can be held against."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._operations = {
            (path, verb): operation for path, verbs in document["paths"].items() for verb, operation in verbs.items()
        }
        for operation in self._operations.values():
            for family, content in UNLISTED_BY_FAMILY.items():
                operation["responses"][family] = {"description": "", "content": content}
        self._openapi = OpenAPI.from_dict(document)
        self._routes = Map(
            [
                Rule(path.replace("{", "<").replace("}", ">"), methods=[verb], endpoint=(path, verb))
                for path, verb in self._operations
            ],
            merge_slashes=False,
        )

    def example(self, name: str) -> Any:
        """Return a copy of one of the description's own examples."""
        return json.loads(json.dumps(self.document["components"]["examples"][name]["value"]))

    def route(self, request: Request) -> tuple[str, dict[str, str]]:
        """Return the id of the operation that a sound request asks for, and what its path names."""
        key, arguments = self._match(request)
        operation_id: str = self._operations[key]["operationId"]
        return operation_id, arguments

    def find_request_faults(self, request: Request) -> list[str]:
        """Say what is wrong with a request; a name in the query that the description does not have is, too."""
        faults = [_describe(error) for error in self._openapi.iter_request_errors(self._adapt(request))]
        try:
            key, _ = self._match(request)
        except (NotFound, MethodNotAllowed):
            return faults or ["no such operation"]
        known = {self._resolve(parameter)["name"] for parameter in self._operations[key].get("parameters", [])}
        return faults + [f"unknown query parameter '{name}'" for name in request.args if name not in known]

    def find_response_faults(self, request: Request, response: Response) -> list[str]:
        """Say what is wrong with the response to a request."""
        adapted = WerkzeugOpenAPIResponse(response)
        return [_describe(error) for error in self._openapi.iter_response_errors(self._adapt(request), adapted)]

    def _match(self, request: Request) -> tuple[tuple[str, str], dict[str, str]]:
        key, arguments = self._routes.bind_to_environ(request.environ).match()
        return key, dict(arguments)

    def _adapt(self, request: Request) -> WerkzeugOpenAPIRequest:
        return _Adapted(request, self.document["servers"][0]["url"])

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        _, _, kind, name = node["$ref"].split("/")
        found: dict[str, Any] = self.document["components"][kind][name]
        return found


class _Adapted(WerkzeugOpenAPIRequest):
    """A request as if it had been sent to the server of the description."""

    def __init__(self, request: Request, server: str) -> None:
        super().__init__(request)
        self._server = server

    @property
    def host_url(self) -> str:
        return self._server


def _describe(error: BaseException) -> str:
    """Return an error with those below it, from the general to the particular."""
    if isinstance(error, InvalidSchemaValue):
        return "; ".join(f"{problem.json_path}: {problem.message[:MAX_FAULT_CHARS]}" for problem in error.schema_errors)
    text = str(error) or type(error).__name__
    return f"{text}: {_describe(error.__cause__)}" if error.__cause__ else text
