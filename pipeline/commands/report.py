"""`force report`: what each experiment's metrics say beside a baseline, how sure that is, and whether it passes."""

import importlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from pipeline.cli import print_json, print_text
from pipeline.errors import ConfigError, GateError, UsageError, escape_line
from pipeline.history import PATTERNS, History, build_history
from pipeline.project import Project, find_project
from pipeline.reports.gating import Outcome
from pipeline.reports.rendering import (
    COLUMNS,
    describe_findings,
    describe_outcomes,
    list_cells,
    render_csv,
    render_latex,
    render_markdown,
)
from pipeline.reports.reporter import Report, Reporter
from pipeline.tables import print_table
from pipeline.tools import git

_FORMATS = ("terminal", "markdown", "html", "json", "csv", "latex")
_NUMERIC = ("baseline", "value", "difference", "95 % interval")


@click.command()
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
@click.option("--baseline", metavar="NAME", default="", help="Compare with NAME instead of each one's parent.")
@click.option("--base", metavar="REV", default="", help="Compare each with itself, too, where this branch left REV.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="terminal", show_default=True)
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the pages of --format html go.  [default: .force/report]",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--gate", "is_gate", is_flag=True, help="Fail with exit code 7 where a gate is not passed.")
def command(
    names: tuple[str, ...], baseline: str, base: str, form: str, output: Path | None, as_json: bool, is_gate: bool
) -> None:
    """Report on the experiments: differences from the parent with 95 % intervals, verdicts, and gates.

    Reads what the last runs left. Gates are those of experiment.yaml.
    """
    project = find_project(Path.cwd())
    experiments, problems = (project.select(names), []) if names else project.experiments.load_all()
    reporter = Reporter(project, experiments, baseline)
    with _check_out(project.root, base) as (before, fault):
        report = reporter.build(before, base)
    project.index.save()
    report = Report(report.findings, [*filter(None, [fault]), *report.notes], report.outcomes)
    if form == "html" and not as_json:
        folder = output or project.state_dir / "report"
        site = importlib.import_module("pipeline.pages.site").Site(project, experiments, report)
        site.write(folder.absolute(), read_history(project.root))
        click.echo(f"wrote {folder / 'index.html'}")
    else:
        _print(report, "json" if as_json else form)
    if problems:
        raise ConfigError(problems)
    if is_gate:
        _close(report.outcomes)


@contextmanager
def _check_out(root: Path, base: str) -> Iterator[tuple[Project | None, str]]:
    """Check out the commit where the present one left `base`; or say why there is none."""
    if not base:
        yield None, ""
        return
    tip, there = git.find_commit(root, "HEAD"), git.find_commit(root, base)
    if there is None:
        raise UsageError(f"there is no commit '{base}'", "git branch --all lists what there is; git fetch brings more")
    start = git.find_merge_base(root, tip, there) if tip else None
    if start is None:
        yield None, f"'{base}' shares no commit with this branch: nothing is compared with it"
        return
    with tempfile.TemporaryDirectory(prefix="force-report-") as name:
        folder = Path(name) / "before"
        with git.hold_worktree(root, folder, start):
            yield Project(folder), ""


def read_history(root: Path) -> History:
    """Return how results were at the commits of this branch."""
    changes = git.list_changes(root, PATTERNS)
    is_shallow = bool(changes) and git.is_shallow(root)
    return build_history(changes, lambda names: git.read_contents(root, names), is_shallow)


def _print(report: Report, form: str) -> None:
    if form == "json":
        gates = describe_outcomes(report.outcomes)
        print_json({"findings": describe_findings(report.findings), "notes": list(report.notes), "gates": gates})
    elif form == "markdown":
        print_text(render_markdown(report.findings, report.notes, report.outcomes).rstrip("\n"))
    elif form == "csv":
        print_text(render_csv(report.findings).rstrip("\n"))
    elif form == "latex":
        print_text(render_latex(report.findings).rstrip("\n"))
    else:
        rows = [[escape_line(cell) for cell in list_cells(finding)] for finding in report.findings]
        print_table(COLUMNS, rows, _NUMERIC)
        for note in report.notes:
            print_text(note)
        if report.outcomes:
            click.echo()
            print_table(
                ("gate of", "gate", "has", "passed"),
                [
                    [*map(escape_line, (o.experiment, o.gate.text, o.text)), "yes" if o.is_passed else "no"]
                    for o in report.outcomes
                ],
            )


def _close(outcomes: Sequence[Outcome]) -> None:
    """Raise GateError where one is not passed."""
    failed = [outcome for outcome in outcomes if not outcome.is_passed]
    if not failed:
        passed = f"{len(outcomes)} gates are passed" if len(outcomes) > 1 else "the gate is passed"
        click.echo(passed if outcomes else "there are no gates", err=True)
        return
    first = failed[0]
    more = f", and {len(failed) - 1} more of {len(outcomes)} gates fail" if len(failed) > 1 else ""
    raise GateError(
        f"{first.experiment} does not pass '{first.gate.text}': {first.text}{more}", "force report shows all"
    )
