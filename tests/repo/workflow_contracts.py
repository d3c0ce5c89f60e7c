"""What workflows, actions and the commands of `force ci` expect of each other: each rule yields what breaks it."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import click

from pipeline.commands import ci
from tests.checkouts import ROOT
from tests.repo.workflow_files import LEVELS, File, Rule, list_calls, list_jobs, list_workflows

LOCAL_COMMANDS = {"act-setup"}  # for people at home: writes .actrc


def find_unequal_grants(files: Sequence[File]) -> Iterator[str]:
    """Yield calls of workflows that grant less than those ask for, which fails on GitHub alone, or more."""
    for file, name, job, called in list_calls(files):
        asked: dict[str, str] = {}
        for callee in called.jobs.values():
            for scope, level in callee.get("permissions", {}).items():
                asked[scope] = max(asked.get(scope, "none"), level, key=LEVELS.index)
        if job.get("permissions") != asked:
            yield f"{file.at('jobs', name)}: {name} grants {job.get('permissions')}, {called.name} asks for {asked}"


def find_vague_interfaces(files: Sequence[File]) -> Iterator[str]:
    """Yield inputs, outputs and secrets of workflows and actions that lack a description, a type or a value."""
    for file in files:
        owners = [] if file.is_workflow else [((), file.document)]
        owners += [(("on", event), file.events.get(event)) for event in ("workflow_call", "workflow_dispatch")]
        for place, owner in owners:
            for kind in ("inputs", "outputs", "secrets"):
                for name, found in (owner or {}).get(kind, {}).items():
                    wanted = {"description", *_WANTED.get((kind, file.is_workflow), ())}
                    if missing := sorted(wanted - set(found)):
                        yield f"{file.at(*place, kind, name)}: {name} has no {' and no '.join(missing)}"
                    if kind == "inputs" and "required" not in found and "default" not in found:
                        yield f"{file.at(*place, kind, name)}: {name} is neither required nor has it a default"


_WANTED = {
    ("inputs", True): ("type",),
    ("outputs", True): ("value",),
    ("outputs", False): ("value",),
    ("secrets", True): ("required",),
}


def find_wrong_inputs(files: Sequence[File]) -> Iterator[str]:
    """Yield inputs and secrets that a workflow or an action does not take, and those that it misses.

    Of actions that are not ours the stand-in for act says what they take.
    """
    by_path = {file.path.removesuffix("/action.yml"): file for file in files}
    for file, name, job, called in list_calls(files):
        for kind in ("with", "secrets"):
            taken = called.events["workflow_call"].get({"with": "inputs"}.get(kind, kind), {})
            yield from _compare_inputs(file.at("jobs", name), job.get(kind, {}), taken)
    for file in files:
        for place, step in file.steps():
            path = re.sub(r"^actions/([\w-]+)@.*", r".github/act/\1", step.get("uses", "")).removeprefix("./")
            if path in by_path:
                yield from _compare_inputs(
                    file.at(*place), step.get("with", {}), by_path[path].document.get("inputs", {})
                )


def find_unset_variables(files: Sequence[File]) -> Iterator[str]:
    """Yield variables of scripts that neither their step nor their job sets: they would be empty."""
    for file in files:
        for place, step in file.steps():
            job = file.jobs[str(place[1])] if file.is_workflow else {}
            known = {*step.get("env", {}), *job.get("env", {})}
            for name in re.findall(r"\$\{?([A-Z]\w*)", str(step.get("run", ""))):
                if name not in known and not name.startswith(("GITHUB_", "RUNNER_")):
                    yield f"{file.at(*place)}: {name} is not set"


def find_unknown_commands(files: Sequence[File]) -> Iterator[str]:
    """Yield calls of `force` with a command or an option that there is not."""
    for file in files:
        for place, script in file.scripts():
            for name, rest in re.findall(r"\bforce ci ([\w-]+)([^\n|;&]*)", script):
                known = _list_options(name)
                if known is None:
                    yield f"{file.at(*place)}: there is no force ci {name}"
                for option in re.findall(r"(?<!\S)--[\w-]+", rest) if known is not None else ():
                    if option not in known:
                        yield f"{file.at(*place)}: force ci {name} has no {option}"
            for name in re.findall(r"\bforce (?!ci\b)([\w-]+)", script):
                yield f"{file.at(*place)}: force {name} is not for workflows"


def find_unused_commands(files: Sequence[File]) -> Iterator[str]:
    """Yield commands of `force ci` that no workflow calls."""
    scripts = "\n".join(script for file in list_workflows(files) for _, script in file.scripts())
    called = set(re.findall(r"\bforce ci ([\w-]+)", scripts))
    yield from (f"no workflow calls force ci {name}" for name in sorted({*ci.COMMANDS} - called - LOCAL_COMMANDS))


def find_unwritten_outputs(files: Sequence[File]) -> Iterator[str]:
    """Yield outputs of jobs that their step's command does not write."""
    for file, name, job in list_jobs(files):
        scripts = {step["id"]: step.get("run", "") for step in job.get("steps", []) if "id" in step}
        for output, value in job.get("outputs", {}).items():
            place = file.at("jobs", name, "outputs", output)
            for step, key in re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", value):
                command = re.search(r"\bforce ci ([\w-]+)", scripts.get(step, ""))
                if not command:
                    yield f"{place}: no command of step {step} can write {key}"
                elif not any(re.fullmatch(written, key) for written in list_written(command[1])):
                    yield f"{place}: force ci {command[1]} does not write {key}"


