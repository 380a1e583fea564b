"""The verb `sr web`: address, limits, environment, and the server until it is stopped.

sr web                          http://127.0.0.1:7860, for this machine alone
sr web --host 0.0.0.0 --port 80 for others: there is no password, put it behind something that asks for one
sr web --memory 1G              on one core and 1 GB
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from serving.web.limits import MIN_MEMORY_BYTES, Limits, parse_bytes
from sr_core.errors import ConfigError, SrError, explained

HOST, PORT = "127.0.0.1", 7860
QUIET_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def main(argv: Sequence[str]) -> int:
    """Serves until ctrl-C or SIGTERM; returns the exit code."""
    arguments = _parser().parse_args(list(argv))
    limits = _limits(arguments)
    with tempfile.TemporaryDirectory(prefix="sr-web-") as folder:
        os.environ.update(QUIET_ENVIRONMENT)
        os.environ["GRADIO_TEMP_DIR"] = folder
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
    parser.add_argument("--host", default=HOST, help=f"address to listen at; {HOST}: this machine alone")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}; 0: any that is free")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of models and sample photographs")
    parser.add_argument("--tracking-uri", default=os.environ.get("MLFLOW_TRACKING_URI"), help="MLflow's registry")
    parser.add_argument("--memory", metavar="BYTES", help="of the process, such as 1G; default: what the machine has")
    parser.add_argument("--max-upload", metavar="BYTES", default="50M", help="of a file; default: 50M")
    parser.add_argument("--max-pixels", type=int, default=100_000_000, help="of a photograph; default: 100 million")
    parser.add_argument("--max-result-megapixels", type=float, default=24.0, help="default: 24")
    return parser


def _limits(arguments: argparse.Namespace) -> Limits:
    memory = parse_bytes(arguments.memory, name="--memory") if arguments.memory else None
    if memory is not None and memory < MIN_MEMORY_BYTES:
        raise ConfigError(f"--memory: is {arguments.memory}, expected 700M or more: the server alone takes half of it")
    return Limits(
        max_upload_bytes=parse_bytes(arguments.max_upload, name="--max-upload"),
        max_pixels=arguments.max_pixels,
        max_result_pixels=int(arguments.max_result_megapixels * 1e6),
        memory_bytes=memory,
    )


def _serve(arguments: argparse.Namespace, limits: Limits, folder: Path) -> None:
    import gradio as gr

    from serving.web import choices
    from serving.web.acts import Shop
    from serving.web.page import CSS, build
    from serving.web.work import Workshop

    shop = Shop(
        workshop=Workshop(limits, arguments.tracking_uri),
        models=choices.local_models(arguments.root),
        samples=choices.samples(arguments.root),
        folder=folder,
    )
    page = build(shop)
    font = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # names, and not Google's files
    page.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        show_error=True,
        max_file_size=limits.max_upload_bytes,
        theme=gr.themes.Soft(font=font, font_mono=["ui-monospace", "monospace"]),
        css=CSS,
        footer_links=[],
        run_history=False,
        pwa=False,
    )
    print(f"serving at {page.local_url}", flush=True)
    page.block_thread()
