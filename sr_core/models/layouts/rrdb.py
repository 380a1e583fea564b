"""RRDBNet as BasicSR (Real-ESRGAN too) and xinntao's ESRGAN publish it."""

import dataclasses
import itertools
from collections.abc import Callable

from sr_core.errors import CheckpointError
from sr_core.models.layouts.reading import Given, Read, count, shape_of
from sr_core.models.state_dicts import Layers


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RrdbNames:
    """{} is the number of a block, then of a dense block and of a convolution, both from 1 on; or of a stage."""

    head: str
    convolution: str
    after_body: str
    stages: tuple[str, ...]
    before_tail: str
    tail: str


BASICSR = RrdbNames(
    head="conv_first",
    convolution="body.{}.rdb{}.conv{}",
    after_body="conv_body",
    stages=("conv_up1", "conv_up2", "conv_up3"),
    before_tail="conv_hr",
    tail="conv_last",
)
ESRGAN_NEW = RrdbNames(
    head="conv_first",
    convolution="RRDB_trunk.{}.RDB{}.conv{}",
    after_body="trunk_conv",
    stages=("upconv1", "upconv2", "upconv3"),
    before_tail="HRconv",
    tail="conv_last",
)


def read_by(names: RrdbNames) -> Callable[[Layers, Given], Read]:
    """A reader of this network by `names`."""

    def read(layers: Layers, given: Given) -> Read:
        shape = shape_of(layers, names.head)
        if shape[1] in {12, 16}:
            raise CheckpointError(
                f"{names.head}.weight is {shape}, expected ({shape[0]}, 3, 3, 3): it is BasicSR's RRDBNet for x2 or "
                "x1, which reads pixels unshuffled, another network; take one for x4"
            )
        num_blocks = count(layers, names.convolution.format("{}", 1, 1))
        stages = [stage for stage in names.stages if stage in layers]
        renamed = {
            names.head: "head",
            names.after_body.format(num_blocks): "after_body",
            names.before_tail: "before_tail",
            names.tail: "tail",
            **{stage: f"upsampler.{i}" for i, stage in enumerate(stages)},
        }
        for i, dense, k in itertools.product(range(num_blocks), range(1, 4), range(1, 6)):
            renamed[names.convolution.format(i, dense, k)] = f"body.{i}.rdb{dense}.conv{k}"
        is_unsure = len(stages) == 1 and given.scale is None
        scale = 3 if len(stages) == 1 and given.scale == 3 else 2 ** len(stages)
        return Read(
            model="rrdb",
            scale=scale,
            options={
                "num_blocks": num_blocks,
                "num_features": shape[0],
                "num_growth": shape_of(layers, names.convolution.format(0, 1, 1))[0],
            },
            layers=renamed,
            assumed={"data.scale": scale} if is_unsure else {},  # nearest-neighbour x3 has the same convolutions
        )

    return read


def esrgan_old(layers: Layers, given: Given) -> Read:
    """The oldest names are places in a list, after which those of the upsampling stages depend on their number."""
    places = [name for name in (f"model.{place}" for place in range(2, 20)) if name in layers]
    if len(places) < 3:
        raise CheckpointError(f"has {', '.join(places)} behind its blocks, expected stages and two convolutions more")
    names = RrdbNames(
        head="model.0",
        convolution="model.1.sub.{}.RDB{}.conv{}.0",
        after_body="model.1.sub.{}",
        stages=tuple(places[:-2]),
        before_tail=places[-2],
        tail=places[-1],
    )
    return read_by(names)(layers, given)
