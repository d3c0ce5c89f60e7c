"""Decide whether two results are comparable: only when their certificates agree."""

from collections.abc import Mapping
from typing import Any

# What has to agree besides the metric's own definition, and how to call it.
_FIELDS = {
    ("test", "ids_sha256"): "test split",
    ("test", "targets_sha256"): "test targets",
    ("procedure_sha256",): "evaluation procedure",
    ("dtype",): "dtype",
}


def find_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], metric: str) -> list[str]:
    """Return why a metric of two certificates does not compare, each reason naming the field; nothing if it does.

    Params count where both have them: a key that only one evaluator knows cannot change what the other computes.
    """
    reasons = []
    for path, name in _FIELDS.items():
        left, right = _get(ours, path), _get(theirs, path)
        if left != right:
            reasons.append(f"{name} differs: {_describe(path, ours)} vs {_describe(path, theirs)}")
    ours_params, theirs_params = ours.get("params", {}), theirs.get("params", {})
    for key in sorted(ours_params.keys() & theirs_params.keys()):
        if ours_params[key] != theirs_params[key]:
            reasons.append(f"evaluate.{key} differs: {ours_params[key]} vs {theirs_params[key]}")
    if not all(metric in certificate.get("metrics", {}) for certificate in (ours, theirs)):
        return [*reasons, f"no certificate defines {metric}"]
    for field in ("definition_sha256", "direction", "unit"):
        left, right = (_get(c, ("metrics", metric, field)) for c in (ours, theirs))
        if left != right:
            reasons.append(f"{field.removesuffix('_sha256')} of {metric} differs")
    return reasons


def _get(certificate: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = certificate
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _describe(path: tuple[str, ...], certificate: Mapping[str, Any]) -> str:
    value = str(_get(certificate, path))
    if path[0] == "test":
        return f"{_get(certificate, ('test', 'num_samples'))} samples {value[:8]}"
    return value[:8] if path[-1].endswith("sha256") else value
