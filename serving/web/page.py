"""What is on the page, and which act a click leads to."""

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from serving.opinions import page as opinions
from serving.web import gallery, parts
from serving.web.acts import Acts, Shop, labels
from sr_core.evaluate.metrics import PROTOCOLS

if TYPE_CHECKING:
    import gradio as gr

TITLE = "Super-resolution"
INTRODUCTION = "Choose a photograph and a model; the model makes it larger. Nothing leaves this server."
MOST_WAITING = 32
MOVE_LINE = "(position) => ({__type__: 'update', slider_position: position})"
# as if the wheel were turned over the middle of the pictures; each notch is 5 %
ZOOM = """() => {
  const picture = document.querySelector('#slider img'), box = picture.getBoundingClientRect();
  const middle = {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
  for (let notch = 0; notch < 8; notch++)
    picture.dispatchEvent(new WheelEvent('wheel', {deltaY: %d, bubbles: true, cancelable: true, ...middle}));
}"""
# thumbnails are pictures without words, for whoever hears the page
NAME_SAMPLES = """() => {
  const names = %s, name = () => document.querySelectorAll('#samples button')
    .forEach((button, i) => button.setAttribute('aria-label', 'sample photograph ' + names[i]));
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  name();
}"""
CSS = """
footer { display: none !important; }
.gradio-container { width: 100% !important; max-width: 1280px !important; margin: 0 auto !important; }
#message:not(:has(p)) { display: none; }
#message p { margin: 0; }
#message p[role=alert] { padding: .75em 1em; border-left: 4px solid #b91c1c; background: #b91c1c18; }
#note { font-size: .85em; opacity: .8; }
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What people choose; Gradio's components."""

    photo: Any
    samples: Any  # None where there are none
    model: Any
    version: Any
    note: Any
    original: Any
    protocol: Any
    button: Any
    stop: Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """What people see; Gradio's components."""

    message: Any
    slider: Any
    controls: Any  # of the slider, shown with it
    line: Any
    zoom_in: Any
    zoom_out: Any
    facts: Any
    download: Any

    def all(self) -> list[Any]:
        """Those that `Acts.enlarge` gives values to, in its order."""
        return [self.message, self.slider, self.controls, self.facts, self.download]


def build(shop: Shop) -> "gr.Blocks":
    """The page, not yet served."""
    import gradio as gr

    keep_s = round(shop.workshop.limits.keep_s)
    page: gr.Blocks = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, keep_s))
    acts = Acts(shop)
    with page:
        gr.Markdown(f"# {TITLE}\n{INTRODUCTION}")
        with gr.Tab("Enlarge"), gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs = _inputs(shop)
            with gr.Column(scale=3, min_width=320):
                outputs = _outputs()
        with gr.Tab("Comparisons"):
            comparison = _comparisons()
        with gr.Tab("Vote"):
            opinions.build(shop.root / "compare", shop.root / "opinions")
        _wire(acts, inputs, outputs)
        _wire_looking(page, shop, outputs)
        _wire_arrival(page, acts, inputs, comparison)
    page.queue(max_size=MOST_WAITING, default_concurrency_limit=8)
    return page


