"""Follow imports through the repository's own modules, without running them.

First-party are the packages that make results: `common` and `experiments`. What a file imports decides which stages
go stale when it changes.
"""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, Problem, suggest
from pipeline.index import FileIndex
from pipeline.sources import parse_source

FIRST_PARTY = ("common", "experiments")
_NOT_FOR_COMPONENTS = ("pipeline", "benchmarks", "tests")


class ModuleGraph:
    """The first-party modules below `root`, read through an index; every path is relative to `root`."""

    def __init__(self, root: str, index: FileIndex) -> None:
        self._root = root
        self._index = index
        self._found: dict[str, str | None] = {}
        self._resolved: dict[tuple[str, str, bool], tuple[str, str]] = {}
        self._links: dict[str, list[tuple[str, int, int]]] = {}
        self._closures: dict[str, frozenset[str]] = {}
        self.problems: dict[str, list[Problem]] = {}  # by the file at fault, of every file followed so far
        self.suspects: set[str] = set()  # those of them with problems, or with imports from experiments/

    def facts(self, path: str) -> dict[str, Any]:
        """Return the facts of a source file, as in `pipeline.sources`. Raises ConfigError at a syntax error."""
        facts: dict[str, Any] = self._index.fact(path, "source", lambda text: parse_source(text, path))
        return facts

    def find(self, module: str) -> str | None:
        """Return the path of a first-party module, or None where it is not one or is not there."""
        if module not in self._found:
            stem = module.replace(".", "/")
            paths = (f"{stem}.py", f"{stem}/__init__.py") if module.partition(".")[0] in FIRST_PARTY else ()
            self._found[module] = next(filter(self._index.exists, paths), None)
        return self._found[module]

    def read_bytes(self, path: str) -> bytes:
        """Return the contents of any file of the checkout."""
        return Path(self._root, path).read_bytes()

    def find_file(self, path: str) -> bool:
        """Say whether there is a file at `path`."""
        return self._index.exists(path)

    def is_folder(self, path: str) -> bool:
        """Say whether there is a folder at `path`."""
        return self._index.is_folder(path)

    def list_folder(self, folder: str) -> frozenset[str]:
        """Return the names of all that stands in a folder, none where it is no folder."""
        return self._index.list_folder(folder)

    def closure(self, path: str) -> frozenset[str]:
        """Return `path` and every first-party file that it imports, directly or not."""
        if path not in self._closures:
            seen = {path, *self._find_inits(path.removesuffix(".py").split("/"))}
            waiting = list(seen)
            while waiting:
                new = {target for target, _, _ in self.links(waiting.pop())} - seen
                known = new & self._closures.keys()
                seen = seen.union(new, *(self._closures[target] for target in known))
                waiting += new - known
            self._closures[path] = frozenset(seen)
        return self._closures[path]

    def links(self, path: str) -> list[tuple[str, int, int]]:
        """Return (first-party file, line, column) for all that the imports of one file run."""
        if path not in self._links:
            links: list[tuple[str, int, int]] = []
            problems: list[Problem] = []
            try:
                for module, name, level, line, column, may_fail in self.facts(path)["imports"]:
                    try:
                        targets = self._find_targets(_absolute(path, module, level), name)
                        links += [(target, line, column) for target in targets]
                    except ImportError as error:
                        if not may_fail:
                            problems.append(Problem(path, line, column, *error.args))
            except ConfigError as error:
                problems += error.problems
            self._links[path] = links
            self.problems[path] = problems
            if problems or any(target.startswith("experiments/") for target, _, _ in links):
                self.suspects.add(path)
        return self._links[path]

    def resolve(self, path: str, dotted: str, *, imported: bool = False) -> tuple[str, str]:
        """Return (path, name) of the first-party class that `dotted` means in the file at `path`.

        What is not first-party, or not found, comes back as ("", its full dotted name). With `imported`, only what the
        file imports counts: `class Net(Net)` extends that.
        """
        key = path, dotted, imported
        if key not in self._resolved:
            self._resolved[key] = self._search(path, dotted, frozenset(), imported=imported)
        return self._resolved[key]

    def _search(
        self, path: str, dotted: str, seen: frozenset[tuple[str, str]], *, imported: bool = False
    ) -> tuple[str, str]:
        """Return what `resolve` does; `seen` is where the search has been."""
        head, *rest = dotted.split(".")
        facts = self.facts(path)
        if head in facts["classes"] and not rest and not imported:
            return path, head
        if head not in facts["bindings"] or (path, dotted) in seen:
            return "", dotted
        module, name, level = facts["bindings"][head]
        try:
            parts = [*_absolute(path, module, level).split("."), *([name] if name else []), *rest]
        except ImportError:
            return "", dotted
        for cut in range(len(parts) - 1, 0, -1):
            target = self.find(".".join(parts[:cut]))
            if target and target != path:
                found = self._search(target, ".".join(parts[cut:]), seen | {(path, dotted)})
                if found[0] or parts[cut] in self.facts(target)["bindings"]:
                    return found
        return "", ".".join(parts)

    def is_subclass(self, path: str, name: str, base: tuple[str, str]) -> bool:
        """Say whether a class extends `base`, given as `resolve` returns it, directly or not; not whether it is it."""
        seen, waiting = {(path, name)}, [(path, name)]
        while waiting:
            current_path, current_name = waiting.pop()
            for dotted in self.facts(current_path)["classes"][current_name]["bases"]:
                found = self.resolve(current_path, dotted, imported=dotted == current_name)
                if found == base:
                    return True
                if found[0] and found not in seen:
                    seen.add(found)
                    waiting.append(found)
        return False

    def _find_targets(self, module: str, name: str | None) -> list[str]:
        """Return the first-party files that an import runs; raise ImportError, with the message and a hint, if not."""
        top = module.partition(".")[0]
        if top in _NOT_FOR_COMPONENTS:
            raise ImportError(f"imports '{module}': components know torch and common, not the tooling")
        if top not in FIRST_PARTY:
            if not _is_installed(top):
                raise ImportError(f"no module '{top}' is installed", "docs/development.md says how to add one")
            return []
        targets = self._find_inits(module.split("."))
        target = self.find(module)
        submodule = self.find(f"{module}.{name}") if name else None
        if submodule:
            if target and not self.facts(target)["is_empty"]:
                targets.append(target)
            return [*targets, submodule]
        if target is None:
            if self._is_package(f"{module}.{name}" if name else module):
                return targets
            missing = f"{module}.{name}" if name and self._is_package(module) else module
            raise ImportError(f"no module '{missing}'{self._suggest_module(missing)}")
        names = self._read_names(target)
        if name and name != "*" and names is not None and name not in names:
            raise ImportError(f"'{module}' has no '{name}'{suggest(name, [*names, *self.list_package(module)])}")
        return [*targets, target]

    def _find_inits(self, parts: list[str]) -> list[str]:
        """Return the `__init__.py` files, those with code, that importing a module runs before it."""
        inits = [self.find(".".join(parts[:end])) for end in range(1, len(parts))]
        return [init for init in inits if init and not self.facts(init)["is_empty"]]

    def _read_names(self, path: str) -> list[str] | None:
        try:
            names: list[str] | None = self.facts(path)["names"]
        except ConfigError:
            return None  # its syntax error is reported where it is followed
        return names

    def _is_package(self, module: str) -> bool:
        return self.is_folder(module.replace(".", "/"))

    def _suggest_module(self, module: str) -> str:
        package, _, name = module.rpartition(".")
        match = suggest(name, self.list_package(package))
        return match.replace("mean '", f"mean '{package}.") if match else ""

    def list_package(self, package: str) -> list[str]:
        """Return the names of what stands in a package's folder, none where it is no folder."""
        if not self._is_package(package):
            return []
        return [entry.removesuffix(".py") for entry in sorted(self.list_folder(package.replace(".", "/")))]


def _absolute(path: str, module: str, level: int) -> str:
    """Return the full name of a module that the file at `path` imports relative to itself by `level` dots."""
    if not level:
        return module
    package = path.split("/")[:-level]
    if not package:
        raise ImportError(f"imports '{'.' * level}{module}' from above the checkout")
    return ".".join([*package, module] if module else package)


@cache
def _is_installed(top: str) -> bool:
    """Say whether a module can be imported; where torch is missing (a planning runner), nothing is held against it."""
    if top in sys.stdlib_module_names or top in sys.modules:
        return True
    return importlib.util.find_spec(top) is not None or importlib.util.find_spec("torch") is None
