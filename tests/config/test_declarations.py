import dataclasses
import importlib
import subprocess
import sys
import typing

import pytest

from tasktrace.config.declarations import _FOLDERS, available, declaration
from tasktrace.config.options import check_options
from tasktrace.errors import ConfigError
from tasktrace.tasks import Task

PACKAGES = {
    "setting": "tasktrace.settings",
    "model": "tasktrace.models",
    "method": "tasktrace.methods",
    "optimizer": "tasktrace.training.optimizers",
    "measure": "tasktrace.measures",
    "study": "tasktrace.studies",
}
DEFINES = {
    "setting": ("prepare", "sources"),
    "model": ("build_encoder",),
    "method": ("Method",),
    "optimizer": ("build",),
    "measure": ("Measure",),
    "study": ("run",),
}
COMPONENTS = [(kind, name) for kind in PACKAGES for name in available(kind)]

NEW = """
import torch_is_not_imported_here
from dataclasses import dataclass
from typing import Literal

VERSION: int = 7


@dataclass(frozen=True, kw_only=True)
class Options:
    rate: float = 0.5
    scale: Literal["sum", "mean"] = "sum"


raise RuntimeError("the rest of the module is left alone")
"""


def fields(options):
    return [(field.name, field.type, field.default) for field in dataclasses.fields(options)]


@pytest.mark.parametrize("kind", PACKAGES)
def test_every_module_with_options_is_a_component(kind):
    modules = [path.stem for path in sorted(_FOLDERS[kind].glob("*.py")) if path.stem != "__init__"]
    imported = {name: importlib.import_module(f"{PACKAGES[kind]}.{name}") for name in modules}
    with_options = tuple(name for name, module in imported.items() if hasattr(module, "Options"))
    assert with_options
    assert available(kind) == with_options


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_a_declaration_read_without_import_is_what_the_module_has(kind, name):
    module = importlib.import_module(f"{PACKAGES[kind]}.{name}")
    declared = declaration(kind, name)
    assert (declared.kind, declared.name, declared.version) == (kind, name, module.VERSION)
    assert fields(declared.options) == fields(module.Options)
    assert declared.tasks == {task.name: task for task in getattr(module, "TASKS", ())}


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_a_component_defines_what_its_kind_promises(kind, name):
    module = importlib.import_module(f"{PACKAGES[kind]}.{name}")
    for function in DEFINES[kind]:
        assert callable(getattr(module, function))


@pytest.mark.parametrize("name", available("setting"))
def test_a_setting_declares_tasks_and_other_kinds_do_not(name):
    tasks = declaration("setting", name).tasks
    assert len(tasks) >= 2
    for key, task in tasks.items():
        assert isinstance(task, Task)
        assert key == task.name
        assert task.outputs >= 1
        assert task.loss in typing.get_args(typing.get_type_hints(Task)["loss"])
    assert declaration("method", "umtg").tasks == {}


def test_reading_every_declaration_imports_no_component():
    script = (
        "import sys\n"
        "from tasktrace.config.declarations import _FOLDERS, available, declaration\n"
        "count = sum(1 for kind in _FOLDERS for name in available(kind) if declaration(kind, name))\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'numpy', 'sklearn', 'tasktrace.settings', 'tasktrace.methods'}\n"
        "print(count, sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(COMPONENTS)} []\n"


@pytest.mark.parametrize("kind", PACKAGES)
def test_an_unknown_component_names_those_that_there_are(kind):
    with pytest.raises(ConfigError) as caught:
        declaration(kind, "nonesuch")
    others = ", torchjd:<Class>" if kind == "method" else ""
    assert str(caught.value) == f"unknown {kind} 'nonesuch'; available: {', '.join(available(kind))}{others}"


def test_a_helper_module_is_no_component():
    with pytest.raises(ConfigError, match="unknown method 'base'; available: "):
        declaration("method", "base")


def test_a_new_module_is_declared_without_being_run(add_component):
    add_component("method", "mine", NEW)
    assert "mine" in available("method")
    declared = declaration("method", "mine")
    assert (declared.version, declared.tasks) == (7, {})
    assert check_options(declared.options, {"rate": 0.25, "scale": "sum"}, "here") == {"rate": 0.25}


def test_a_new_setting_declares_its_tasks(add_component):
    tasks = '\nTASKS = (Task(name="left", outputs=3), Task(name="right", outputs=2))\n'
    add_component("setting", "sides", NEW.replace("\nraise", tasks + "\nraise"))
    assert declaration("setting", "sides").tasks == {
        "left": Task(name="left", outputs=3),
        "right": Task(name="right", outputs=2),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [("= 0.5", "= math.pi"), ("VERSION: int = 7", "VERSION = math.factorial(3)"), ("rate: float", "rate: math.Real")],
)
def test_a_declaration_with_a_foreign_name_says_which_names_it_may_use(add_component, old, new):
    assert old in NEW
    add_component("method", "mine", NEW.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        declaration("method", "mine")
    assert str(caught.value) == (
        "the declaration of method mine uses 'math'; VERSION, TASKS and Options may use only plain values, "
        "dataclass, field, Literal, check_range and Task"
    )


def test_a_check_of_the_options_with_a_foreign_name_is_a_config_error(add_component):
    check = "\n    def __post_init__(self):\n        math.sqrt(self.rate)\n\n\nraise"
    add_component("method", "mine", NEW.replace("\n\nraise", check))
    with pytest.raises(ConfigError, match=r"mine.*'math'"):
        check_options(declaration("method", "mine").options, {"rate": 2.0}, "config/config.yaml: methods.mine")


@pytest.mark.parametrize("version", ["", "VERSION = '7'", "VERSION = 7.0"])
def test_a_declaration_without_an_integer_version_is_refused(add_component, version):
    add_component("optimizer", "mine", NEW.replace("VERSION: int = 7", version))
    with pytest.raises(ConfigError) as caught:
        declaration("optimizer", "mine")
    assert str(caught.value) == "the optimizer module mine.py declares no integer VERSION at its top level"
