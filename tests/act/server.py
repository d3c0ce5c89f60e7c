"""An artifact server like act's: the same protocol, the same lenience, the same crash for a run without artifacts."""

import base64
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Run = dict[str, bytes]


class ActServer(ThreadingHTTPServer):
    """Runs, and the zips of each by name. `digests` are told of artifacts, which act itself does not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, Run] = {}
        self.digests: dict[str, str] = {}
        self.spoils_uploads = False
        self.num_blocks = 0

    @property
    def artifacts(self) -> Run:
        """The artifacts of the one run that there is."""
        (run,) = self.runs.values()
        return run

    def environment(self, cache: str = "http://127.0.0.1:1/one/") -> dict[str, str]:
        """Return what act tells a step of its servers."""
        claims = base64.urlsafe_b64encode(json.dumps({"scp": "Actions.Results:1:2"}).encode()).decode().rstrip("=")
        return {
            "ACTIONS_RESULTS_URL": f"http://127.0.0.1:{self.server_port}/",
            "ACTIONS_RUNTIME_TOKEN": f"head.{claims}.tail",
            "ACTIONS_CACHE_URL": cache,
        }


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ActServer

    def do_POST(self) -> None:
        """Answer a call of the service."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = getattr(self, urlsplit(self.path).path.rpartition("/")[2])(asked, asked["workflow_run_backend_id"])
        if answer is not None:
            self._answer(json.dumps(answer).encode())

    def do_PUT(self) -> None:
        """Append a block."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if query["comp"] == "block":
            self.server.num_blocks += 1
            self.server.runs[query["run"]][query["name"]] += data[::-1] if self.server.spoils_uploads else data
        self._answer(b"")

    def do_GET(self) -> None:
        """Send a zip."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self._answer(self.server.runs[query["run"]][query["name"]])

    def CreateArtifact(self, asked: dict[str, Any], run: str) -> Any:  # noqa: N802
        """Make an artifact empty, whether or not it exists."""
        self.server.runs.setdefault(run, {})[asked["name"]] = b""
        return {"ok": True, "signedUploadUrl": self._sign("UploadArtifact", asked, run)}

    def FinalizeArtifact(self, asked: dict[str, Any], run: str) -> Any:  # noqa: N802
        """Give an artifact its number; nothing is checked."""
        return {"ok": True, "artifactId": str(zlib.crc32(asked["name"].encode()))}

    def ListArtifacts(self, asked: dict[str, Any], run: str) -> Any:  # noqa: N802
        """List a run; close the connection where there is none."""
        if run not in self.server.runs:
            self.close_connection = True
            return None
        return {"artifacts": [self._describe(name) for name in self.server.runs[run]]}

    def GetSignedArtifactURL(self, asked: dict[str, Any], run: str) -> Any:  # noqa: N802
        """Return where a zip is."""
        return {"signedUrl": self._sign("DownloadArtifact", asked, run)}

    def DeleteArtifact(self, asked: dict[str, Any], run: str) -> Any:  # noqa: N802
        """Delete an artifact, if there is one."""
        self.server.runs.get(run, {}).pop(asked["name"], None)
        return {"ok": True}

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _describe(self, name: str) -> dict[str, str]:
        digest = self.server.digests.get(name)
        entry = {"name": name, "databaseId": str(zlib.crc32(name.encode())), "size": "4096"}
        return {**entry, "digest": digest} if digest else entry

    def _sign(self, method: str, asked: dict[str, Any], run: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{method}?sig=s=&run={run}&name={asked['name']}"

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve() -> Iterator[ActServer]:
    """Serve until the end of the block."""
    with ActServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
