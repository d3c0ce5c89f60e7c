"""What all readers of model files share."""

import pytest

from common.model_files.sources import ModelFileError, import_extra


def test_a_missing_package_is_told_with_the_extra_that_brings_it() -> None:
    with pytest.raises(ModelFileError, match=r"wants the package 'no_such_package'; make extras NAMES=onnx"):
        import_extra("no_such_package", "onnx")


def test_a_package_that_does_not_load_is_told(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with open(f"{tmp_path}/broken_package.py", "w") as file:
        file.write("raise RuntimeError('built for another torch')")
    with pytest.raises(ModelFileError, match="'broken_package' cannot be imported: built for another torch"):
        import_extra("broken_package", "onnx")
