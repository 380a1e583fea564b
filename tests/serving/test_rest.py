"""The registered model behind MLflow's own server: README's calls, the same pixels, and bad input of every kind."""

import base64
import io
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import rest_server
from bad_inputs import BAD_INPUTS, deep_png
from PIL import Image
from rest_server import GIVEN, MAX_BYTES, MAX_PIXELS, README, Served, text

from serving import commands
from serving.models import open_any
from sr_core.data.pictures import encode_picture, read_picture
from sr_core.upscale import settings_of, upscale_picture

# MLflow's and SQLAlchemy's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")


def block(start: str) -> str:
    """The indented block of README.md that follows the line `start`."""
    lines = README[README.index(f"\n{start}\n") :].splitlines()[3:]
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("    "))
    return "\n".join(line[4:] for line in lines[:end])


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with rest_server.served(tmp_path_factory.mktemp("served")) as one:
        yield one


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise(*shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


PICTURES = {  # 9 tiles each
    "rgb": png(noise(71, 93, 3)),
    "grey": png(noise(71, 93)),
    "alpha": png(noise(71, 93, 4)),
    "16 bits": deep_png(noise(71, 93, 3, dtype=np.uint16)),
    "grey with 16 bits": deep_png(noise(71, 93, dtype=np.uint16)),
}


def opened(served: Served):
    return open_any(GIVEN, uri=served.environment["MLFLOW_TRACKING_URI"], cache=served.folder / "cache")


def enlarged(model, data: bytes):
    """What the Python call makes of a file."""
    return upscale_picture(model.network, read_picture(data), settings_of(model.card))


def same(one, other) -> None:
    assert one.pixels.dtype == other.pixels.dtype
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert (one.alpha is None) == (other.alpha is None)
    if one.alpha is not None:
        np.testing.assert_array_equal(one.alpha, other.alpha)


def test_a_file_has_the_pixels_of_the_python_call_and_of_the_command(served, tmp_path, monkeypatch):
    for kind, data in PICTURES.items():
        (tmp_path / f"{kind}.png").write_bytes(data)
    for name in ("MLFLOW_TRACKING_URI", "SR_MODEL_CACHE"):
        monkeypatch.setenv(name, served.environment[name])
    sources = [str(tmp_path / f"{kind}.png") for kind in PICTURES]
    assert commands.main(["upscale", *sources, "--model", GIVEN, "--output", str(tmp_path / "out")]) == 0
    model = opened(served)
    for kind, data in PICTURES.items():
        (answer,) = served.pictures(data)
        got = read_picture(base64.b64decode(answer["image"]))
        assert got.pixels.shape == (284, 372, 1 if "grey" in kind else 3)
        assert (got.alpha is not None) == (kind == "alpha")
        same(got, enlarged(model, data))
        same(got, read_picture(tmp_path / "out" / f"{kind}-x4.png"))
        (array,) = served.pictures(data, output="array")
        whole = got.pixels if got.alpha is None else np.dstack([got.pixels, got.alpha])
        np.testing.assert_array_equal(np.array(array), whole)


def test_arrays_have_the_pixels_of_the_python_call(served, monkeypatch):
    photographs = noise(2, 37, 41, 3)
    status, answer = served.call({"inputs": photographs.tolist()})
    assert status == 200
    got, opened_model = np.array(answer["predictions"]), opened(served)
    wanted = np.stack([enlarged(opened_model, png(each)).pixels for each in photographs])
    np.testing.assert_array_equal(got, wanted)
    _, as_files = served.call({"inputs": photographs.tolist(), "params": {"output": "png"}})
    for each, pixels in zip(as_files["predictions"], wanted, strict=True):
        np.testing.assert_array_equal(read_picture(base64.b64decode(each["image"])).pixels, pixels)
    import mlflow

    monkeypatch.chdir(served.folder)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(served.environment["MLFLOW_TRACKING_URI"])
    model = mlflow.pyfunc.load_model(GIVEN)
    np.testing.assert_array_equal(model.predict(photographs), wanted)
    import pandas

    made_of_bytes = model.predict(pandas.DataFrame({"image": [PICTURES["grey"]]}))
    same(read_picture(base64.b64decode(made_of_bytes[0]["image"])), enlarged(opened_model, PICTURES["grey"]))


def test_several_files_of_any_size_and_kind_in_one_call(served):
    answers = served.pictures(PICTURES["alpha"], png(noise(5, 7, 3)), output="webp")
    found = [base64.b64decode(each["image"]) for each in answers]
    assert all(data[8:12] == b"WEBP" for data in found)
    assert [read_picture(data).pixels.shape[:2] for data in found] == [(284, 372), (20, 28)]
    arrays = served.pictures(PICTURES["grey"], png(noise(5, 7, 3)), output="array")
    assert [np.array(each).shape for each in arrays] == [(284, 372, 1), (20, 28, 3)]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"image": text(PICTURES["rgb"])}]},
        {"dataframe_split": {"columns": ["image"], "data": [[text(PICTURES["rgb"])]]}},
        {"inputs": {"image": [text(PICTURES["rgb"])]}},
        {"instances": [{"image": text(PICTURES["rgb"])}]},
        {"inputs": text(PICTURES["rgb"])},
        {"inputs": [f"data:image/png;base64,{text(PICTURES['rgb'])}"]},
        {"inputs": [base64.encodebytes(PICTURES["rgb"]).decode()]},
    ],
    ids=["records", "split", "column", "instances", "text", "data URI", "lines"],
)
def test_a_file_may_be_sent_in_any_of_mlflows_forms(served, body):
    status, answer = served.call(body)
    assert status == 200
    assert answer["predictions"] == served.pictures(PICTURES["rgb"])


