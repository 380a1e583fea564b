"""The training loop: the same function in one process, under torchrun and under Ray Train.

    python -m sr_core train
    torchrun --nproc-per-node 2 -m sr_core train
    python -m flows.train edsr

The run directory is the truth, not the launcher: it is locked by one group of ranks, the newest whole checkpoint
in it is where training goes on, and (seed, step) says which batch comes next. Nothing else is remembered.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from sr_core import faults, precision
from sr_core.data.patches import Dataset, ImageSet, batches
from sr_core.data.sources import dataset_name
from sr_core.errors import ConfigError, GroupError
from sr_core.evaluate.metrics import PROTOCOLS, psnr
from sr_core.models.card import Card
from sr_core.params import Params
from sr_core.progress import QUIET, Progress
from sr_core.train import batch_norm, checkpoint, content, history, metrics_log, mirror, run, start
from sr_core.train.adversarial import AdversarialStep
from sr_core.train.memory import keep_freed_memory
from sr_core.train.optim import learning_rate
from sr_core.train.saver import Saver
from sr_core.train.state import fresh
from sr_core.train.step import RegressionStep, Step
from sr_core.train.window import Behind, Window
from sr_core.upscale import upscale
from sr_core.world import World

# called on every rank when a checkpoint is written (ray.train.report is a barrier): the step and rank 0's values
Observe = Callable[[int, Mapping[str, float]], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """How a call of `train` ended."""

    run_dir: Path
    step: int
    best_step: int | None
    best_psnr: float | None  # dB, mean over the validated images, by params.train.eval_protocol
    stopped: bool  # asked to stop before the last step; the same command goes on


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What `auto` and null mean for this run: resolved once by rank 0, recorded, and taken over by a resume."""

    precision: precision.Precision
    num_threads: int


