"""LPIPS against an independent formula, by made weights under the names of the published files."""

import json
import math
import re

import numpy as np
import pytest
import torch
import yaml
from photos import noise
from torch.nn.functional import conv2d, max_pool2d

from sr_core.__main__ import main
from sr_core.data.images import write_png
from sr_core.errors import CheckpointError, ConfigError
from sr_core.evaluate import lpips
from sr_core.evaluate.learned import OFF
from sr_core.evaluate.records import read_report

# torchvision's modules: index of the convolution in `features`, its shape, stride, padding; poolings before it
ALEX = {0: ((64, 3, 11, 11), 4, 2), 3: ((192, 64, 5, 5), 1, 2), 6: ((384, 192, 3, 3), 1, 1)} | {
    8: ((256, 384, 3, 3), 1, 1),
    10: ((256, 256, 3, 3), 1, 1),
}
ALEX_POOLED = {3: 3, 6: 3}
VGG_SIZES = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)} | {
    17: (256, 512),
    **dict.fromkeys((19, 21, 24, 26, 28), (512, 512)),
}
VGG = {i: ((num_out, num_in, 3, 3), 1, 1) for i, (num_in, num_out) in VGG_SIZES.items()}
VGG_POOLED = {5: 2, 10: 2, 17: 2, 24: 2}
KINDS = {
    "alex": (ALEX, ALEX_POOLED, (0, 3, 6, 8, 10), (64, 192, 384, 256, 256)),
    "vgg": (VGG, VGG_POOLED, (2, 7, 14, 21, 28), (64, 128, 256, 512, 512)),
}


def made(kind):
    """A backbone and linear layers of `kind`, as the files have them."""
    layers, _, _, channels = KINDS[kind]
    random = torch.Generator().manual_seed(1)
    backbone = {}
    for i, (shape, _, _) in layers.items():
        scale = math.sqrt(2 / math.prod(shape[1:]))
        backbone[f"features.{i}.weight"] = torch.randn(shape, generator=random) * scale
        backbone[f"features.{i}.bias"] = torch.randn(shape[0], generator=random) * 0.1
    linear = {f"lin{i}.model.1.weight": torch.rand((1, c, 1, 1), generator=random) for i, c in enumerate(channels)}
    return {**backbone, "classifier.1.weight": torch.zeros(2, 2)}, linear


def expected(kind, sr, hr, backbone, linear):
    """The paper's equation 1, place by place, in float64."""
    layers, pooled, taps, _ = KINDS[kind]
    stacks = []
    for image in (sr, hr):
        x = torch.from_numpy(image.astype(np.float64) / 255 * 2 - 1).permute(2, 0, 1)[None]
        x = (x - torch.tensor([-0.030, -0.088, -0.188]).double().view(1, 3, 1, 1)) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).double().view(1, 3, 1, 1)
        found = []
        for i, (_, stride, padding) in layers.items():
            if i in pooled:
                x = max_pool2d(x, pooled[i], 2)
            weight, bias = (backbone[f"features.{i}.{leaf}"].double() for leaf in ("weight", "bias"))
            x = conv2d(x, weight, bias, stride, padding).clamp(min=0)
            if i in taps:
                found.append(x[0].numpy())
        stacks.append(found)
    total = 0.0
    for i, (a, b) in enumerate(zip(*stacks, strict=True)):
        weights = linear[f"lin{i}.model.1.weight"].double().numpy().ravel()
        places = []
        for y in range(a.shape[1]):
            for x in range(a.shape[2]):
                unit = [each[:, y, x] / (math.sqrt((each[:, y, x] ** 2).sum()) + 1e-10) for each in (a, b)]
                places.append(float((weights * (unit[0] - unit[1]) ** 2).sum()))
        total += sum(places) / len(places)
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_the_papers(kind):
    backbone, linear = made(kind)
    sr, hr = noise(40, 52, 1), noise(40, 52, 2)
    found = lpips.make({"backbone.pth": backbone, "linear.pth": linear})
    assert found.backbone == kind
    assert found.distance(sr, hr) == pytest.approx(expected(kind, sr, hr, backbone, linear), rel=1e-5)
    assert found.distance(sr, hr, crop=3) == found.distance(sr[3:-3, 3:-3], hr[3:-3, 3:-3]) != found.distance(sr, hr)
    assert found.distance(hr, hr) == 0.0
    assert found.distance(sr[:31], hr[:31]) is None


def test_one_file_with_all_is_taken_by_the_authors_names():
    backbone, linear = made("alex")
    slices = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
    whole = {
        f"net.slice{slices[i]}.{i}.{leaf}": backbone[f"features.{i}.{leaf}"]
        for i in ALEX
        for leaf in ("weight", "bias")
    }
    whole |= {re.sub(r"^lin", "lin" + "s.", name): tensor for name, tensor in linear.items()} | linear
    whole |= {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    one, two = lpips.make({"all.pth": whole}), lpips.make({"a.pth": backbone, "b.pth": linear})
    assert one.digest == two.digest
    assert one.label == f"LPIPS 0.1 (alex; all.pth; {one.digest[:8]})"
    linear["lin3.model.1.weight"] = linear["lin3.model.1.weight"] * 2
    assert lpips.make({"a.pth": backbone, "b.pth": linear}).digest != two.digest


def test_every_weight_that_is_wrong_is_listed():
    backbone, linear = made("alex")
    del backbone["features.3.bias"]
    backbone["features.6.weight"][0, 0, 0, 0] = math.nan
    linear["lin1.model.1.weight"] = torch.ones(1, 128, 1, 1)  # VGG's
    linear["lin2.model.1.weight"][0, 5] = -0.1
    with pytest.raises(CheckpointError, match="are not LPIPS's for alex") as caught:
        lpips.make({"a.pth": backbone, "b.pth": linear})
    for line in (
        "features.3.bias: is absent, expected (192,)",
        "features.6.weight: holds NaN or infinity",
        "lin1.weight: is (1, 128, 1, 1), expected (1, 192, 1, 1)",
        "lin2.weight: has weights below 0",
    ):
        assert line in str(caught.value)
    with pytest.raises(CheckpointError, match=r"b\.pth: features\.0\.weight is absent; expected torchvision's alexnet"):
        lpips.make({"b.pth": linear})


def test_it_stands_in_the_table_where_its_files_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "own" / "a.png", noise(48, 64))
    command = [
        "evaluate",
        "--model",
        "bicubic",
        "nearest",
        "--images",
        "own",
        "--set",
        "data.scale=2",
        "--output",
        "out",
    ]
    assert main(command) == 0
    assert OFF in capsys.readouterr().out
    assert read_report(tmp_path / "out" / "report.json").learned is None
    for name, state in zip(("alexnet.pth", "alex.pth"), made("alex"), strict=True):
        torch.save(state, name)
    assert main([*command, "--set", "evaluate.lpips_weights=[alexnet.pth, alex.pth]"]) == 0
    said = capsys.readouterr().out
    report = read_report(tmp_path / "out" / "report.json")
    assert report.learned.crop == 2
    assert f"{report.mean('nearest').lpips:.4f}" in said
    assert report.learned.label in " ".join(said.split())
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["mean_lpips"] == report.mean("nearest").lpips > 0
    assert main([*command, "--set", "evaluate.lpips_weights=[gone.pth]"]) == CheckpointError.exit_code
    assert "gone.pth: cannot be read" in capsys.readouterr().err
    (tmp_path / "three.yaml").write_text(yaml.safe_dump({"evaluate": {"lpips_weights": ["a", "b", "c"]}}))
    assert main([*command, "--params", "three.yaml"]) == ConfigError.exit_code
