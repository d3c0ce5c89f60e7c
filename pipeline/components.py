"""The five components: which file overrides which, and which class it defines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.architectures import SCHEMA, check_architecture
from pipeline.errors import ConfigError, Problem
from pipeline.modelforms import Form
from pipeline.modules import ModuleGraph


@dataclass(frozen=True)
class ComponentKind:
    """What an experiment may override."""

    name: str
    section: str  # of the params
    base: tuple[str, str]  # path and name of the class that an override extends
    default: str  # the class that the common build uses
    foreign_base: str = ""  # a class outside the repository that will do as well


KINDS = {
    kind.name: kind
    for kind in (
        ComponentKind("data", "data", ("common/data.py", "DataModule"), "DataModule"),
        ComponentKind("loader", "loader", ("common/loader.py", "Loader"), "Loader"),
        ComponentKind("model", "model", ("common/model.py", "Model"), "ConvNet", "torch.nn.Module"),
        ComponentKind("trainer", "train", ("common/trainer.py", "Trainer"), "Trainer"),
        ComponentKind("evaluator", "evaluate", ("common/evaluator.py", "Evaluator"), "Evaluator"),
    )
}
# What trainer and evaluator share. Not a component: nobody overrides it alone.
ENGINE = ComponentKind("engine", "runtime", ("common/engine.py", "Engine"), "Engine")
SECTIONS = {kind.section: kind for kind in (*KINDS.values(), ENGINE)}


@dataclass(frozen=True)
class Reader:
    """The class of common that reads one form of a model that is no Python."""

    path: str  # of the module that defines the class
    class_name: str  # of a subclass of `FILE_MODEL`
    check: Callable[[bytes, str], None] | None = None  # of a file's bytes and path; raises ConfigError
    schema: str = ""  # the JSON Schema that the check goes by, where it does


DESCRIPTION = "model.json"  # the form of an architecture as data
_WHOLE = "common/model_files/whole_models.py"
READERS: Mapping[str, Reader] = {
    DESCRIPTION: Reader("common/architecture.py", "DeclaredModel", check_architecture, SCHEMA),
    Form.TORCH_MODULE: Reader(_WHOLE, "PickledModel"),
    Form.TORCHSCRIPT: Reader(_WHOLE, "TorchScriptModel"),
    Form.TORCH_EXPORT: Reader(_WHOLE, "ExportedProgramModel"),
    Form.ONNX: Reader(_WHOLE, "OnnxModel"),
    Form.KERAS: Reader(_WHOLE, "KerasModel"),
    Form.HUGGINGFACE: Reader(_WHOLE, "HuggingFaceModel"),
    Form.FORCE: Reader("common/model_files/saved_models.py", "SavedModel"),
}
FILE_MODEL = ("common/file_model.py", "FileModel")
# What reads weights beside a class.
STATE_READER = "common/model_files/states.py"
# By component, what may follow its name beside Python: what it is then says its content. Nothing is a folder's.
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "model": (".json", ".pkl", ".pt", ".pth", ".pt2", ".onnx", ".keras", ".safetensors", ""),
}


@dataclass(frozen=True)
class Weights:
    """A file or folder of an experiment with the weights that a model begins with."""

    path: str
    form: str  # one of `pipeline.modelforms.STATES`
    description: str
    declared_by: str  # the experiment whose folder it is in
    files: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """The class that an experiment uses for one component."""

    kind: str
    path: str  # of the file that defines it
    class_name: str
    declared_by: str  # the experiment that says so
    setting: str = ""  # the key in that experiment's experiment.yaml, where no override file says it
    file: str = ""  # what the class is built from, where it reads a file or folder of the experiment
    files: tuple[str, ...] = ()  # all that this is made of
    description: str = ""  # what a saved model was found to be
    sha256: str = ""  # of what in it brings code: somebody vouched for it
    modules: tuple[str, ...] = ()  # the files of other classes that it is made of
    weights: Weights | None = None

    def is_same(self, other: "Component") -> bool:
        """Say whether two experiments mean the same class, file and weights, whoever says so."""
        ours, theirs = ((c.path, c.class_name, c.file, c.weights) for c in (self, other))
        return ours == theirs

    def is_overridden_by(self, experiment: str) -> bool:
        """Say whether an experiment itself says something of it."""
        return experiment in (self.declared_by, self.weights and self.weights.declared_by)

    @property
    def source(self) -> str:
        """The file to look at, and to change, to see what the component is."""
        return self.file or self.path

    @property
    def sources(self) -> tuple[str, ...]:
        """The Python files that have to be there to make it."""
        return (self.path, *self.modules, *([STATE_READER] if self.weights else []))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The files of experiments, beside Python, that it is made of."""
        return (*self.files, *(self.weights.files if self.weights else ()))

    @property
    def module(self) -> str:
        """The module to import the class from."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def find_override_files(kind: ComponentKind, folder: str, modules: ModuleGraph) -> list[str]:
    """Return all that stands in `folder` under a component's name: Python, alone or as a folder's, and other forms."""
    package = f"{folder}/{kind.name}"
    sources = [path for path in (f"{package}.py", f"{package}/__init__.py") if modules.find_file(path)]
    return sources + [path for path in _list_forms(kind, folder, modules) if _is_form(path, modules)]


def _list_forms(kind: ComponentKind, folder: str, modules: ModuleGraph, extension: str = "") -> list[str]:
    """Return the paths that another form of a component may have, and that are there with an extension."""
    names = modules.list_folder(folder)
    forms = (f"{kind.name}{suffix}" for suffix in SUFFIXES.get(kind.name, ()))
    return [f"{folder}/{form}" for form in forms if f"{form}{extension}" in names]


def _is_form(path: str, modules: ModuleGraph) -> bool:
    if modules.is_folder(path):  # one with Python in it is a package
        return not modules.find_file(f"{path}/__init__.py")
    return modules.find_file(path)


def is_saved(path: str) -> bool:
    """Say whether an override is a model that some tool saved, and not Python or a description."""
    return not path.endswith((".py", ".json"))


def find_absent(kind: ComponentKind, folder: str, modules: ModuleGraph) -> str:
    """Return the first override that DVC tracks and that is not here, nothing where there is none."""
    tracked = (path for path in _list_forms(kind, folder, modules, ".dvc") if modules.find_file(f"{path}.dvc"))
    return next((path for path in tracked if not _is_form(path, modules)), "")


def check_folder(kind: ComponentKind, folder: str, modules: ModuleGraph) -> None:
    """Raise ConfigError for a folder with a component's name that can be none: it has no Python to import."""
    package = f"{folder}/{kind.name}"
    if kind.name not in SUFFIXES and modules.is_folder(package) and not modules.find_file(f"{package}/__init__.py"):
        raise ConfigError([Problem(package, 0, 0, "the folder of an override has to have an __init__.py")])