def train(
    params: Params,
    world: World,
    run_dir: Path,
    *,
    dataset: Dataset,
    observe: Observe | None = None,
    progress: Progress = QUIET,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Trains until `params.train.steps`, from where `run_dir` was left.

    Raises:
        ShardError: the ranks hold different data.
        BusyError: another process trains in `run_dir`.
        CheckpointError: `run_dir` belongs to other parameters or data, or no checkpoint in it is whole.
        ConfigError, SourceError: what the content loss needs cannot be had.
        GroupError: another rank hangs or was lost.
        DivergedError: loss or gradient became NaN or infinite in more than `train.max_skipped` steps; the last
            checkpoint is from before the last of them.
    """
    if params.train.batch < world.size:
        raise ConfigError(
            f"train.batch: is {params.train.batch}, expected one crop at least for each of {world.size} ranks"
        )
    progress = progress if world.is_first else QUIET
    run.check_same_data(world, dataset.digest)
    features = world.on_all(lambda: content.extractor(params, world.device, progress))
    with (
        run.owned(run_dir, world),
        mirror.attached(params, world, run_dir, progress=progress, should_stop=should_stop) as mirrored,
    ):
        begins_with = world.on_first(lambda: run.check_identity(run_dir, params, dataset.digest))
        found = world.on_first(lambda: checkpoint.newest(run_dir / run.CHECKPOINTS))
        settings = _settings(params, world, found.manifest)
        loop = _Loop(params, world, run_dir, dataset, features, settings, observe, progress, mirrored)
        loop.restore(found, begins_with)
        told = history.recorded(
            run_dir,
            world,
            from_step=loop.step,
            rejected=found.rejected,
            step=lambda: loop.step,
            say=progress.say,
        )
        with told as record, loop.saver:
            try:
                result = loop.run(should_stop)
            except GroupError as error:
                raise GroupError(f"after step {loop.step}: {error}") from None
            if result.stopped:
                record.stopped(getattr(should_stop, "by", None))
            return result


def _settings(params: Params, world: World, manifest: checkpoint.Manifest | None) -> Settings:
    if manifest is not None:
        recorded: precision.Precision = "bf16" if manifest.precision == "bf16" else "float32"
        return Settings(precision=recorded, num_threads=manifest.num_threads)
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", world.size))
    num_threads = params.train.num_threads or max(1, len(os.sched_getaffinity(0)) // ranks_here)
    return world.on_first(
        lambda: Settings(precision=precision.resolve(params.train.precision, world.device), num_threads=num_threads)
    )


class _Loop:
    def __init__(
        self,
        params: Params,
        world: World,
        run_dir: Path,
        dataset: Dataset,
        features: torch.nn.Module | None,
        settings: Settings,
        observe: Observe | None,
        progress: Progress,
        mirrored: mirror.Mirror,
    ) -> None:
        torch.set_num_threads(settings.num_threads)
        if world.device.type == "cpu":
            keep_freed_memory()
        torch.use_deterministic_algorithms(params.train.deterministic)
        torch.backends.cudnn.benchmark = not params.train.deterministic
        self._params, self._world, self._run_dir, self._dataset = params, world, run_dir, dataset
        self._settings, self._observe, self._progress = settings, observe, progress
        self._git_commit = run.git_commit() if world.is_first else None
        self._state = fresh(params, world)
        self._step: Step = (
            AdversarialStep(self._state, params, world, settings.precision, features)
            if params.is_adversarial
            else RegressionStep(self._state, params.train, world, settings.precision)
        )
        self._window, self._asked_to_stop = Window(world), Behind(world.device)
        self.saver = Saver(
            run_dir / run.CHECKPOINTS,
            keep=params.train.keep_checkpoints,
            committed=self._committed,
        )
        self._mirror = mirrored

    def _committed(self) -> None:
        run.drop_former_best(self._run_dir)
        self._mirror.wake()

    def restore(self, found: checkpoint.Found, begins_with: str | None) -> None:
        """Takes the state from the checkpoint, or stays at step 0; the metrics log goes back with it.

        Rank 0 reads, the others receive: they may be on hosts that do not see its disk.
        `begins_with`: the sha256 of the weights that step 0 begins with.
        """
        state, world = self._state, self._world
        for line in found.rejected:
            self._progress.say(f"checkpoint not used: {line}")
        path, directory = found.path, self._run_dir / run.CHECKPOINTS
        if path is not None and found.manifest is not None:
            step = found.manifest.step
            world.on_first(lambda: checkpoint.discard_after(directory, step))
            world.on_first(lambda: state.restore(checkpoint.load_tensors(path)))
            self._state.step = found.manifest.step
            self._state.skipped.fill_(found.manifest.skipped)
            self._state.best_psnr, self._state.best_step = found.manifest.best_psnr, found.manifest.best_step
            self._progress.say(f"goes on from {found.path}")
            self._say_what_differs(found.manifest)
        elif begins_with is not None:
            world.on_first(
                lambda: start.begin(state.network, self._params, sha256=begins_with, progress=self._progress)
            )
            state.ema.load_state_dict(state.network.state_dict())
        if path is not None or begins_with is not None:
            world.broadcast_in_place(state.tensors().values())
        self._start = state.step
        if world.is_first:
            self._log = metrics_log.MetricsLog(self._run_dir, from_step=state.step)
            self.saver.prepare("checkpoint", state.tensors())
            self.saver.prepare("best", state.ema.state_dict())

    def _say_what_differs(self, manifest: checkpoint.Manifest) -> None:
        """Bit for bit is promised for the same number of ranks and the same torch."""
        for what, was, now in (
            ("ranks", manifest.world_size, self._world.size),
            ("torch", manifest.torch_version, torch.__version__),
        ):
            if was != now:
                self._progress.say(f"{what}: was {was}, is now {now}; the weights will differ in their last bits")

    @property
    def step(self) -> int:
        """The steps that are done."""
        return self._state.step

    def run(self, should_stop: Callable[[], bool]) -> RunResult:
        """The loop itself."""
        train, state, world = self._params.train, self._state, self._world
        start, stopped = self._start, False
        if note := batch_norm.explained(state.trained, world):
            self._progress.say(note)
        self._progress.start(f"training {self._params.task}", train.steps)
        self._progress.advance(start)
        source = batches(
            self._dataset.train,
            seed=self._params.seed,
            start=start,
            stop=train.steps,
            batch=train.batch,
            share=world.share(train.batch),
            augment=train.augment,
            crop=self._params.crop,
            threads=train.loader_threads,
        )
        self._window.restart()
        with contextlib.closing(source):
            for batch in source:
                if state.step == start:
                    faults.point("first_batch")
                self._step(batch, stop=should_stop())
                self._window.add(self._step)
                stopped = self._after_step()
                self._progress.advance()
                if stopped:
                    break
        world.on_first(self.saver.close)  # a rank that ended before would have its launcher end this one
        faults.point("shutdown")
        return RunResult(
            run_dir=self._run_dir,
            step=state.step,
            best_step=state.best_step,
            best_psnr=state.best_psnr,
            stopped=stopped and state.step < train.steps,
        )

    def _after_step(self) -> bool:
        """Looks, logs, validates and saves where it is time to; whether to stop."""
        train, step = self._params.train, self._state.step
        at_end = step == train.steps
        logs = step % train.log_every == 0 or at_end
        validates = step % train.eval_every == 0 or at_end
        saves = step % train.checkpoint_every == 0 or at_end
        self.saver.check()
        stop = self._asked_to_stop(self._step.gradients.stop)
        # reading a flag makes a GPU's host wait for the device: only where the host waits anyway
        if self._world.device.type == "cpu" or logs or validates or saves or stop:
            self._look_for_skipped()
        if logs:
            counted = {"train/skipped": float(self._state.skipped)} if train.max_skipped else {}
            self._write(self._window.values(learning_rate(train, step - 1), train.batch) | counted)
        if validates:
            self._validate()
        if saves or stop:
            self._save()
        if logs or validates or saves:
            self._window.restart()
        return stop

    def _look_for_skipped(self) -> None:
        if skipped := self._step.guard.look():
            self._progress.say(skipped)

    def _write(self, values: Mapping[str, float]) -> None:
        if self._world.is_first:
            event = self._log.write(self._state.step, values)
            self._progress.say(describe(event, self._params.train.steps))

    def _validate(self) -> None:
        state, train = self._state, self._params.train
        figure = validate(state.ema, self._dataset.valid, train.eval_images, self._params, self._world, self._settings)
        # a network trained against a discriminator loses PSNR by design: its latest weights count
        if self._params.is_adversarial or state.best_psnr is None or figure > state.best_psnr:
            state.best_psnr, state.best_step = figure, state.step
            if self._world.is_first:
                card = self._card()
                self.saver.later("best", state.ema.state_dict(), lambda copy: run.save_best(self._run_dir, copy, card))
        self._write({"valid/psnr": figure, "valid/best_psnr": state.best_psnr})

    def _card(self) -> Card:
        params, state = self._params, self._state
        return Card(
            model=params.model.name,
            preset=params.model.preset,
            options=params.model.options,
            scale=params.data.scale,
            degradation=params.data.degradation,
            dataset=dataset_name(params.data),
            data_digest=self._dataset.digest,
            params_digest=params.digest(),
            run=self._run_dir.name,
            step=state.step,
            git_commit=self._git_commit,
            protocol=params.train.eval_protocol,
            valid_psnr=state.best_psnr,
        )

    def _save(self) -> None:
        state = self._state
        if self._world.is_first:
            manifest = checkpoint.Manifest(
                step=state.step,
                precision=self._settings.precision,
                num_threads=self._settings.num_threads,
                world_size=self._world.size,
                torch_version=torch.__version__,
                best_psnr=state.best_psnr,
                best_step=state.best_step,
                skipped=int(state.skipped),
            )
            self.saver.save(state.tensors(), manifest)
        if self._observe is not None:
            self._observe(state.step, {} if state.best_psnr is None else {"valid/best_psnr": state.best_psnr})


@torch.inference_mode()
def validate(
    network: torch.nn.Module, images: ImageSet, num_images: int, params: Params, world: World, settings: Settings
) -> float:
    """Mean PSNR in dB over the first `num_images` images, which are spread over the ranks."""
    num = min(num_images, len(images))
    protocol = PROTOCOLS[params.train.eval_protocol]
    figures = torch.zeros(num, dtype=torch.float64, device=world.device)
    for i in range(world.rank, num, world.size):
        sr = upscale(network, images.lr(i), device=world.device, precision=settings.precision)
        figures[i] = psnr(sr, images.hr(i), protocol=protocol, scale=images.scale)
        faults.point("evaluation")
    return float(world.sum_in_place(figures).mean())


def describe(event: metrics_log.Event, steps: int) -> str:
    """One line for a person on an event of the log."""
    values, parts = event.values, [f"step {event.step}/{steps}"]
    if "train/loss" in values:
        left_s = (steps - event.step) * values["train/step_s"]
        loss = values["train/loss"]
        parts += [f"loss {loss:.3f}" if loss >= 1 else f"loss {loss:.5f}"]
        if "adversarial/accuracy" in values:
            parts += [f"discriminator right in {100 * values['adversarial/accuracy']:.0f} %"]
        parts += [f"{values['train/crops_per_s']:.1f} crops/s"]
        parts += [f"{int(left_s) // 60}:{int(left_s) % 60:02d} left"]
    if "valid/psnr" in values:
        # of a network against a discriminator the latest counts, not the best
        best = "" if values["valid/best_psnr"] == values["valid/psnr"] else f" (best {values['valid/best_psnr']:.3f})"
        parts += [f"validation PSNR {values['valid/psnr']:.3f} dB{best}"]
    return "  ".join(parts)
