"""Gradio's components where they would change a file or fetch one: here they hand on exactly what was uploaded."""

import abc
from typing import TYPE_CHECKING, Any

from sr_core.errors import SrError
from sr_core.progress import Unit

if TYPE_CHECKING:
    import gradio as gr


def photograph(**options: Any) -> Any:
    """A place to drop a photograph, whose value is the path of the uploaded file, byte for byte.

    Gradio's own opens the file with Pillow and writes another one, and fetches what an API call names by a URL.
    """
    import gradio as gr

    async def move(self: Any, path: Any) -> str | None:
        if str(path).startswith(("http:", "https:")):
            said = "the photograph is a URL, expected a file: nothing is fetched from elsewhere"
            raise gr.Error(said, print_exception=False)
        return await gr.Image.async_move_resource_to_block_cache(self, path)

    def path_of(_: Any, payload: Any) -> str | None:
        return getattr(payload, "path", None)

    kind = _subclass(gr.Image, preprocess=path_of, async_move_resource_to_block_cache=move)
    return kind(type="filepath", format="png", sources=["upload", "clipboard"], alt_text="what you chose", **options)


def choice(**options: Any) -> Any:
    """A list to choose from that may change; the page itself checks what comes back."""
    import gradio as gr

    return _subclass(gr.Dropdown, preprocess=lambda _, payload: payload)(filterable=True, **options)


def _subclass(base: type, **members: Any) -> Any:
    """`base` with other `members`, which the browser shows as `base`.

    Made past Gradio's metaclass, which would write a .pyi file beside this module.
    """
    return abc.ABCMeta.__new__(
        type(base), f"Our{base.__name__}", (base,), {"is_template": True, "__module__": __name__, **members}
    )


class Bar:
    """Progress as Gradio shows it, and the place where work ends that its visitor has stopped."""

    def __init__(self, progress: "gr.Progress") -> None:
        self._progress, self._label, self._done = progress, "", 0
        self._total: int | None = None
        self._stopped = False

    def stop(self) -> None:
        """From any thread."""
        self._stopped = True

    def start(self, label: str, total: int | None = None, *, unit: Unit = "things") -> None:  # noqa: ARG002
        """Begins a task of `total` tiles."""
        self._label, self._total, self._done = label, total, 0
        self.advance(0)

    def advance(self, amount: int = 1) -> None:
        """So many more are done.

        Raises:
            StoppedByVisitorError: it shall not go on.
        """
        self._done += amount
        if self._stopped:
            raise StoppedByVisitorError("stopped, as you wished")
        if self._total:
            self._progress((self._done, self._total), desc=self._label, unit="tiles")

    def say(self, text: str) -> None:
        """One line."""
        self._progress(None, desc=text)


class StoppedByVisitorError(SrError):
    """A visitor has stopped the work, or left."""