def choose_override(kind: ComponentKind, paths: Sequence[str]) -> str | None:
    """Return the one file that overrides a component, or None without one. Raises ConfigError for several."""
    if len(paths) > 1:
        names = " and ".join(f"'{path.removesuffix('__init__.py')}'" for path in paths[1:])
        verb = "overrides" if len(paths) == 2 else "override"
        raise ConfigError([Problem(paths[0], 0, 0, f"{names} {verb} the {kind.name} too; keep one of them")])
    return paths[0] if paths else None


def find_declared(kind: ComponentKind, experiment: str, reference: str, modules: ModuleGraph) -> Component:
    """Return the component that experiment.yaml names as `module:Class`.

    Raises LookupError, with a message, where it is not a subclass of the component's base class.
    """
    module, _, class_name = reference.partition(":")
    path = modules.find(module)
    if path is None:
        raise LookupError(f"no module '{module}' in common or experiments")
    if class_name not in modules.facts(path)["classes"]:
        raise LookupError(f"'{module}' defines no class '{class_name}'")
    is_default = (path, class_name) == (kind.base[0], kind.default)
    if not is_default and ((path, class_name) == kind.base or not _extends(kind, path, class_name, modules)):
        raise LookupError(f"'{class_name}' is no subclass of {_name(kind.base)}")
    if modules.is_subclass(path, class_name, FILE_MODEL):
        raise LookupError(f"'{class_name}' reads a file: put that into the folder of the experiment instead")
    return Component(kind.name, path, class_name, experiment, setting=f"components.{kind.name}")


def find_subclass(kind: ComponentKind, path: str, modules: ModuleGraph) -> tuple[str, str]:
    """Return path and name of the one subclass of the component's base class that an override defines.

    Raises ConfigError, naming the classes, where there are none or several.
    """
    inside = path.removesuffix("__init__.py")
    facts = modules.facts(path)
    defined = [(path, name) for name in facts["classes"]]
    if inside != path:  # a package may define its class in a module of its own, and name it in __init__.py
        found = (modules.resolve(path, name) for name in facts["bindings"])
        defined += [(p, name) for p, name in found if p.startswith(inside) and name in modules.facts(p)["classes"]]
    proper = [(p, name) for p, name in defined if modules.is_subclass(p, name, kind.base)]
    if not proper and kind.foreign_base:
        proper = [(p, name) for p, name in defined if modules.is_subclass(p, name, ("", kind.foreign_base))]
    if len(proper) == 1:
        if modules.is_subclass(*proper[0], FILE_MODEL):
            line = modules.facts(proper[0][0])["classes"][proper[0][1]]["line"]
            message = f"'{proper[0][1]}' extends {_name(FILE_MODEL)}, which reads a file, and there is none for it"
            raise ConfigError([Problem(proper[0][0], line, 1, message, f"extend {_name(kind.base)}")])
        return proper[0]
    wanted = f"wanted exactly one subclass of {_name(kind.base)}"
    if proper:
        names = ", ".join(f"'{name}'" for _, name in proper)
        line = modules.facts(proper[1][0])["classes"][proper[1][1]]["line"]
        hint = "move the one that is not meant to another file of the folder"
        raise ConfigError([Problem(proper[1][0], line, 1, f"defines {names}, {wanted}", hint)])
    classes = ", ".join(f"'{name}'" for name in facts["classes"] if name != "Config") or "no class"
    raise ConfigError([Problem(path, 1, 1, f"defines {classes}, {wanted}", f"write `class ...({kind.default}):`")])


def _extends(kind: ComponentKind, path: str, name: str, modules: ModuleGraph) -> bool:
    if modules.is_subclass(path, name, kind.base):
        return True
    return bool(kind.foreign_base) and modules.is_subclass(path, name, ("", kind.foreign_base))


def _name(base: tuple[str, str]) -> str:
    return f"{base[0].removesuffix('.py').replace('/', '.')}.{base[1]}"
