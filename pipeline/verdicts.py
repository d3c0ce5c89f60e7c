"""What is said of a commit on GitHub, for branch rules to require: how its push ended, and what its branch owes."""

from collections.abc import Sequence
from dataclasses import dataclass

MISSED = "not passed: "  # how a verdict on gates begins
CONTEXT = "force/experiments"  # the name under which it is said


@dataclass(frozen=True)
class Verdict:
    """A commit's status."""

    state: str  # error, failure, pending or success
    description: str
    url: str  # where more is said


def judge(own: Verdict, debts: Sequence[str], missed: Sequence[str] = ()) -> Verdict:
    """Return what is said of a branch's newest commit, `own` being the verdict on the push that brought its files.

    What a branch owes counts, whichever push left it: an earlier one's failure does not pass with the next push, and
    is made good by results, whoever brings them. Gates that its results miss, `missed`, are made good by other results.
    """
    if missed:
        return Verdict("failure", f"{MISSED}{'; '.join(missed)}", own.url)
    if not debts:
        return Verdict("success", "all that the branch changes has its results", own.url)
    if own.state in ("failure", "error"):
        return own
    return Verdict("pending", f"no results yet: {', '.join(debts)}", own.url)
