"""The web page's Dockerfile, read: no docker engine is needed. Its paths exist, its commands run, nobody is root."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from web_server import ROOT, served

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


def test_its_command_serves_and_its_health_check_tells(tmp_path):
    program, *arguments = json.loads(the("CMD"))
    assert [program, *arguments[:2]] == ["python", "-m", "serving.web"]
    with served(tmp_path, *arguments[2:]) as one:
        check = json.loads(the("HEALTHCHECK").partition("CMD ")[2])
        port = one.url.rstrip("/").rpartition(":")[2]
        code = check[2].replace(the("EXPOSE"), port)
        assert code != check[2]
        healthy = subprocess.run([sys.executable, *check[1:2], code], capture_output=True, check=False)
        assert healthy.returncode == 0, healthy.stderr
        assert 0 < resident_bytes(one.pid) < 600_000_000
    ill = subprocess.run([sys.executable, *check[1:2], code], capture_output=True, check=False)
    assert ill.returncode != 0


def test_the_commands_in_its_head_name_this_file():
    head = [line.lstrip("# ") for line in DOCKERFILE.read_text().splitlines() if line.startswith("#     docker")]
    build, run = (shlex.split(line) for line in head)
    assert Path(build[build.index("-f") + 1]) == DOCKERFILE.relative_to(ROOT)
    assert run[-1] == build[build.index("-t") + 1]
