"""Decide whether two results are comparable: only when their certificates agree."""

from collections.abc import Mapping
from typing import Any

VERSION = 2  # 1 had the arguments of metrics among the params, where they touched every metric

# What has to agree besides the metric's own definition, and how to call it.
FIELDS = {
    ("test", "ids_sha256"): "test split",
    ("test", "targets_sha256"): "test targets",
    ("procedure", "sha256"): "evaluation procedure",
    ("dtype",): "dtype",
}


def find_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], metric: str) -> list[str]:
    """Return why a metric of two certificates does not compare, each reason naming the field; nothing if it does.

    Params count where both have them: a key that only one evaluator knows cannot change what the other computes.
    """
    if is_older(ours) or is_older(theirs):
        return ["older certificate: evaluate again"]
    reasons = []
    for path, name in FIELDS.items():
        if get_field(ours, path) != get_field(theirs, path):
            reasons.append(f"{name} differs: {describe_field(path, ours)} vs {describe_field(path, theirs)}")
    ours_params, theirs_params = ours.get("params", {}), theirs.get("params", {})
    for key in sorted(ours_params.keys() & theirs_params.keys()):
        if ours_params[key] != theirs_params[key]:
            reasons.append(f"evaluate.{key} differs: {ours_params[key]} vs {theirs_params[key]}")
    if not all(metric in certificate.get("metrics", {}) for certificate in (ours, theirs)):
        return [*reasons, f"no certificate defines {metric}"]
    return [*reasons, *_compare_metrics(metric, ours["metrics"][metric], theirs["metrics"][metric])]


def is_older(certificate: Any) -> bool:
    """Say whether a certificate is of a version before ours: a sound one, whose words mean something else."""
    version = certificate.get("version") if isinstance(certificate, Mapping) else None
    return isinstance(version, int) and version < VERSION


def _compare_metrics(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    reasons = []
    if ours["definition_sha256"] != theirs["definition_sha256"]:
        left, right = ours["definition"], theirs["definition"]
        reasons.append(f"definition of {name} differs: {f'{left} vs {right}' if left != right else f'code of {left}'}")
    for field in ("direction", "unit"):
        if ours[field] != theirs[field]:
            reasons.append(f"{field} of {name} differs: {ours[field]} vs {theirs[field]}")
    return reasons


def get_field(certificate: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return a field, None where it is not there."""
    value: Any = certificate
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def describe_field(path: tuple[str, ...], certificate: Mapping[str, Any]) -> str:
    """Return a field as people are told of it."""
    value = str(get_field(certificate, path))
    if path[0] == "test":
        return f"{get_field(certificate, ('test', 'num_samples'))} samples {value[:8]}"
    if path[0] == "procedure":  # two classes of one name may still differ
        return f"{get_field(certificate, ('procedure', 'class'))} {value[:8]}"
    return value
