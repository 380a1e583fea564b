"""The scanners see what they are meant to see, however it is spelled."""

import ast

import pytest
from source_tree import calls, imports, parse
from test_owners import is_rename, is_unsafe
from test_style import public


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import ray.train as rt", ["ray.train"]),
        ("from sr_core import files, errors", ["sr_core.files", "sr_core.errors"]),
        ("from . import loop", ["sr_core.train.loop"]),
        ("from ..data.order import draw", ["sr_core.data.order.draw"]),
        ("def f():\n    if True:\n        import mlflow", ["mlflow"]),
        ("importlib.import_module('dvc.api')", ["dvc.api"]),
        ("require('ray', 'pipeline')", ["ray"]),
        ("importlib.import_module(name)", []),
    ],
)
def test_imports(text, expected):
    assert [name for name, _ in imports(parse("sr_core/train/x.py", text))] == expected


def test_imports_at_the_top_leave_the_lazy_ones_out():
    source = parse("x.py", "import a\ndef f():\n    import b")
    assert [name for name, _ in imports(source, only_top=True)] == ["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from PIL import Image\nImage.open(p)", "PIL.Image.open"),
        ("import numpy as np\nnp.load(p)", "numpy.load"),
        ("from safetensors.torch import load_file as read\nread(p)", "safetensors.torch.load_file"),
        ("import torch.distributed as dist\ndist.new_group()", "torch.distributed.new_group"),
        ("import torch\ntorch.load(p)", "torch.load"),
        ("make()(p)", "?"),
    ],
)
def test_calls_are_named_in_full(text, expected):
    assert expected in [name for name, _ in calls(parse("x.py", text))]


def matches(predicate, text):
    return any(predicate(name, node) for name, node in calls(parse("x.py", text)))


@pytest.mark.parametrize(
    "text",
    ["path.replace(other)", "path.rename(other)", "import os\nos.replace(a, b)", "import shutil as s\ns.move(a, b)"],
)
def test_renames_are_seen(text):
    assert matches(is_rename, text)


@pytest.mark.parametrize("text", ["'a'.replace('b', 'c')", "dataclasses.replace(a, b=1)", "when.replace(hour=0)"])
def test_what_only_sounds_like_a_rename_passes(text):
    assert not matches(is_rename, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import torch\ntorch.load(p)", True),
        ("import torch\ntorch.load(p, weights_only=False)", True),
        ("import torch\ntorch.load(p, weights_only=True)", False),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", True),
        ("import numpy as np\nnp.load(p, allow_pickle=flag)", True),
        ("import numpy as np\nnp.load(p)", False),
    ],
)
def test_unsafe_loads_are_seen(text, expected):
    assert matches(is_unsafe, text) is expected


def test_public_means_reachable_from_outside():
    tree = ast.parse(
        "class A:\n def b(self):\n  def c(): ...\n def _d(self): ...\nclass _E:\n def f(self): ...\ndef g(): ..."
    )
    assert [node.name for node in public(tree.body)] == ["A", "b", "g"]
