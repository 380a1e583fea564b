"""What is on the page, and which act a click leads to."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from serving.web import parts
from serving.web.acts import Acts, Shop, labels
from sr_core.evaluate.metrics import PROTOCOLS

if TYPE_CHECKING:
    import gradio as gr

TITLE = "Super-resolution"
INTRODUCTION = "Choose a photograph and a model; the model makes it larger. Nothing leaves this server."
MOST_WAITING = 32
CSS = """
footer { display: none !important; }
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: 0 auto !important; }
#message { min-height: 1.5em; }
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What people choose; Gradio's components."""

    photo: Any
    samples: Any  # None where there are none
    model: Any
    version: Any
    original: Any
    protocol: Any
    button: Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """What people see; Gradio's components."""

    message: Any
    slider: Any
    facts: Any
    download: Any

    def all(self) -> list[Any]:
        """In the order in which `Acts.enlarge` gives their values."""
        return [self.message, self.slider, self.facts, self.download]


def build(shop: Shop) -> "gr.Blocks":
    """The page, not yet served."""
    import gradio as gr

    page: gr.Blocks = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, 1800))
    with page:
        gr.Markdown(f"# {TITLE}\n{INTRODUCTION}")
        with gr.Tab("Enlarge"), gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs = _inputs(shop)
            with gr.Column(scale=3, min_width=320):
                outputs = _outputs()
        _wire(Acts(shop), inputs, outputs)
    page.queue(max_size=MOST_WAITING, default_concurrency_limit=4)
    return page


def _inputs(shop: Shop) -> Inputs:
    import gradio as gr

    first = shop.models[0]
    photo = parts.photograph(label="Photograph", height=280, elem_id="photograph")
    samples = _samples(shop)
    with gr.Row():
        names = [one.name for one in shop.models]
        model = parts.choice(label="Model", choices=names, value=first.name, elem_id="model")
        version = parts.choice(label="Version", choices=labels(first), value=labels(first)[0], elem_id="version")
    with gr.Accordion("Compare with an original (optional)", open=False):
        original = parts.photograph(label="Original, as large as the result", height=200, elem_id="original")
        protocol = gr.Dropdown(label="Protocol", choices=list(PROTOCOLS), value="benchmark-y")
    button = gr.Button("Enlarge", variant="primary", elem_id="enlarge")
    return Inputs(
        photo=photo,
        samples=samples,
        model=model,
        version=version,
        original=original,
        protocol=protocol,
        button=button,
    )


def _samples(shop: Shop) -> Any:
    import gradio as gr

    if not shop.samples:
        return None
    gr.set_static_paths([str(sample.path) for sample in shop.samples])
    return gr.Dataset(
        label="Or a sample photograph, made smaller; its original is then known",
        components=[gr.Image(visible=False, label="Sample")],
        samples=[[str(sample.path)] for sample in shop.samples],
        type="index",
        elem_id="samples",
    )


def _outputs() -> Outputs:
    import gradio as gr

    return Outputs(
        message=gr.Markdown("", elem_id="message"),
        slider=gr.ImageSlider(
            label="Bicubic (left) and model (right): drag the line, turn the wheel to zoom",
            format="png",
            type="filepath",
            interactive=False,
            max_height=560,
            buttons=["fullscreen"],
            elem_id="slider",
        ),
        facts=gr.Markdown("", elem_id="facts"),
        download=gr.DownloadButton("Download the result", visible=False, elem_id="download"),
    )


def _wire(acts: Acts, inputs: Inputs, outputs: Outputs) -> None:
    import gradio as gr

    def enlarge(
        photo: str | None,
        model: str,
        version: str,
        original: str | None,
        protocol: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (this is how Gradio knows that it is wanted)
    ) -> Iterator[tuple[Any, ...]]:
        yield from acts.enlarge(photo, model, version, original, protocol, parts.Bar(progress))

    given = [inputs.photo, inputs.model, inputs.version, inputs.original, inputs.protocol]
    inputs.button.click(enlarge, given, outputs.all(), concurrency_limit=1, concurrency_id="work", api_name="enlarge")
    inputs.model.change(acts.versions, [inputs.model], [inputs.version], api_visibility="private")
    if inputs.samples is not None:
        chosen = [inputs.samples, inputs.model, inputs.version]
        inputs.samples.click(acts.take_sample, chosen, [inputs.photo, inputs.original], api_visibility="private")
