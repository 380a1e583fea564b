"""`sr`: every verb goes where it says, and is imported only then."""

import importlib
import subprocess
import sys

import pytest

from flows import cli
from sr_core import __main__ as core
from sr_core.errors import BusyError


class Recorder:
    def __init__(self, ends_with):
        self.calls, self._ends_with = [], ends_with

    def main(self, arguments):
        self.calls.append(arguments)
        if isinstance(self._ends_with, Exception):
            raise self._ends_with
        return self._ends_with


@pytest.fixture
def recorder(monkeypatch):
    """Stands in for every module; `importing` lists which."""

    def make(ends_with=0):
        made = Recorder(ends_with)
        made.importing = []
        monkeypatch.setattr(cli.importlib, "import_module", lambda name: made.importing.append(name) or made)
        return made

    return make


def test_the_librarys_verbs_are_the_librarys(recorder):
    verbs = next(action for action in core._parser()._actions if action.dest == "verb").choices
    assert set(verbs) == set(cli.CORE)
    made = recorder(75)
    assert cli.main(["train", "--set", "train.steps=3"]) == 75
    assert (made.importing, made.calls) == (["sr_core.__main__"], [["train", "--set", "train.steps=3"]])


def test_the_pipelines_verbs_lose_their_name(recorder):
    made = recorder()
    assert cli.main(["pipeline", "edsr", "--only", "train"]) == 0
    assert (made.importing, made.calls) == (["flows.train"], [["edsr", "--only", "train"]])


@pytest.mark.parametrize("verb", cli.PIPELINE)
def test_every_verb_has_a_main(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(cli.PIPELINE[verb][0]).main(["--help"])
    usage = capsys.readouterr().out
    assert f"python -m {cli.PIPELINE[verb][0]}" in usage or f"sr {verb}" in usage


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--help"], 0), (["trian"], 2)])
def test_otherwise_the_verbs_are_listed(arguments, code, capsys):
    assert cli.main(arguments) == code
    listing = capsys.readouterr().out
    assert all(f"\n  {verb} " in listing for verb in [*cli.CORE, *cli.PIPELINE])


def test_an_error_is_a_sentence_and_its_code(recorder, capsys):
    recorder(BusyError("data is in use"))
    assert cli.main(["prepare"]) == BusyError.exit_code
    assert capsys.readouterr().err == "data is in use\n"


def test_the_command_imports_nothing_heavy():
    code = (
        "import sys, flows.cli; flows.cli.main([]); print([m for m in ('torch', 'prefect', 'ray') if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.endswith("[]\n")
