"""A run's status as a page for a terminal of 80 columns: state, figures, curves, launches."""

import contextlib
import time
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sr_core.progress import duration_text, size_text
from sr_core.train import history
from sr_core.train.curves import panel
from sr_core.train.status import Status, look

WIDTH, BAR_CHARS, PANEL_WIDTH, PANEL_HEIGHT = 80, 40, 39, 8
MOST_LAUNCHES = 10
WATCH_EVERY_S = 2.0


def show(run_dir: Path, *, watch: bool = False) -> None:
    """Prints the page on the run in `run_dir`; with `watch`, anew every few seconds until training ends or ctrl-C.

    Raises:
        CheckpointError: it is not a run directory.
    """
    console = _console()
    status = look(run_dir)
    if not (watch and console.is_terminal):
        console.print(page(status, unicode=_is_unicode(console)))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        live.update(page(status, unicode=_is_unicode(console)), refresh=True)
        while status.running:
            time.sleep(WATCH_EVERY_S)
            status = look(run_dir)
            live.update(page(status, unicode=_is_unicode(console)), refresh=True)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def _is_unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


def page(status: Status, *, unicode: bool) -> Group:
    """Everything on one page."""
    parts: list[RenderableType] = [_head(status, unicode), _figures(status), _curves(status, unicode)]
    if status.launches:
        parts.append(_launches(status, unicode))
    return Group(*parts)


def _head(status: Status, unicode: bool) -> Text:
    done = round(status.share * BAR_CHARS)
    full, empty = ("█", "░") if unicode else ("#", ".")
    bar = full * done + empty * (BAR_CHARS - done)
    text = Text(f"{status.run_dir}\n", style="bold")
    text.append(f"{_plain(status.state, unicode)}\n", style="not bold")
    text.append(f"{bar} step {status.step:,}/{status.steps:,} ({100 * status.share:.0f} %)", style="not bold")
    return text


def _figures(status: Status) -> Text:
    now, latest = time.time(), status.latest
    lines: list[tuple[str, str]] = []
    if "train/step_s" in latest:
        crops, step_s = latest.get("train/crops_per_s", 0.0), latest["train/step_s"]
        left = f", {duration_text(status.left_s or 0.0)} left" if status.step < status.steps else ""
        lines.append(("rate", f"{crops:.1f} crops/s, {1 / max(step_s, 1e-9):.2f} steps/s{left}"))
    if "train/loss" in latest:
        lines.append(("loss", f"{latest['train/loss']:.5g}, learning rate {latest.get('train/lr', 0.0):.3g}"))
    if status.best is not None:
        step, psnr = status.best
        lines.append(("validation", f"PSNR {latest['valid/psnr']:.3f} dB, best {psnr:.3f} dB at step {step:,}"))
    saved = status.saved
    kept = f"step {saved.step:,}, {_ago(now - saved.time)}, {size_text(saved.bytes)}" if saved else "none yet"
    lines.append(("checkpoint", kept))
    if latest.get("train/skipped"):
        lines.append(("skipped", f"{latest['train/skipped']:.0f} steps that were not finite"))
    if status.last_event is not None:
        lines.append(("last event", _ago(now - status.last_event)))
    return Text("\n".join(f"{name:<11}{value}" for name, value in lines) + "\n")


def _curves(status: Status, unicode: bool) -> Text:
    last = max(status.step, 1)
    panels = [
        panel(title, curve, x_last=last, width=PANEL_WIDTH, height=PANEL_HEIGHT, unicode=unicode)
        for title, curve in (("training loss", status.loss), ("validation PSNR in dB", status.psnr))
    ]
    lines = (f"{left}  {right}".rstrip() for left, right in zip(*panels, strict=True))
    return Text("\n".join(lines) + "\n", no_wrap=True)


def _launches(status: Status, unicode: bool) -> Table:
    launches = status.launches
    left_out = f", the last {MOST_LAUNCHES}" if len(launches) > MOST_LAUNCHES else ""
    title = f"launches: {len(launches)}{left_out}"
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False, header_style="")
    for name in ("began", "host", "ranks", "steps"):
        table.add_column(name, no_wrap=True, justify="right" if name in {"ranks", "steps"} else "left")
    table.add_column("how it ended", overflow="fold")
    for launch in launches[-MOST_LAUNCHES:]:
        began = time.strftime("%m-%d %H:%M:%S", time.localtime(launch.time))
        steps = f"{launch.from_step:,} - {'?' if launch.step is None else f'{launch.step:,}'}"
        how = _plain(how_ended(launch, status), unicode)
        table.add_row(began, _short(launch.host), str(launch.ranks), steps, Text(how))
    return table


def how_ended(launch: history.Launch, status: Status) -> str:
    """In words, with the checkpoints that it could not use."""
    if launch.how is not None:
        how = launch.how
    else:
        how = "goes on" if launch is status.launches[-1] and status.running else "killed or lost"
    return "; ".join([how, *(f"did not use {line}" for line in launch.rejected)])


def _short(host: str) -> str:
    return host if len(host) <= 16 else f"{host[:15]}…"


def _ago(seconds: float) -> str:
    return f"{duration_text(seconds)} ago"


def _plain(text: str, unicode: bool) -> str:
    return text if unicode else text.encode("ascii", "replace").decode()