def _inputs(shop: Shop) -> Inputs:
    import gradio as gr

    first = shop.catalogue.models()[0]
    photo = parts.photograph(label="Photograph", height=280, elem_id="photograph")
    samples = _samples(shop)
    with gr.Row():
        names = [one.name for one in shop.catalogue.models()]
        model = parts.choice(label="Model", choices=names, value=first.name, elem_id="model")
        version = parts.choice(label="Version", choices=labels(first), value=labels(first)[0], elem_id="version")
    note = gr.Markdown(shop.catalogue.note(), elem_id="note")
    with gr.Accordion("Compare with an original (optional)", open=False):
        original = parts.photograph(label="Original, as large as the result", height=200, elem_id="original")
        protocol = parts.choice(
            label="Protocol of PSNR and SSIM", choices=list(PROTOCOLS), value="benchmark-y", elem_id="protocol"
        )
    with gr.Row():
        button = gr.Button("Enlarge", variant="primary", scale=3, elem_id="enlarge")
        stop = gr.Button("Stop", scale=1, min_width=80, elem_id="stop")
    return Inputs(
        photo=photo,
        samples=samples,
        model=model,
        version=version,
        note=note,
        original=original,
        protocol=protocol,
        button=button,
        stop=stop,
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

    message = gr.HTML("", elem_id="message")
    slider = gr.ImageSlider(
        label="Bicubic (left), model (right)",
        format="png",
        type="filepath",
        interactive=False,
        max_height=560,
        buttons=["fullscreen"],
        elem_id="slider",
    )
    # the line can be dragged and the wheel turned, but neither has a key of its own
    with gr.Column(visible=False, elem_id="controls") as controls:
        line = gr.Slider(0, 100, 50, step=1, label="Line between them, in percent", elem_id="line")
        with gr.Row():
            zoom_in = gr.Button("Zoom in", min_width=80, elem_id="zoom-in")
            zoom_out = gr.Button("Zoom out", min_width=80, elem_id="zoom-out")
    return Outputs(
        message=message,
        slider=slider,
        controls=controls,
        line=line,
        zoom_in=zoom_in,
        zoom_out=zoom_out,
        facts=gr.Markdown("", elem_id="facts"),
        download=gr.DownloadButton("Download the result", visible=False, variant="primary", elem_id="download"),
    )


def _comparisons() -> tuple[Any, Any, Any]:
    """Which, its frame, and the sentence when there is none."""
    import gradio as gr

    which = gr.Dropdown(label="Comparison", choices=[], visible=False, allow_custom_value=True, elem_id="comparison")
    frame, none = gr.HTML("", visible=False, elem_id="frame"), gr.Markdown(gallery.NONE, visible=False)
    which.change(gallery.frame, [which], [frame], api_visibility="private")
    return which, frame, none


def _wire(acts: Acts, inputs: Inputs, outputs: Outputs) -> None:
    import gradio as gr

    def enlarge(
        photo: str | None,
        model: str,
        version: str,
        original: str | None,
        protocol: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (this is how Gradio knows that it is wanted)
    ) -> Iterator[tuple[Any, ...]]:
        bar = parts.Bar(progress)
        yield from acts.enlarge(request.session_hash or "", photo, model, version, original, protocol, bar)

    def take_sample(index: int, model: str, version: str, request: gr.Request) -> tuple[str, str]:
        return acts.take_sample(request.session_hash or "", index, model, version)

    def stop(request: gr.Request) -> None:
        acts.stop(request.session_hash or "")

    given = [inputs.photo, inputs.model, inputs.version, inputs.original, inputs.protocol]
    inputs.button.click(
        enlarge,
        given,
        outputs.all(),
        concurrency_limit=1,
        concurrency_id="work",
        show_progress_on=[outputs.slider],
        api_name="enlarge",
    )
    inputs.stop.click(stop, None, None, queue=False, api_visibility="private")
    inputs.photo.input(acts.other_photograph, [inputs.original], [inputs.original], api_visibility="private")
    inputs.model.input(acts.versions, [inputs.model, inputs.version], [inputs.version], api_visibility="private")
    if inputs.samples is not None:
        chosen = [inputs.samples, inputs.model, inputs.version]
        inputs.samples.click(take_sample, chosen, [inputs.photo, inputs.original], api_visibility="private")


def _wire_looking(page: "gr.Blocks", shop: Shop, outputs: Outputs) -> None:
    """What the browser does by itself."""
    outputs.line.input(None, [outputs.line], [outputs.slider], js=MOVE_LINE)
    outputs.zoom_in.click(None, js=ZOOM % -1)
    outputs.zoom_out.click(None, js=ZOOM % 1)
    page.load(None, js=NAME_SAMPLES % json.dumps([sample.name.replace("_", " ") for sample in shop.samples]))


def _wire_arrival(page: "gr.Blocks", acts: Acts, inputs: Inputs, comparison: tuple[Any, Any, Any]) -> None:
    import gradio as gr

    def leave(request: gr.Request) -> None:
        acts.leave(request.session_hash or "")

    models = [inputs.model, inputs.version, inputs.note]
    quietly: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    arrived = page.load(acts.arrive, None, [*models, *comparison], **quietly)
    arrived.then(acts.answered, models[:2], models, concurrency_limit=None, **quietly)
    page.unload(leave)
