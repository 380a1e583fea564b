"""What happens on a click: values of the page's parts in, values of its parts out."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.web import choices, parts
from serving.web.choices import Named, Sample
from serving.web.work import Outcome, Workshop
from sr_core.errors import SrError
from sr_core.progress import size_text


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """What the page works with."""

    workshop: Workshop
    models: tuple[Named, ...]
    samples: tuple[Sample, ...]
    folder: Path  # of this server's uploads and results


class Acts:
    """One method for each thing that people do on the page."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def enlarge(
        self, photo: str | None, model: str, version: str, original: str | None, protocol: str, bar: parts.Bar
    ) -> Iterator[tuple[Any, ...]]:
        """Message, (bicubic, model), facts and download, twice: when the work begins and when it has ended."""
        import gradio as gr

        yield "Working …", None, "", gr.DownloadButton(visible=False)
        try:
            outcome = self._work(photo, model, version, original, protocol, bar)
        except SrError as error:
            yield f"**This did not work:** {error}", None, "", gr.DownloadButton(visible=False)
            raise gr.Error(str(error), duration=None, print_exception=False) from None
        size = size_text(outcome.result.stat().st_size)
        label = f"Download the result (PNG, {size})"
        download = gr.DownloadButton(label, value=str(outcome.result), visible=True)
        yield "", (str(outcome.bicubic), str(outcome.result)), facts(outcome), download

    def _work(
        self, photo: str | None, model: str, version: str, original: str | None, protocol: str, bar: parts.Bar
    ) -> Outcome:
        if not photo:
            raise SrError("no photograph is chosen: drop one above, or click a sample")
        return self._shop.workshop.enlarge(
            Path(photo),
            choices.find(self._shop.models, model, version),
            self._new_folder(),
            original=Path(original) if original else None,
            protocol=protocol,
            say=bar.say,
            progress=bar,
        )

    def versions(self, model: str) -> Any:
        """The versions of another model, the first of them chosen."""
        import gradio as gr

        known = next((labels(named) for named in self._shop.models if named.name == model), [])
        return gr.Dropdown(choices=known, value=known[0] if known else None)

    def take_sample(self, index: int, model: str, version: str) -> tuple[str, str]:
        """A sample made smaller by the model's scale, and its original."""
        scale = choices.find(self._shop.models, model, version).scale or 4
        small, original = choices.reduce_sample(self._shop.samples[index], scale, self._new_folder())
        return str(small), str(original)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._shop.folder))


def labels(named: Named) -> list[str]:
    """Of its versions."""
    return [version.label for version in named.versions]


def facts(outcome: Outcome) -> str:
    """Sizes, time and scores as Markdown."""
    width, height = outcome.size
    lines = [
        f"{width} × {height} pixels ({outcome.kind}) became {width * outcome.scale} × {height * outcome.scale} "
        f"by {outcome.model} in {outcome.seconds:.2f} s."
    ]
    if outcome.scores:
        lines += ["", "| | PSNR | SSIM |", "|---|---:|---:|"]
        lines += [f"| {score.name} | {score.psnr:.2f} dB | {score.ssim:.4f} |" for score in outcome.scores]
        lines += ["", f"Protocol: {outcome.protocol}."]
    return "\n".join(lines)
