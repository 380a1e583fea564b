"""Importing a module does nothing but define: no files, processes, sockets, environment, logging, threads."""

import json
import subprocess
import sys

from source_tree import hold, imports, sources

OURS = {"sr_core", "flows", "serving"}

WATCH = """
import importlib, json, logging, os, sys, threading, warnings

others, ours = json.loads(sys.argv[1])
for name in others:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        package, _, attribute = name.rpartition(".")
        getattr(importlib.import_module(package), attribute)
import torch

watched, seen = False, []

def hook(event, arguments):
    if not watched:
        return
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith((".py", ".pyc")):
        seen.append(f"opens {arguments[0]}")
    if event in {"subprocess.Popen", "os.system", "os.mkdir", "socket.connect", "socket.bind", "os.posix_spawn"}:
        seen.append(f"{event} {arguments[:2]}")

def state():
    return {
        "environment": dict(os.environ),
        "files in the folder": sorted(os.listdir()),
        "root logger": [logging.root.level, [repr(handler) for handler in logging.root.handlers]],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "torch threads": torch.get_num_threads(),
        "torch defaults": [str(torch.get_default_dtype()), torch.are_deterministic_algorithms_enabled()],
        "warning filters": len(warnings.filters),
        "folder": os.getcwd(),
    }

sys.addaudithook(hook)
found = []
for name in ours:
    before = state()
    watched = True
    importlib.import_module(name)
    watched = False
    after = state()
    found += [f"{name.replace('.', '/')}: changes the {key}" for key in before if before[key] != after[key]]
    found += [f"{name.replace('.', '/')}: {what}" for what in seen]
    seen.clear()
print(json.dumps(found))
"""


def test_importing_has_no_effects(tmp_path):
    mine = sources("sr_core", "flows", "serving")
    names = {name for source in mine for name, _ in imports(source, only_top=True)}
    others = sorted(name for name in names if name.partition(".")[0] not in OURS)
    request = json.dumps([others, [source.module for source in mine]])
    child = subprocess.run(
        [sys.executable, "-c", WATCH, request], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    hold("importing a module only defines", json.loads(child.stdout.splitlines()[-1]))
    assert list(tmp_path.iterdir()) == []
