"""The five components: which file overrides which, and which class it defines."""

from dataclasses import dataclass

from pipeline.errors import ConfigError, Problem
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
class Component:
    """The class that an experiment uses for one component."""

    kind: str
    path: str  # of the file that defines it
    class_name: str
    declared_by: str  # the experiment that says so
    setting: str = ""  # the key in that experiment's experiment.yaml, where no override file says it

    def is_same(self, other: "Component") -> bool:
        """Say whether two experiments mean the same class, whoever says so."""
        return (self.path, self.class_name) == (other.path, other.class_name)

    @property
    def module(self) -> str:
        """The module to import the class from."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def find_override_files(kind: ComponentKind, folder: str, modules: ModuleGraph) -> list[str]:
    """Return the file, or the folder's `__init__.py`, or both, that stand in `folder` under a component's name."""
    package = f"{folder}/{kind.name}"
    return [path for path in (f"{package}.py", f"{package}/__init__.py") if modules.find_file(path)]


def find_override(kind: ComponentKind, folder: str, modules: ModuleGraph) -> str | None:
    """Return the file that overrides a component, or None without one. Raises ConfigError where there are two."""
    paths = find_override_files(kind, folder, modules)
    if len(paths) == 2:
        package = paths[1].removesuffix("__init__.py")
        raise ConfigError([Problem(paths[0], 0, 0, f"'{package}' overrides the {kind.name} too; keep one of them")])
    if not paths and modules.is_folder(f"{folder}/{kind.name}"):
        problem = Problem(f"{folder}/{kind.name}", 0, 0, "the folder of an override has to have an __init__.py")
        raise ConfigError([problem])
    return paths[0] if paths else None


def find_declared(kind: ComponentKind, experiment: str, reference: str, modules: ModuleGraph) -> Component:
    """Return the component that experiment.yaml names as `module:Class`.

    Raises LookupError, with a message, where it is not a subclass of the component's base class.
    """
    module, class_name = reference.split(":")
    path = modules.find(module)
    if path is None:
        raise LookupError(f"no module '{module}' in common or experiments")
    if class_name not in modules.facts(path)["classes"]:
        raise LookupError(f"'{module}' defines no class '{class_name}'")
    is_default = (path, class_name) == (kind.base[0], kind.default)
    if not is_default and ((path, class_name) == kind.base or not _extends(kind, path, class_name, modules)):
        raise LookupError(f"'{class_name}' is no subclass of {_name(kind.base)}")
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
