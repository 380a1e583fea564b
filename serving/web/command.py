"""The verb `sr web`: address, limits, environment, and the server until it is stopped.

sr web                          http://127.0.0.1:7860, for this machine alone
sr web --host 0.0.0.0           for others: there is no password, put it behind something that asks for one
sr web --memory 1G              on one core and 1 GB
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.web.limits import (
    MIN_MEMORY_BYTES,
    Limits,
    container_bytes,
    num_cores,
    return_freed_memory,
)
from sr_core.data.policy import MAX_PIXELS
from sr_core.errors import ConfigError, SrError, explained
from sr_core.progress import parse_bytes

HOST, PORT = "127.0.0.1", 7860
ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # names, and not Google's files


def main(argv: Sequence[str]) -> int:
    """Serves until ctrl-C or SIGTERM; returns the exit code.

    Raises:
        ConfigError: an argument is wrong.
        SrError: the address cannot be listened at.
    """
    arguments = _parser().parse_args(list(argv))
    limits = _limits(arguments)
    return_freed_memory()
    with tempfile.TemporaryDirectory(prefix="sr-web-") as folder:
        os.environ.update(ENVIRONMENT, GRADIO_TEMP_DIR=folder)
        os.environ.setdefault("OMP_NUM_THREADS", str(num_cores()))
        _serve(arguments, limits, Path(folder).resolve())
    return 0


def run() -> int:
    """For `python -m`: an error is a sentence and an exit code."""
    try:
        return main(sys.argv[1:])
    except (SrError, OSError) as error:
        told = explained(error)
        print(told, file=sys.stderr)
        return told.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sr web", description="A page on which photographs are enlarged.")
    parser.add_argument("--host", default=HOST, help=f"address to listen at (default: {HOST}, this machine alone)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0: any that is free")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of models, samples, comparisons, votes")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow's registry (default: MLFLOW_TRACKING_URI)")
    parser.add_argument("--memory", metavar="BYTES", help="of the process, such as 1G (default: the container's limit)")
    parser.add_argument("--max-upload", metavar="BYTES", default="50M", help="of a file (default: 50M)")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="of a photograph (default: 100 million)")
    parser.add_argument("--max-result-megapixels", type=float, default=24.0, help="default: 24")
    parser.add_argument("--keep-minutes", type=float, default=30.0, help="how long files stay (default: 30)")
    return parser


def _limits(arguments: argparse.Namespace) -> Limits:
    memory = parse_bytes(arguments.memory, name="--memory") if arguments.memory else container_bytes()
    if memory is not None and memory < MIN_MEMORY_BYTES:
        raise ConfigError(f"--memory: is {memory} bytes, expected 700M or more: the server alone takes half of it")
    for name in ("max_pixels", "max_result_megapixels", "keep_minutes"):
        if getattr(arguments, name) <= 0:
            raise ConfigError(f"--{name.replace('_', '-')}: is {getattr(arguments, name)}, expected more than 0")
    return Limits(
        max_upload_bytes=parse_bytes(arguments.max_upload, name="--max-upload"),
        max_pixels=arguments.max_pixels,
        max_result_pixels=int(arguments.max_result_megapixels * 1e6),
        memory_bytes=memory,
        keep_s=arguments.keep_minutes * 60,
    )


def _serve(arguments: argparse.Namespace, limits: Limits, folder: Path) -> None:
    from serving.web import choices
    from serving.web.acts import Shop
    from serving.web.catalogue import Catalogue
    from serving.web.page import build
    from serving.web.sweep import Sweeper
    from serving.web.work import Workshop

    catalogue = Catalogue(arguments.root, arguments.tracking_uri)
    shop = Shop(
        root=arguments.root,
        workshop=Workshop(limits, catalogue.uri),
        catalogue=catalogue,
        samples=choices.samples(arguments.root),
        sweeper=Sweeper(folder, limits),
    )
    page = build(shop)
    _launch(page, arguments, limits)
    print(f"serving at {page.local_url}", flush=True)
    shop.sweeper.start()
    # only now: together with Gradio's start it would delay the first page
    threading.Thread(target=shop.workshop.warm, name="warm", daemon=True).start()
    _wait()


def _launch(page: Any, arguments: argparse.Namespace, limits: Limits) -> None:
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    from serving.web.fence import Fence
    from serving.web.gallery import ADDRESS
    from serving.web.page import CSS

    compare = StaticFiles(directory=arguments.root / "compare", check_dir=False)
    compare.config_checked = True  # a folder that is not there yet has no files, which is no failure
    try:
        page.launch(
            server_name=arguments.host,
            server_port=arguments.port or _free_port(arguments.host),
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            max_file_size=limits.max_upload_bytes,
            max_threads=16,
            state_session_capacity=64,  # what Gradio keeps of visitors; nothing here needs more
            theme=gr.themes.Soft(font=FONT, font_mono=["ui-monospace", "monospace"]),
            css=CSS,
            footer_links=[],
            run_history=False,
            pwa=False,
            app_kwargs={"middleware": [Middleware(Fence)], "routes": [Mount(f"/{ADDRESS}", app=compare)]},
        )
    except OSError as error:
        raise SrError(
            f"--port: {arguments.host}:{arguments.port} cannot be listened at ({error}); choose another"
        ) from None


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _wait() -> None:
    """Until ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
