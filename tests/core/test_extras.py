"""A part that is not installed is named in one sentence, however it is met."""

import subprocess
import sys

import pytest

from sr_core.errors import SrError
from sr_core.extras import MissingExtraError, require

SENTENCE = "prefect is not installed: pip install -c constraints.txt -e '.[pipeline]'"


def test_what_is_there_is_returned():
    assert require("json.decoder", "pipeline").JSONDecoder


def test_what_is_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(SrError, match=r"^mlflow is not installed: pip install -c constraints.txt -e '.\[serve\]'$"):
        require("mlflow", "serve")


def test_a_part_of_a_package_is_named_by_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(MissingExtraError, match=r"^ray.train is not installed"):
        require("ray.train", "pipeline")


def test_what_an_installed_package_misses_is_not_our_extra(monkeypatch, tmp_path):
    (tmp_path / "half_installed.py").write_text("import some_dependency_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="some_dependency_nobody_has"):
        require("half_installed", "pipeline")


@pytest.mark.parametrize("start", ["runpy.run_module('flows.train', run_name='__main__')", "flows.cli.main()"])
def test_without_prefect_a_flow_ends_in_that_sentence(start):
    code = (
        "import runpy, sys, flows.cli; sys.modules['prefect'] = None; "
        f"sys.argv = ['sr', 'pipeline', 'edsr']; sys.exit({start})"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.returncode, child.stderr.strip()) == (1, SENTENCE)
