"""What happens on a click: values of the page's parts in, values of its parts out."""

import dataclasses
import html
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.web import choices, gallery, parts
from serving.web.catalogue import Catalogue
from serving.web.choices import Named, Sample
from serving.web.sweep import Sweeper
from serving.web.work import Outcome, Workshop
from sr_core.errors import SrError
from sr_core.progress import size_text

WORKING = '<p role="status">Working …</p>'


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """What the page works with."""

    root: Path  # of models, samples and comparisons
    workshop: Workshop
    catalogue: Catalogue
    samples: tuple[Sample, ...]
    sweeper: Sweeper


class Acts:
    """One method for each thing that people do on the page; a session is one visitor's open page."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._bars: dict[str, parts.Bar] = {}  # of what is worked on, by session

    def enlarge(
        self,
        session: str,
        photo: str | None,
        model: str,
        version: str,
        original: str | None,
        protocol: str,
        bar: parts.Bar,
    ) -> Iterator[tuple[Any, ...]]:
        """Message, (bicubic, model), their controls, facts and download: when the work begins, and when it ends."""
        import gradio as gr

        nothing = None, gr.Column(visible=False), "", gr.DownloadButton(visible=False)
        yield WORKING, *nothing
        self._bars[session] = bar
        try:
            outcome = self._work(session, photo, model, version, original, protocol, bar)
        except SrError as error:
            yield _alert(error), *nothing
            # for programs that call; people read the line above
            raise gr.Error(str(error), visible=False, print_exception=False) from None
        finally:
            self._bars.pop(session, None)
        label = f"Download {outcome.result.name} ({size_text(outcome.result.stat().st_size)})"
        download = gr.DownloadButton(label, value=str(outcome.result), visible=True)
        yield "", (str(outcome.bicubic), str(outcome.result)), gr.Column(visible=True), facts(outcome), download

    def _work(
        self,
        session: str,
        photo: str | None,
        model: str,
        version: str,
        original: str | None,
        protocol: str,
        bar: parts.Bar,
    ) -> Outcome:
        if not photo:
            raise SrError("no photograph is chosen: drop one into the first field, or click a sample")
        return self._shop.workshop.enlarge(
            Path(photo),
            self._shop.catalogue.find(model, version),
            self._new_folder(session),
            original=Path(original) if original else None,
            protocol=protocol,
            say=bar.say,
            progress=bar,
        )

    def stop(self, session: str) -> None:
        """Ends what is worked on for this visitor, after the tile at hand."""
        if bar := self._bars.get(session):
            bar.stop()

    def leave(self, session: str) -> None:
        """The visitor has closed the page."""
        self.stop(session)
        self._shop.sweeper.forget(session)

    def arrive(self) -> tuple[Any, ...]:
        """What is known of models and comparisons when a page is opened: model, version, note, comparison, frame."""
        self._shop.catalogue.refresh()
        names = gallery.comparisons(self._shop.root)
        return (*self._chosen(None, None), *_comparison(names))

    def answered(self, model: str | None, version: str | None) -> tuple[Any, ...]:
        """The same of models when the registry has answered, or has not."""
        before = self._shop.catalogue.models()
        self._shop.catalogue.wait()
        untouched = bool(before) and (model, version) == (before[0].name, before[0].versions[0].label)
        return self._chosen(None, None) if untouched else self._chosen(model, version)

    def _chosen(self, model: str | None, version: str | None) -> tuple[Any, ...]:
        """Model, version and note, with what was chosen, or the first of what there is."""
        import gradio as gr

        models = self._shop.catalogue.models()
        named = next((one for one in models if one.name == model), models[0])
        known = labels(named)
        return (
            gr.Dropdown(choices=[one.name for one in models], value=named.name),
            gr.Dropdown(choices=known, value=version if version in known else known[0]),
            self._shop.catalogue.note(),
        )

    def versions(self, model: str, version: str | None) -> Any:
        """The versions of the chosen model, the first of them chosen."""
        return self._chosen(model, version)[1]

    def take_sample(self, session: str, index: int, model: str, version: str) -> tuple[str, str]:
        """A sample made smaller by the model's scale, and its original."""
        scale = self._shop.catalogue.find(model, version).scale or 4
        small, original = choices.reduce_sample(self._shop.samples[index], scale, self._new_folder(session))
        return str(small), str(original)

    def other_photograph(self, original: str | None) -> str | None:
        """The original goes with its sample when another photograph is chosen; one that was uploaded stays."""
        is_samples = original is not None and Path(original).name.endswith(choices.ORIGINAL)
        return None if is_samples else original

    def _new_folder(self, session: str) -> Path:
        return Path(tempfile.mkdtemp(dir=self._shop.sweeper.folder_of(session)))


def _comparison(names: tuple[str, ...]) -> tuple[Any, ...]:
    import gradio as gr

    first = names[0] if names else None
    return (
        gr.Dropdown(choices=list(names), value=first, visible=len(names) > 1),
        gr.HTML(gallery.frame(first), visible=bool(names)),
        gr.Markdown(gallery.NONE, visible=not names),
    )


def _alert(error: SrError) -> str:
    return f'<p role="alert"><b>This did not work.</b> {html.escape(str(error))}</p>'


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
        lines += ["", f"Against the original, by the protocol {outcome.protocol}."]
    return "\n".join([*lines, *(f"\n{note}" for note in outcome.notes)])