def test_the_readmes_calls_do_what_it_says(served):
    photo = encode_picture(read_picture(PICTURES["rgb"]), "jpg")
    (served.folder / "photo.jpg").write_bytes(photo)
    calls = {
        "photo-curl.png": ["bash", "-euo", "pipefail", "-c", block("With curl:")],
        "photo-python.png": [sys.executable, "-c", block("With Python:")],
    }
    wanted = enlarged(opened(served), photo)
    for name, given in calls.items():
        literal = [part.replace("5001", str(served.port)) for part in given]
        done = subprocess.run(
            literal, cwd=served.folder, env=served.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        same(read_picture(served.folder / name), wanted)


def test_every_bad_input_is_a_message_or_the_right_picture(served):
    for bad in BAD_INPUTS:
        status, answer = served.call({"inputs": [text(bad.data)]})
        if bad.picture is None:
            assert status == 400, bad.name
            assert answer["message"].startswith("image: "), (bad.name, answer)
            assert "Traceback" not in answer["message"]
            if bad.data:
                says = bad.says.replace("data\\.max_pixels 100000000", f"SR_SERVE_MAX_PIXELS {MAX_PIXELS}")
                assert re.search(says, answer["message"]), (bad.name, answer["message"])
        else:
            assert status == 200, (bad.name, answer)
            got = read_picture(base64.b64decode(answer["predictions"][0]["image"]))
            assert got.pixels.dtype == bad.picture.pixels.dtype
            assert got.pixels.shape == tuple(4 * side for side in bad.picture.pixels.shape[:2]) + got.pixels.shape[2:]
    assert served.pictures(PICTURES["rgb"])
    assert "Traceback" not in served.log.read_text()


NO_ARRAY = "expected uint8 RGB of shape (number, height, width, 3)"
WRONG = {
    "no base64": ({"inputs": ["%%%"]}, "image: is not base64"),
    "half a letter": ({"inputs": ["iVBOR"]}, "image: is not base64"),
    "another alphabet": ({"inputs": ["éé"]}, "image: is not base64"),
    "empty text": ({"inputs": [""]}, "image: is empty, expected a PNG or JPEG file as base64"),
    "nothing": ({"inputs": []}, NO_ARRAY),
    "a number": ({"inputs": 5}, NO_ARRAY),
    "null": ({"inputs": None}, NO_ARRAY),
    "yes": ({"inputs": True}, NO_ARRAY),
    "text and number": ({"inputs": [text(PICTURES["rgb"]), 5]}, NO_ARRAY),
    "fractions": ({"inputs": (noise(1, 5, 5, 3) / 255).tolist()}, "the photographs hold float"),
    "negative": ({"inputs": (noise(1, 5, 5, 3).astype(int) - 9).tolist()}, NO_ARRAY),
    "256": ({"inputs": np.full((1, 5, 5, 3), 256).tolist()}, NO_ARRAY),
    "far too large": ({"inputs": [[[[10**30] * 3]]]}, NO_ARRAY),
    "transparent": ({"inputs": noise(1, 5, 5, 4).tolist()}, NO_ARRAY),
    "five axes": ({"inputs": noise(1, 1, 5, 5, 3).tolist()}, NO_ARRAY),
    "grey": ({"inputs": noise(5, 5).tolist()}, NO_ARRAY),
    "ragged": ({"inputs": [[[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]]]}, NO_ARRAY),
    "objects": ({"inputs": [{"image": {}}]}, "Model is missing inputs"),
    "another column": ({"dataframe_records": [{"picture": "eA=="}]}, "Model is missing inputs ['image']"),
    "a null in a column": ({"dataframe_records": [{"image": None}]}, "Failed to enforce schema"),
    "a number in a column": ({"dataframe_records": [{"image": 5}]}, NO_ARRAY),
    "no input": ({}, "exactly one of the input fields"),
    "a list": ([1], "JSON dictionary"),
    "another output": (
        {"inputs": [text(PICTURES["rgb"])], "params": {"output": "gif"}},
        "params.output: is 'gif', expected one of same, array, png, jpg",
    ),
    "no output": ({"inputs": ["eA=="], "params": {"output": 5}}, "Can not safely convert"),
    "pixels in a file": ({"inputs": [text(png(noise(201, 200, 3)))]}, f"more than SR_SERVE_MAX_PIXELS {MAX_PIXELS}"),
    "pixels in two files": (
        {"inputs": [text(png(np.zeros((150, 150, 3), np.uint8)))] * 2},
        "have 45,000 pixels, above the limit of 40,000; send fewer or smaller ones",
    ),
    "pixels in arrays that go out": (
        {"inputs": [text(png(np.zeros((110, 100, 3), np.uint8)))], "params": {"output": "array"}},
        "the results would have 176,000 pixels, above the limit of 160,000 for arrays; ask for files",
    ),
    "pixels in an array": ({"inputs": np.zeros((1, 201, 200, 3), int).tolist()}, "have 40,200 pixels, above the limit"),
    "bytes": ({"inputs": [text(bytes(MAX_BYTES + 1))]}, "image: is above the limit of 300,000 bytes"),
    "bytes of the second": (
        {"inputs": [text(PICTURES["rgb"]), text(bytes(MAX_BYTES))]},
        "image 2 of 2: is above the limit of 300,000 bytes for the files of one call",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_body_is_a_message(served, name):
    body, says = WRONG[name]
    assert says in served.refused(body)


def test_what_is_no_json_is_a_message(served):
    for body in (b"{", b"\xff\xfe", b""):
        assert "valid JSON" in served.refused(body)
    url = f"http://127.0.0.1:{served.port}/invocations"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(urllib.request.Request(url, b"x", {"Content-Type": "image/png"}), timeout=20)
    with refusal.value as error:
        assert error.code == 415


def test_nothing_that_was_planted_in_the_artefact_runs(served, tmp_path):
    """Code and pickles beside weights and card: whoever loads it, none of them is touched."""
    folder = tmp_path / "project"
    shutil.copytree(served.folder / "mlruns", folder / "mlruns")
    (artefact,) = (path.parent for path in folder.rglob("MLmodel"))
    ran = tmp_path / "ran"
    evil = f"open({str(ran)!r}, 'w').close()\n"
    pickled = b"cbuiltins\nexec\n(V" + evil.encode().replace(b"\n", b"") + b"\ntR."
    for place in (artefact, artefact / "data", artefact / "data/model", artefact / "code"):
        place.mkdir(exist_ok=True)
        for name in ("serving.py", "sitecustomize.py", "__init__.py", "torch.py", "loader.py"):
            (place / name).write_text(evil)
        for name in ("python_model.pkl", "model.pkl", "weights.pth", "card.pkl", "weights.pt"):
            (place / name).write_bytes(pickled)
    code = """
import pathlib, sys, mlflow, numpy
artefact, pickled = pathlib.Path(sys.argv[1]), sys.argv[2].encode()
model = mlflow.pyfunc.load_model(str(artefact))
print(model.predict(numpy.zeros((1, 4, 5, 3), numpy.uint8)).shape, flush=True)
(artefact / "data/model/weights.safetensors").write_bytes(pickled)
mlflow.pyfunc.load_model(str(artefact))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(artefact), pickled.decode()],
        cwd=folder,
        env={**served.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.strip() == "(1, 16, 20, 3)", done.stderr
    assert done.returncode != 0
    assert "its card says" in done.stderr
    assert not ran.exists()
