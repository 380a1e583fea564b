"""The blind opinion page, by itself or as a part of the web page.

    sr vote                                   # on the newest comparison in data/compare
    sr vote mine --port 7861                  # python -m serving.opinions.page mine --port 7861

People give single pictures 1 to 5 points, or choose between two; votes go to data/opinions/<comparison>.db, and
`sr opinions` shows what they say.
"""

import argparse
import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.opinions import view
from serving.opinions.order import MOST
from sr_core.errors import SrError
from sr_core.extras import require

COMPARISONS, OPINIONS = Path("data/compare"), Path("data/opinions")
HOST, PORT = "127.0.0.1", 7861


def build(
    comparisons: Path = COMPARISONS,
    opinions: Path = OPINIONS,
    *,
    name: str | None = None,
    seed: int = 1,
    most: int = MOST,
) -> Any:
    """Puts the page into the Gradio Blocks (or Tab) around the call, and returns its component.

    Votes are on the comparison `name` in `comparisons`, None: on the newest one at the time of each vote. A rater is
    asked for `most` pictures and as many pairs. Nothing is read before somebody opens the page.
    """
    gradio = require("gradio", "serve")

    @functools.cache
    def handler() -> Any:
        # only now: it needs torch, for which the web page's first visitor should not wait
        from serving.opinions.handler import Handler

        return Handler(comparisons, opinions, name=name, seed=seed, most=most)

    def answer(request: Any) -> Any:
        return handler().answer(request)

    return gradio.HTML(
        html_template=view.TEMPLATE,
        css_template=view.STYLE,
        js_on_load=view.SCRIPT,
        server_functions=[answer],
        apply_default_css=False,
        padding=True,
    )


def app(comparisons: Path, opinions: Path, *, name: str | None = None, seed: int = 1, most: int = MOST) -> Any:
    """The Gradio Blocks of the page alone."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    gradio = require("gradio", "serve")
    with gradio.Blocks(title="Opinions", analytics_enabled=False, fill_width=True) as blocks:
        build(comparisons, opinions, name=name, seed=seed, most=most)
    return blocks


def main(arguments: Sequence[str] | None = None) -> int:
    """`sr vote`: serves the page until it is interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.opinions.page", description="A blind test of pictures.")
    parser.add_argument("name", nargs="?", help="the comparison, a folder in --compare (default: the newest)")
    parser.add_argument("--compare", type=Path, default=COMPARISONS, metavar="FOLDER", help="where comparisons lie")
    parser.add_argument("--opinions", type=Path, default=OPINIONS, metavar="FOLDER", help="where votes are kept")
    parser.add_argument("--host", default=HOST, help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--most", type=int, default=MOST, help="pictures, and pairs, that one rater is asked for")
    parser.add_argument("--seed", type=int, default=1, help="of the raters' orders")
    given = parser.parse_args(arguments)
    from serving.opinions.stimuli import comparison_directory

    try:
        if given.name is not None:
            comparison_directory(given.compare, given.name)
        if given.most < 1:
            raise SrError(f"--most is {given.most}, expected 1 or more")
        _check_free(given.host, given.port)
        blocks = app(given.compare, given.opinions, name=given.name, seed=given.seed, most=given.most)
        _serve(blocks, given.host, given.port)
    except SrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _check_free(host: str, port: int) -> None:
    """Before Gradio is started, which takes seconds."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except (OSError, OverflowError) as error:
            raise SrError(f"--port: {host}:{port} cannot be listened at ({error}); choose another") from None


def _serve(blocks: Any, host: str, port: int) -> None:
    """Until ctrl-C or SIGTERM."""
    try:
        blocks.launch(
            server_name=host, server_port=port, footer_links=[], ssr_mode=False, quiet=True, prevent_thread_lock=True
        )
    except OSError as error:  # somebody was faster
        raise SrError(f"--port: {host}:{port} cannot be listened at ({error}); choose another") from None
    print(f"voting at {blocks.local_url}", flush=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    blocks.close(verbose=False)


if __name__ == "__main__":
    sys.exit(main())
