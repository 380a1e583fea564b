"""A registered model as MLflow loads and serves it: photographs in, larger photographs out.

    model = mlflow.pyfunc.load_model("models:/sr-edsr-x4-bicubic@champion")
    model.predict(photographs)                       # (N, H, W, 3) uint8 RGB -> (N, S*H, S*W, 3)
    model.predict(pandas.DataFrame({"image": [png]}))  # files, as bytes or base64 -> [{"image": base64 of a PNG}]

    mlflow models serve -m models:/sr-edsr-x4-bicubic@champion --env-manager local

docs/rest.md has the REST calls. The artefact holds weights.safetensors and card.json and names this module as its
loader: no pickle, and no code that would run on loading. The weights' sha256 is checked against the card.

The signature is one column `image` of objects, Tensor('object', (-1,)): the one form that MLflow hands on as it came,
as arrays and as text. What is in it is checked here, as strictly as a signature of numbers would.

Shapes: N photographs, H W LR size, S scale.
"""

import threading
from pathlib import Path
from typing import Any

from serving import payloads
from sr_core.errors import ConfigError, ImageError, SrError
from sr_core.train.weights import LoadedModel, load_model
from sr_core.upscale import fastest_device, settings_of, upscale_picture


class Upscaler:
    """What MLflow calls a Python model: an object with `predict`."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._network, self._settings = loaded.network, settings_of(loaded.card)
        self._scale = loaded.card.scale
        self._device, self._limits = fastest_device(), payloads.limits_from()
        self._alone = threading.Lock()  # the server calls from many threads: one at a time bounds the memory

    def predict(self, photographs: Any, params: dict[str, Any] | None = None) -> Any:
        """(N, H, W, 3) uint8 RGB -> (N, S*H, S*W, 3), or (H, W, 3) -> (S*H, S*W, 3); of any size. Or files, see above.

        `params` may hold `output`: same (default), array, png, jpg, webp or tiff. A model loaded through MLflow takes N
        photographs only: MLflow checks the signature first.

        Raises:
            ImageError: not what is taken, not to be decoded, or above a limit. To MLflow's server it is an
                MlflowException as well, which it answers with status 400 and this sentence.
        """
        try:
            output = payloads.output_of(params)
            given = payloads.read(photographs, self._limits)
            payloads.check_results(given, output, self._scale, self._limits)
            with self._alone:
                results = [
                    upscale_picture(self._network, picture, self._settings, device=self._device)
                    for picture in given.pictures
                ]
            return payloads.write(results, given, output)
        except SrError as error:
            raise _for_server(error) from None


def _for_server(error: SrError) -> SrError:
    """`error`, which MLflow's server then answers with its sentence alone."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE

    kind: Any = type(error)

    class Refused(kind, MlflowException):  # type: ignore[misc]
        def __init__(self, sentence: str) -> None:
            self._sentence = sentence
            by_caller = isinstance(self, ImageError | ConfigError)
            MlflowException.__init__(self, sentence, error_code=BAD_REQUEST if by_caller else TEMPORARILY_UNAVAILABLE)

        @property
        def message(self) -> str:
            return self._sentence

        @message.setter
        def message(self, longer: str) -> None:
            """The server would put all of the data before it."""

    refused: SrError = Refused(str(error))
    return refused


def _load_pyfunc(data_path: str) -> Upscaler:
    """The name by which MLflow looks for the loader; `data_path` is the model directory in the artefact."""
    return Upscaler(load_model(Path(data_path)))
