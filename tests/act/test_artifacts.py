"""The stand-ins for `actions/upload-artifact` and `actions/download-artifact`, as act starts them: as programs."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.documents import parse_yaml
from tests.act.server import ActServer, serve
from tests.checkouts import ROOT

pytestmark = pytest.mark.slow

STAND_INS = ROOT / ".github" / "act"


@dataclass(frozen=True)
class Ended:
    """How a step ended."""

    status: int
    text: str
    outputs: dict[str, str]


class Job:
    """A job's workspace, and the server it talks to."""

    def __init__(self, root: Path, server: ActServer) -> None:
        self.root = root
        self.server = server
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("INPUT_", "ACTIONS_"))},
            **server.environment(),
            "GITHUB_WORKSPACE": str(root),
            "GITHUB_OUTPUT": str(root.parent / "outputs.txt"),
            "http_proxy": "http://127.0.0.1:9/",  # a proxy that is not there must not come between
            "no_proxy": "",
        }

    def write(self, **files: str) -> None:
        """Write files; `__` in a name stands for a slash, and `_DOT_` for a dot."""
        for name, text in files.items():
            path = self.root / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def step(self, action: str, **inputs: str) -> Ended:
        """Run a stand-in with the inputs that its action.yml defines, as act does."""
        folder = STAND_INS / f"{action}-artifact"
        defined = parse_yaml((folder / "action.yml").read_bytes(), "action.yml")
        values = {name: str(entry.get("default", "")) for name, entry in defined["inputs"].items()}
        values |= {name.replace("_", "-"): value for name, value in inputs.items()}
        (step,) = defined["runs"]["steps"]
        passed = {
            variable: values[expression.removeprefix("${{ inputs.").removesuffix(" }}")]
            for variable, expression in step["env"].items()
        }
        outputs = Path(self.environment["GITHUB_OUTPUT"])
        outputs.write_text("")
        done = subprocess.run(
            [sys.executable, str(folder / f"{action}.py")],
            cwd=self.root,
            env={**self.environment, **passed},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        lines = outputs.read_text().splitlines()
        return Ended(done.returncode, done.stdout, dict(line.split("=", 1) for line in lines))

    def upload(self, name: str, path: str, **inputs: str) -> Ended:
        """Upload."""
        return self.step("upload", name=name, path=path, **inputs)

    def download(self, **inputs: str) -> Ended:
        """Download into the folder `got`."""
        return self.step("download", path="got", **inputs)

    def tree(self, folder: str = "got") -> dict[str, str]:
        """Return the files below a folder."""
        paths = [path for path in (self.root / folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root / folder)): path.read_text() for path in sorted(paths)}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A job in an empty workspace."""
    root = tmp_path / "workspace"
    root.mkdir()
    with serve() as server:
        yield Job(root, server)


def make_zip(**entries: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return stream.getvalue()


def list_packed(job: Job, name: str) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(job.server.artifacts[name])).namelist()


def test_both_stand_ins_speak_with_the_same_module() -> None:
    first, second = (path.read_bytes() for path in sorted(STAND_INS.glob("*/artifacts.py")))
    assert first == second


def test_files_come_back_when_they_were_uploaded(job: Job) -> None:
    job.write(out__a_DOT_txt="a", out__deep__b_DOT_txt="b")
    (job.root / "out" / "deep" / "b.txt").chmod(0o755)
    uploaded = job.upload("result", "out")
    assert (uploaded.status, uploaded.text.splitlines()[-1][:37]) == (0, "uploaded 2 files as artifact 'result'")
    assert uploaded.outputs["artifact-digest"] == hashlib.sha256(job.server.artifacts["result"]).hexdigest()
    downloaded = job.download(name="result")
    assert downloaded.status == 0, downloaded.text
    assert downloaded.outputs == {"download-path": str(job.root / "got")}
    assert job.tree() == {"a.txt": "a", "deep/b.txt": "b"}
    assert not os.access(job.root / "got" / "deep" / "b.txt", os.X_OK)


def test_artifact_is_empty_of_folders_above_when_one_file_is_named(job: Job) -> None:
    job.write(out__deep__a_DOT_txt="a")
    job.upload("result", "out/deep/a.txt")
    assert list_packed(job, "result") == ["a.txt"]


def test_common_folder_is_the_root_when_several_paths_are_named(job: Job) -> None:
    job.write(out__deep__a_DOT_txt="a", out__b_DOT_txt="b", other="c")
    job.upload("result", "out/deep\nout/b.txt\n# a comment\n\nout/missing")
    assert list_packed(job, "result") == ["b.txt", "deep/a.txt"]


def test_file_is_left_out_when_a_later_line_says_so(job: Job) -> None:
    job.write(out__a_DOT_txt="a", out__a_DOT_bin="a", out__tmp__b_DOT_txt="b", out__tmp__keep="k")
    job.upload("result", "out/**\n!out/**/*.bin\n!out/tmp/\nout/tmp/keep")
    assert list_packed(job, "result") == ["a.txt", "tmp/keep"]


def test_links_are_followed_and_circles_and_loose_ends_are_left_out(job: Job) -> None:
    job.write(out__a="a", elsewhere__b="b")
    for name, target in {"circle": "..", "linked": "../elsewhere", "loose": "nowhere", "file": "a"}.items():
        (job.root / "out" / name).symlink_to(target)
    job.upload("result", "out")
    assert [name for name in list_packed(job, "result") if not name.startswith("circle/")] == ["a", "file", "linked/b"]
    assert max(name.count("circle") for name in list_packed(job, "result")) == 1


@pytest.mark.parametrize(("path", "expected"), [("?/", ["b/c"]), ("?", ["a", "b/c"]), ("a/**", ["a"])])
def test_file_does_not_count_when_a_slash_asks_for_folders(job: Job, path: str, expected: list[str]) -> None:
    job.write(a="a", b__c="c")
    job.upload("result", path)
    assert list_packed(job, "result") == expected


@pytest.mark.parametrize(
    ("path", "include", "expected"),
    [
        ("out", "false", ["a"]),
        ("out", "true", [".env", ".git/config", "a"]),
        ("out/.git", "false", []),
        ("out/.git/config", "false", ["config"]),
        ("out/*", "false", ["a"]),
    ],
)
def test_hidden_files_are_left_out_when_they_are_not_asked_for(
    job: Job, path: str, include: str, expected: list[str]
) -> None:
    job.write(out__a="a", out___DOT_env="secret", out___DOT_git__config="c")
    job.upload("result", path, include_hidden_files=include)
    assert (list_packed(job, "result") if expected else list(job.server.runs)) == expected


@pytest.mark.parametrize(
    ("choice", "status", "text"),
    [
        ("warn", 0, "::warning::nothing was found to upload at: nope, nope/*\n"),
        ("error", 1, "::error::nothing was found to upload at: nope, nope/*\n"),
        ("ignore", 0, "nothing was found to upload at: nope, nope/*\n"),
        ("explode", 1, "::error::'if-no-files-found' is 'explode'; wanted warn, error, ignore\n"),
    ],
)
def test_nothing_is_uploaded_when_nothing_is_found(job: Job, choice: str, status: int, text: str) -> None:
    assert job.upload("result", "nope\nnope/*", if_no_files_found=choice) == Ended(status, text, {})
    assert job.server.runs == {}


def test_second_artifact_of_a_name_is_refused_when_it_may_not_overwrite(job: Job) -> None:
    job.write(a="1")
    assert job.upload("result", "a").status == 0
    job.write(a="2")
    refused = job.upload("result", "a")
    assert (refused.status, refused.outputs) == (1, {})
    assert refused.text.startswith("::error::an artifact with the name 'result' exists in this run already")
    assert job.upload("result", "a", overwrite="true").status == 0
    job.download(name="result")
    assert job.tree() == {"a": "2"}


def test_artifacts_of_an_earlier_run_are_not_seen_when_act_was_started_again(job: Job) -> None:
    job.write(a="1")
    job.upload("result", "a")
    job.environment |= job.server.environment(cache="http://127.0.0.1:1/two/")
    assert job.download(name="result").status == 1
    assert job.upload("result", "a").status == 0


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a:b", 'a"b', "a\nb", "*", "?", "<", ">", "|", ""])
def test_name_is_refused_when_a_file_system_could_not_hold_it(job: Job, name: str) -> None:
    job.write(a="1")
    refused = job.upload(name, "a")
    assert refused.status == 1
    assert refused.text.startswith("::error::the artifact's name ")
    assert refused.text.count("\n") == 1
    assert job.server.runs == {}


def test_file_is_refused_when_its_path_holds_a_colon(job: Job) -> None:
    job.write(**{"out__a:b": "1"})
    refused = job.upload("result", "out")
    assert refused.text == "::error::the file 'a:b' cannot be uploaded: its path holds ':'\n"
    assert job.server.artifacts == {}


@pytest.mark.parametrize("path", ["../a", "out/../a", "/a/./b", ".."])
def test_path_is_refused_when_it_is_relative_in_its_middle(job: Job, path: str) -> None:
    refused = job.upload("result", path)
    assert refused.status == 1
    assert refused.text == f"::error::'{path}' is not a valid path: '.' and '..' may not stand in it\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("compression-level", "10"), ("retention-days", "soon"), ("overwrite", "perhaps"), ("archive", "false")],
)
def test_input_is_refused_when_it_is_not_what_the_action_takes(job: Job, name: str, value: str) -> None:
    job.write(a="1")
    refused = job.step("upload", **{"name": "result", "path": "a", name: value})
    assert (refused.status, refused.text[: len(name) + 10]) == (1, f"::error::'{name}")


@pytest.mark.parametrize(("level", "is_small"), [("0", False), ("9", True)])
def test_zip_is_small_when_it_may_be_compressed(job: Job, level: str, is_small: bool) -> None:
    job.write(a="0" * 100_000)
    job.upload("result", "a", compression_level=level)
    assert (len(job.server.artifacts["result"]) < 10_000) == is_small


def test_zip_is_sent_in_blocks_when_it_is_large(job: Job) -> None:
    (job.root / "a").write_bytes(os.urandom(9 << 20))
    assert job.upload("result", "a", compression_level="0").status == 0
    assert job.server.num_blocks == 2
    assert job.download(name="result").status == 0
    assert (job.root / "got" / "a").read_bytes() == (job.root / "a").read_bytes()


def test_upload_fails_when_the_server_keeps_something_else(job: Job) -> None:
    job.write(a="1")
    job.server.spoils_uploads = True
    failed = job.upload("result", "a")
    assert failed.text == "::error::what the server has of artifact 'result' is not what was sent\n"
    assert failed.outputs == {}


def test_step_fails_when_act_has_no_artifact_server(job: Job) -> None:
    job.write(a="1")
    del job.environment["ACTIONS_RESULTS_URL"]
    failed = job.upload("result", "a")
    assert failed.text == "::error::there is no artifact server: start act with --artifact-server-path\n"


@pytest.fixture
def three(job: Job) -> Job:
    """A job whose run has three artifacts."""
    job.write(a="a", c="c")
    assert job.upload("result-a", "a").status == 0
    job.server.artifacts.update({"result-b": make_zip(b="b"), "other": make_zip(c="c")})
    return job


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"pattern": "result-*"}, {"result-a/a": "a", "result-b/b": "b"}),
        ({"pattern": "result-*", "merge_multiple": "true"}, {"a": "a", "b": "b"}),
        ({"pattern": "result-{a,c}"}, {"a": "a"}),  # one alone has no folder of its own
        ({"pattern": "nothing-*"}, {}),
        ({}, {"result-a/a": "a", "result-b/b": "b", "other/c": "c"}),
        ({"name": "other", "pattern": "result-*"}, {"c": "c"}),
    ],
)
def test_artifacts_land_where_the_action_puts_them(
    three: Job, inputs: dict[str, str], expected: dict[str, str]
) -> None:
    ended = three.download(**inputs)
    assert ended.status == 0, ended.text
    assert three.tree() == expected


def test_artifacts_are_found_when_their_numbers_are_given(three: Job) -> None:
    number = three.upload("more", "c").outputs["artifact-id"]
    other = three.upload("result-a", "a", overwrite="true").outputs["artifact-id"]
    assert three.download(artifact_ids=f"{number}, {other}").status == 0
    assert three.tree() == {"more/c": "c", "result-a/a": "a"}
    partly = three.download(artifact_ids=f"{number},1")
    assert (partly.status, partly.text.splitlines()[0]) == (0, "::warning::there is no artifact with the number 1")
    assert three.download(artifact_ids="1").status == 1
    assert three.download(artifact_ids="x").status == 1
    assert three.download(artifact_ids=number, name="more").status == 1


def test_step_fails_when_a_named_artifact_is_not_there(three: Job) -> None:
    failed = three.download(name="result-z")
    assert failed.status == 1
    assert failed.text == "::error::there is no artifact 'result-z'; found 'other', 'result-a', 'result-b'\n"


def test_everything_goes_into_the_workspace_when_no_path_is_given(three: Job) -> None:
    ended = three.step("download", name="other")
    assert ended.outputs == {"download-path": str(three.root)}


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil"])
def test_nothing_is_written_when_an_entry_would_land_outside(three: Job, name: str) -> None:
    three.server.artifacts["other"] = make_zip(fine="1", **{name: "2"})
    failed = three.download(name="other")
    assert failed.status == 1
    assert "would be written outside of its folder" in failed.text
    assert three.tree() == {}


def test_step_fails_with_one_line_when_a_file_is_in_the_way(three: Job) -> None:
    three.write(got="a file")
    failed = three.download(name="other")
    assert failed.status == 1
    assert failed.text.startswith("::error::")


def test_step_fails_when_a_zip_is_damaged(three: Job) -> None:
    three.server.artifacts["other"] = three.server.artifacts["other"][:-30]
    assert three.download(name="other").text.startswith("::error::the artifact is damaged: ")


@pytest.mark.parametrize(("choice", "status"), [("error", 1), ("warn", 0), ("info", 0), ("ignore", 0)])
def test_digest_is_compared_when_the_server_knows_it(three: Job, choice: str, status: int) -> None:
    three.server.digests["other"] = "sha256:" + hashlib.sha256(three.server.artifacts["other"]).hexdigest()
    assert three.download(name="other").status == 0
    three.server.digests["other"] = "sha256:" + "0" * 64
    ended = three.download(name="other", digest_mismatch=choice)
    assert ended.status == status
    assert ("is not as it was uploaded" in ended.text) == (choice != "ignore")
