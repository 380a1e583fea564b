"""What `python -m flows.train` ends with: the scores, where things are, and what to do next."""

import json
from pathlib import Path

from rich.console import Console

from flows.registry import registered_path
from sr_core.evaluate.benchmark import read_report
from sr_core.evaluate.report import COMPARISON, REPORT
from sr_core.evaluate.tables import table
from sr_core.evaluate.task import report_directory
from sr_core.params import Params
from sr_core.train import run, weights

NEXT = """
Next:
  the environment       source .venv/bin/activate
  your own photograph   python -m sr_core upscale photo.jpg
  curves and registry   {mlflow}
  the paper's schedule  cp profiles/div2k.yaml params.yaml   (fetches DIV2K, 4 GB)
                        python -m flows.train {model}"""


def show(params: Params) -> None:
    """Prints it for a finished flow with `params`."""
    report_dir, model_dir = report_directory(params), run.model_directory(params)
    registered = json.loads(registered_path(params).read_text())
    lines = [
        f"picture     {report_dir / COMPARISON}",
        f"model       {model_dir} (registered: {registered['name']} version {registered['version']})",
        f"run         {Path(params.data.root) / 'runs' / weights.read_card(model_dir).run}",
        f"MLflow run  {registered['run_id']}",
    ]
    Console().print(table(read_report(report_dir / REPORT)))
    print("\n".join(lines))
    print(NEXT.format(mlflow=_mlflow_page(params.track.uri), model=params.model.name))


def _mlflow_page(uri: str) -> str:
    """How to look at the store at `uri`."""
    if uri.startswith(("http://", "https://")):
        return f"open {uri}"
    # without job execution MLflow starts 2 processes instead of 10
    return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri {uri}"