def find_unknown_outputs(files: Sequence[File]) -> Iterator[str]:
    """Yield what is read of a job, or of a workflow's job, that it does not give, or that is not among its needs."""
    called = {(file.path, name): workflow for file, name, _, workflow in list_calls(files)}
    for file in list_workflows(files):
        given = {name: set(job.get("outputs", {})) for name, job in file.jobs.items()}
        for name in file.jobs:
            if workflow := called.get((file.path, name)):
                given[name] = set(workflow.events["workflow_call"].get("outputs", {}))
        for place, text in file.texts():
            kind = "needs" if place[0] == "jobs" else "jobs"
            for job, key in re.findall(rf"\b{kind}\.([\w-]+)\.outputs\.([\w-]+)", text):
                if key not in given.get(job, ()):
                    yield f"{file.at(*place)}: {job} gives no {key}"
            for job in re.findall(r"\bneeds\.([\w-]+)", text) if kind == "needs" else ():
                if job not in _listed(file.jobs[str(place[1])].get("needs", [])):
                    yield f"{file.at(*place)}: {place[1]} does not need {job}"


def find_loose_actions(files: Sequence[File]) -> Iterator[str]:
    """Yield actions that say too little, and steps of theirs without a shell, which fail only when they run."""
    for file in files:
        if file.is_workflow:
            continue
        if not file.document.get("description"):
            yield f"{file.path}: has no description"
        if file.document.get("runs", {}).get("using") != "composite":
            yield f"{file.path}: is not composite"
        for place, step in file.steps():
            if "run" in step and "shell" not in step:
                yield f"{file.at(*place)}: has no shell"


CONTRACT_RULES: tuple[Rule, ...] = (
    find_unequal_grants,
    find_vague_interfaces,
    find_wrong_inputs,
    find_unset_variables,
    find_unknown_commands,
    find_unused_commands,
    find_unwritten_outputs,
    find_unknown_outputs,
    find_loose_actions,
)


@cache
def list_written(command: str) -> frozenset[str]:
    """Return patterns of the outputs that `force ci COMMAND` writes, as its source says; nothing without a source."""
    path = ROOT / "pipeline" / "commands" / f"ci_{command.replace('-', '_')}.py"
    tree = ast.parse(path.read_text() if path.exists() else "")
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("write_output")
    ]
    return frozenset(_make_pattern(call.args[0]) for call in calls)


def _compare_inputs(place: str, given: dict[str, Any], taken: dict[str, Any]) -> Iterator[str]:
    yield from (f"{place}: there is no input {name}" for name in sorted(set(given) - set(taken)))
    required = {name for name, found in taken.items() if found.get("required") is True and "default" not in found}
    yield from (f"{place}: the input {name} is missing" for name in sorted(required - set(given)))


def _make_pattern(node: ast.expr) -> str:
    """Return a pattern of a text, or of an f-string whose placeholders are numbers."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"\d+" for part in parts)


def _list_options(name: str) -> set[str] | None:
    """Return the options of a command of `force ci`, None where there is no such command."""
    command = ci.command.get_command(click.Context(ci.command), name)
    return None if command is None else {option for parameter in command.params for option in parameter.opts}


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
