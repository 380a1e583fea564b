"""One model, six ways to use it, one answer: Python, the command, pyfunc, REST, the web page and ONNX."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import rest_server
import web_server
from PIL import Image

from serving import commands
from serving.exchange import export
from serving.models import open_any
from sr_core.data.pictures import Picture, read_picture
from sr_core.upscale import settings_of, upscale_picture

gradio_client = pytest.importorskip("gradio_client")

pytestmark = [
    pytest.mark.timeout(240),  # three servers start
    # MLflow's and SQLAlchemy's own, and gradio_client's sockets, which it leaves to the garbage collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HEIGHT, WIDTH = 45, 71  # odd, and 2 x 3 tiles
# bicubic and what the network adds to it: pictures, and not noise about a mean
MODEL = {"options": {"num_blocks": 2, "num_features": 8, "global_skip": "bicubic"}}


class Ways:
    """How a file's bytes become an enlarged picture, by the name of the way."""

    def __init__(self, rest: rest_server.Served, url: str, folder: Path) -> None:
        import mlflow

        mlflow.set_tracking_uri(rest.params.track.uri)
        self._rest, self._folder = rest, folder
        self._pyfunc = mlflow.pyfunc.load_model(rest_server.GIVEN)
        self._page = gradio_client.Client(url, verbose=False, download_files=folder / "page")
        self.onnx = folder / "model.onnx"
        export.export_onnx(rest_server.GIVEN, self.onnx)
        self.all = {
            "command": lambda data: self._command(data, rest_server.GIVEN),
            "command by path": lambda data: self._command(data, str(rest.model)),
            "pyfunc": self._by_pyfunc,
            "rest": lambda data: self._decoded(rest.pictures(data)[0]["image"]),
            "page": self._by_page,
        }

    def python(self, data: bytes, model: str = rest_server.GIVEN) -> Picture:
        loaded = open_any(model)
        return upscale_picture(loaded.network, read_picture(data), settings_of(loaded.card))

    def by_onnx(self, data: bytes) -> Picture:
        return self._command(data, str(self.onnx))

    def close(self) -> None:
        self._page.close()

    def _command(self, data: bytes, model: str) -> Picture:
        source, target = self._folder / "odd.png", self._folder / "out.png"
        source.write_bytes(data)
        assert commands.main(["upscale", str(source), "--model", model, "--output", str(target), "--overwrite"]) == 0
        return read_picture(target)

    def _by_pyfunc(self, data: bytes) -> Picture:
        import pandas

        return self._decoded(self._pyfunc.predict(pandas.DataFrame({"image": [data]}))[0]["image"])

    def _by_page(self, data: bytes) -> Picture:
        photo = self._folder / "photo.png"
        photo.write_bytes(data)
        chosen = (rest_server.GIVEN.removeprefix("models:/").partition("@")[0], "champion (version 1)")
        values = self._page.predict(gradio_client.handle_file(photo), *chosen, None, "benchmark-y", api_name="/enlarge")
        return read_picture(Path(next(each["value"] for each in values if isinstance(each, dict) and "value" in each)))

    @staticmethod
    def _decoded(text: str) -> Picture:
        return read_picture(base64.b64decode(text))


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ways")
    with pytest.MonkeyPatch.context() as patch, rest_server.served(folder, model=MODEL) as rest:
        for name in ("MLFLOW_TRACKING_URI", "SR_MODEL_CACHE", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
            patch.setenv(name, rest.environment[name])
        patch.chdir(folder)  # artefacts are in ./mlruns
        page = tmp_path_factory.mktemp("page")
        with web_server.served(page, "--tracking-uri", rest.params.track.uri, cwd=folder) as served:
            ways = Ways(rest, served.url, page)
            try:
                yield ways
            finally:
                ways.close()


def photograph(kind: str) -> bytes:
    """A PNG with edges, a gradient and noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    plain = 3.0 * columns + 60 * ((rows // 7 + columns // 9) % 2)
    channels = {"rgb": 3, "alpha": 4, "grey": 1}[kind]
    pixels = plain[:, :, None] / np.arange(1, channels + 1) + random.uniform(-9, 9, (HEIGHT, WIDTH, channels))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8).squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def off(one: Picture, other: Picture) -> int:
    """By how many levels they differ at most; fails if they are of different kinds."""
    assert (one.pixels.dtype, one.pixels.shape) == (other.pixels.dtype, other.pixels.shape)
    assert (one.alpha is None) == (other.alpha is None)
    planes = [(one.pixels, other.pixels)] + ([(one.alpha, other.alpha)] if one.alpha is not None else [])
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in planes)


@pytest.mark.parametrize("kind", ["rgb", "alpha", "grey"])
def test_every_way_gives_the_same_pixels(ways, kind):
    data = photograph(kind)
    wanted = ways.python(data)
    assert wanted.pixels.shape == (4 * HEIGHT, 4 * WIDTH, 1 if kind == "grey" else 3)
    assert (wanted.alpha is not None) == (kind == "alpha")
    assert off(wanted, ways.python(data, "bicubic")) > 3  # the network has its say
    assert {name: off(way(data), wanted) for name, way in ways.all.items()} == dict.fromkeys(ways.all, 0)
    assert off(ways.by_onnx(data), wanted) <= 1
