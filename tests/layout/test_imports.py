"""Who may import what: the core stays light, data flows one way, each tool has its place."""

import graphlib
import subprocess
import sys

import pytest
from source_tree import ROOT, hold, imports, sources

CORE_MAY_IMPORT = {"numpy", "PIL", "torch", "fsspec", "safetensors", "yaml", "rich", "sr_core"}
# a module that may import more, where it is used: 16 bits per channel need another decoder
BEYOND_THE_CORE = {"sr_core.data.deep": {"imagecodecs", "tifffile"}}
HEAVY = ("prefect", "ray", "mlflow", "dvc", "pandas", "matplotlib", "skimage", "sklearn", "scipy", "pyarrow", "fastapi")
HEAVY += ("imagecodecs", "tifffile", "gradio", "onnx", "onnxruntime")

# each room of sr_core and the rooms it may import
BASIS = {
    "errors",
    "extras",
    "files",
    "faults",
    "params",
    "train_params",
    "config",
    "world",
    "progress",
    "precision",
    "remote",
}
ROOMS = {
    "errors": set(),
    "files": {"errors"},
    "faults": {"errors"},
    "extras": {"errors"},
    "sections": set(),
    "degradation_params": {"sections"},
    "train_params": {"sections"},
    "launch_params": {"sections"},
    "params": {"files", "sections", "degradation_params", "launch_params", "train_params"},
    "config": {"errors", "files", "params"},
    "world": {"errors", "faults", "files"},
    "progress": {"errors"},
    "remote": {"errors", "files", "faults", "params", "progress"},
    "torchrun": {"errors"},
    "precision": {"errors"},
    "data": BASIS | {"degradation_params"},
    "inspect": BASIS | {"data"},
    "models": BASIS | {"data"},
    "upscale": BASIS | {"data", "models"},
    "evaluate": BASIS | {"data", "models", "upscale"},
    "train": BASIS | {"data", "models", "upscale"},
    "compare": BASIS | {"data", "inspect", "models", "upscale", "evaluate", "train"},
    "__main__": BASIS | {"data", "inspect", "models", "upscale", "evaluate", "train"},
}
# train and evaluate stand side by side: single modules of one that single modules of the other may use as well
BESIDE = {
    "sr_core.train": {"sr_core.evaluate.metrics"},
    "sr_core.evaluate.command": {"sr_core.train.run"},
    "sr_core.evaluate.folder": {"sr_core.train.weights"},
    "sr_core.evaluate.learned": {"sr_core.train.weights"},
    "sr_core.evaluate.task": {f"sr_core.train.{name}" for name in ("exchange", "run", "start", "weights")},
}
TOOLS = {
    "ray": {f"flows/{name}.py" for name in ("cluster", "courier", "launch", "notice", "shard_tasks", "workers")},
    "mlflow": {
        *(f"flows/{name}.py" for name in ("track", "registry", "model_version", "lineage", "compare_run")),
        *(f"serving/{name}.py" for name in ("store", "registered", "pyfunc")),
    },
    "dvc": {"flows/versions.py"},
    "prefect": {"flows/running.py", "flows/bare_names.py", "flows/resubmit.py"},
}


def test_the_core_imports_only_light_packages():
    allowed = CORE_MAY_IMPORT | sys.stdlib_module_names
    hold(
        f"sr_core imports the standard library and {', '.join(sorted(CORE_MAY_IMPORT))}, nothing else",
        [
            f"{source.at(node)}: {name}"
            for source in sources("sr_core")
            for name, node in imports(source)
            if name.partition(".")[0] not in allowed | BEYOND_THE_CORE.get(source.module, set())
        ],
    )


def test_the_core_knows_neither_flows_nor_serving():
    hold(
        "sr_core never imports flows or serving",
        [
            f"{source.at(node)}: {name}"
            for source in sources("sr_core")
            for name, node in imports(source)
            if name.partition(".")[0] in {"flows", "serving"}
        ],
    )


def room_of(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "sr_core" and len(parts) > 1 else None


def is_below(name, module):
    """Whether the imported `name` is `module` or something in it."""
    return name == module or name.startswith(f"{module}.")


def may_import(source, name):
    room, other = room_of(source.module), room_of(name)
    if other in {None, room} or room is None or other in ROOMS[room]:
        return True
    return any(
        is_below(source.module, user) and any(is_below(name, module) for module in used)
        for user, used in BESIDE.items()
    )


def test_data_flows_one_way_through_the_core():
    hold(
        "errors, files <- config, world <- data <- models <- upscale <- evaluate, train <- __main__",
        [
            f"{source.at(node)}: imports {name}"
            for source in sources("sr_core")
            for name, node in imports(source)
            if not may_import(source, name)
        ],
    )


def test_no_module_of_the_core_imports_itself_by_a_detour():
    modules = {source.module for source in sources("sr_core")}
    below = {
        source.module: {owner(name, modules) for name, _ in imports(source)} - {"", source.module}
        for source in sources("sr_core")
    }
    try:
        tuple(graphlib.TopologicalSorter(below).static_order())
    except graphlib.CycleError as error:
        hold("modules of sr_core import each other in no circle", [" -> ".join(error.args[1])])


def owner(name, modules):
    """The module that an imported name lies in: of `sr_core.files.mismatch`, sr_core.files."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def test_every_room_of_the_core_has_its_place_in_the_table():
    assert {room_of(source.module) for source in sources("sr_core")} - {None} <= set(ROOMS)


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_has_its_place(tool):
    hold(
        f"only {', '.join(sorted(TOOLS[tool]))} import {tool}",
        [
            f"{source.at(node)}: {name}"
            for source in sources("flows", "serving")
            for name, node in imports(source)
            if name.partition(".")[0] == tool and source.path not in TOOLS[tool]
        ],
    )


def test_a_module_of_flows_uses_one_tool():
    used = {
        source.path: {name.partition(".")[0] for name, _ in imports(source)} & set(TOOLS)
        for source in sources("flows", "serving")
    }
    hold(
        "one tool per module",
        [f"{path}:1: {', '.join(sorted(tools))}" for path, tools in used.items() if len(tools) > 1],
    )


WITHOUT = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
for name in {modules}:
    importlib.import_module(name)
"""


def test_the_core_and_the_command_line_start_without_any_extra():
    modules = [source.module for source in sources("sr_core")]
    modules += [source.module for source in sources("flows") if source.path == "flows/cli.py"]
    code = WITHOUT.format(heavy=HEAVY, modules=modules)
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, f"a core install cannot import this:\n{child.stderr}"
