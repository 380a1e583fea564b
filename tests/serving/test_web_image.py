"""The web page's Dockerfile, read: no docker engine is needed. Its paths exist, its commands run, nobody is root."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from web_server import ROOT

from serving.web.limits import resident_bytes

DOCKERFILE = ROOT / "deploy" / "web" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def the(word: str) -> str:
    (rest,) = [rest for found, rest in instructions() if found == word]
    return rest


def test_what_is_copied_is_there_and_holds_what_the_page_imports():
    copied = [path for word, rest in instructions() if word == "COPY" for path in rest.split()[:-1]]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in packages} <= set(copied)


def test_what_is_installed_is_pinned_and_an_extra_of_ours():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = the("RUN")
    extras = re.search(r"'\.\[([\w,]+)\]'", run)[1].split(",")
    assert set(extras) <= project["optional-dependencies"].keys()
    assert re.search(r"torch==[\d.]+", run)[0] in (ROOT / "constraints.txt").read_text().splitlines()
    assert "-c constraints.txt" in run


def test_it_is_not_root_who_serves():
    assert the("USER") == "web"
    words = [word for word, _ in instructions()]
    assert words.index("USER") < words.index("CMD")


def test_its_health_check_tells_whether_the_page_is_served(page_server):
    """Its command is what serves in all tests."""
    assert json.loads(the("CMD")) == ["python", "-m", "serving.web", "--host", "0.0.0.0", "--memory", "1G"]
    check = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
    port = page_server.url.rstrip("/").rpartition(":")[2]
    for where, healthy in ((port, True), ("1", False)):
        code = check[2].replace(the("EXPOSE"), where)
        assert code != check[2]
        child = subprocess.run([sys.executable, *check[1:2], code], capture_output=True, check=False)
        assert (child.returncode == 0) == healthy, child.stderr


def test_the_server_at_rest_takes_less_than_half_of_its_memory(page_server):
    assert 0 < resident_bytes(page_server.pid) < 512 * 2**20


def test_the_commands_in_its_head_name_this_file():
    head = [line.lstrip("# ") for line in DOCKERFILE.read_text().splitlines() if line.startswith("#     docker")]
    build, run = (shlex.split(line) for line in head)
    assert Path(build[build.index("-f") + 1]) == DOCKERFILE.relative_to(ROOT)
    assert run[-1] == build[build.index("-t") + 1]
