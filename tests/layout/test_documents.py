"""What the documents promise is there: links, make targets, modules, and exact versions of everything."""

import importlib.util
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from source_tree import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OURS = {"sr_core", "flows", "serving", "benchmarks", "tests"}


def places(document, pattern):
    """(line number, what the pattern's group holds) of each find."""
    lines = document.read_text(encoding="utf-8").splitlines()
    return [(number, found) for number, line in enumerate(lines, 1) for found in re.findall(pattern, line)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for number, target in places(document, r"\]\(([^)#]+)[^)]*\)"):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), f"{document.name}:{number}: no file {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_make_targets_exist(document):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for number, target in places(document, r"`make ([a-z][\w-]*)|^\s*make ([a-z][\w-]*)"):
        name = "".join(target)
        assert name in targets, f"{document.name}:{number}: make has no target {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_modules_and_scripts_exist(document):
    for number, module in places(document, r"python -m ([\w.]+)|-m (sr_core)\b"):
        name = "".join(module)
        if name.partition(".")[0] in OURS:
            assert importlib.util.find_spec(name), f"{document.name}:{number}: no module {name}"
    for number, script in places(document, r"python ((?:benchmarks|tests)/\S+\.py)"):
        assert (ROOT / script).exists(), f"{document.name}:{number}: no file {script}"


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_version_is_exact_and_portable():
    for name, version in pins().items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name), name
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}: {version} is not a plain version"
        assert not name.lower().startswith(("nvidia", "cuda", "triton")), f"{name} belongs to one build of torch"
    assert pins()["torch"] == "2.13.0"


def test_every_requirement_is_pinned_within_its_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    required = project["build-system"]["requires"] + project["project"]["dependencies"]
    required += [requirement for extra in extras for requirement in extra]
    pinned = {canonicalize_name(name): version for name, version in pins().items()}
    for requirement in map(Requirement, required):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement}: constraints.txt has {version}"


def test_fastapi_stays_below_the_version_that_kills_prefects_server():
    major, minor, *_ = map(int, pins()["fastapi"].split("."))
    assert (major, minor) < (0, 151)
