"""NIQE: the numbers of an independent implementation, what it thinks of damage, and its pristine models as files."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from photos import noise

from sr_core.data.resize import bicubic_down, resize_matrix
from sr_core.errors import ImageError, SrError
from sr_core.evaluate import niqe
from sr_core.evaluate.metrics import luma

# BasicSR 1.4.2's estimates for two blocks of `made()`, by its own functions in float64; its niqe() is equal to that of
# the authors' program in MATLAB R2021a in the fourth decimal (5.7296 for its test image)
BLOCK_0 = """
2.108 0.7973319632 0.721 -0.0308842304 0.1141931187 0.0974733991 0.731 -0.0376581529 0.1206695508 0.0996036189
0.727 -0.0148790572 0.1130971176 0.1048810248 0.73 -0.0222945289 0.1141598917 0.1017285092
1.538 0.3656316458 0.52 0.0668004903 0.0039500584 0.017005551 0.545 0.061220654 0.005661043 0.0199702247
0.574 0.0468720394 0.0089241435 0.0220868322 0.592 0.0592381157 0.0077664117 0.0262017079
"""
BLOCK_7 = """
1.812 0.6712565924 0.699 0.0598032189 0.063222998 0.0932193949 0.705 0.0481292462 0.0666385507 0.0913021149
0.718 0.0538414393 0.0668924414 0.095748768 0.709 0.0651469387 0.0645492917 0.0984049304
10.0 1.0165153818 2.205 0.2397691352 0.1624514012 0.6029172393 2.536 0.1229118813 0.276920128 0.5119328821
2.589 -0.027265845 0.4224332383 0.370041369 2.287 0.2046848519 0.2040928698 0.5845073362
"""
DISTANCE = 13.325149769407545  # by the same, from a mean of ones and a diagonal covariance of 1/36, 2/36, …


def made(height: int = 300, width: int = 420) -> np.ndarray:
    """Waves with grain, (height, width, 3)."""
    y, x = np.mgrid[:height, :width].astype(float)
    plane = 120 + 60 * np.sin(x / 9.0 + y / 23.0) * np.cos(y / 7.0) + 25 * np.sin(x * y / 600.0)
    plane += np.random.default_rng(5).normal(0, 6, (height, width))
    return np.stack([plane * 1.02, plane * 0.95 + 5, plane * 0.8 + 20], 2).round().clip(0, 255).astype(np.uint8)


def simple() -> niqe.Pristine:
    diagonal = np.diag(np.arange(1, 37) / 36)
    return niqe.Pristine(
        mean=np.ones(36), covariance=diagonal, fitted_on={}, num_blocks=None, digest="d" * 64, source="simple.npz"
    )


def plane_of(image: np.ndarray) -> np.ndarray:
    return np.floor(luma(image) + 0.5)


def fitted(*images: np.ndarray) -> niqe.Pristine:
    return niqe.fit((f"photo{i}", lambda image=image: image) for i, image in enumerate(images))


def test_features_are_those_of_another_implementation() -> None:
    found = niqe.features(plane_of(made()))
    assert found.shape == (12, 36)
    for i, expected in ((0, BLOCK_0), (7, BLOCK_7)):
        assert found[i] == pytest.approx([float(text) for text in expected.split()], abs=2e-6)


def test_the_distance_is_that_of_another_implementation() -> None:
    assert niqe.niqe(made(), simple()) == pytest.approx(DISTANCE, abs=1e-5)


def test_the_half_size_plane_is_matlabs_imresize() -> None:
    plane = plane_of(made(60, 44))
    expected = resize_matrix(60, 30) @ plane @ resize_matrix(44, 22).T
    assert niqe._halved(plane) == pytest.approx(expected, abs=1e-10)


def test_the_border_and_what_does_not_fill_a_block_are_left_out() -> None:
    image = made(96 * 2 + 8, 96 * 3 + 8)
    framed = image.copy()
    framed[:4], framed[-4:], framed[:, :4], framed[:, -4:] = 0, 255, 9, 200
    assert niqe.niqe(framed, simple(), crop=4) == niqe.niqe(image[4:-4, 4:-4], simple())
    wider = np.concatenate([image[4:-4, 4:-4], noise(192, 95)], axis=1)
    assert niqe.niqe(wider, simple()) == niqe.niqe(image[4:-4, 4:-4], simple())


@pytest.mark.parametrize(("height", "width"), [(95, 400), (96, 191), (40, 40), (1, 1)])
def test_an_image_with_fewer_than_two_blocks_has_no_score(height: int, width: int) -> None:
    assert niqe.niqe(noise(height, width), simple()) is None


def test_plain_images_have_no_score_and_plain_areas_no_say() -> None:
    for grey in (0, 77, 100, 255):
        assert niqe.niqe(np.full((200, 300, 3), grey, np.uint8), simple()) is None
        assert not niqe._mscn(np.full((40, 40), grey / 1.0))[0].any()  # 0 exactly: rounding takes no side
    half = made(192, 192)
    half[:, :96] = 77
    found = niqe.features(plane_of(half))
    assert np.isfinite(found[1::2]).all()


def test_blur_and_noise_are_worse_than_the_photographs_own_kind() -> None:
    pristine = fitted(*(made(480, 800)[:, i:] for i in (0, 40, 80)))
    image = bicubic_down(made(600, 600), 2)
    blurred = image.copy()
    blurred[1:-1, 1:-1] = np.mean([image[i : i + 298, j : j + 298] for i in range(3) for j in range(3)], axis=0)
    grainy = np.clip(image + np.random.default_rng(0).normal(0, 25, image.shape), 0, 255).astype(np.uint8)
    scores = [niqe.niqe(each, pristine) for each in (image, blurred, grainy)]
    assert None not in scores
    assert scores[0] < min(scores[1:])


def test_the_model_is_that_of_the_sharp_blocks_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.tile(made(192, 192), (3, 4, 1))
    image[:192] = (image[:192].astype(int) // 8 + 100).astype(np.uint8)  # four blocks with an eighth of the contrast
    plane = plane_of(bicubic_down(image, 2))
    every = niqe.features(plane, step=48)
    few = fitted(image)
    assert few.num_blocks == len(every) == 5 * 7
    assert few.mean == pytest.approx(every.mean(axis=0))
    monkeypatch.setattr(niqe, "ENOUGH_BLOCKS", 8)
    sharp, expected = fitted(image), niqe.features(plane)[4:]
    assert sharp.num_blocks == 8
    assert sharp.mean == pytest.approx(expected.mean(axis=0))
    assert sharp.covariance == pytest.approx(np.cov(expected, rowvar=False))


def test_overlapping_blocks_are_where_they_should_be() -> None:
    plane = plane_of(made(96 + 48, 96 + 48 + 47))
    every = niqe.features(plane, step=48)
    assert every.shape == (4, 36)
    normalised = niqe._mscn(plane[:144, :144])[0]
    corner = niqe._features(niqe._blocks(normalised[48:144], 48))[1]
    assert every[3, :18] == pytest.approx(corner)
    assert niqe._features(normalised[None, 48:144, 48:144])[0] == pytest.approx(corner)


def test_the_label_names_the_photographs_and_the_digest_is_of_the_numbers() -> None:
    two = fitted(made(), noise(200, 200))
    assert two.label == "NIQE fitted on 2 photographs at half size (7 blocks): photo0, photo1"
    assert two.digest != fitted(made()).digest
    assert two.digest == fitted(made(), noise(200, 200)).digest
    many = dataclasses.replace(two, fitted_on={f"{i:03}": "" for i in range(200)}, num_blocks=None)
    assert many.label == "NIQE fitted on 200 photographs at half size: 000, 001, 002, …, 199"
    assert simple().label == "NIQE with the pristine model simple.npz (dddddddd)"


def test_too_few_blocks_are_one_sentence() -> None:
    with pytest.raises(ImageError, match=r"1 photographs have 1 blocks of 96x96 pixels .* name more photographs"):
        fitted(noise(200, 200), noise(190, 600))


def test_a_model_there_and_back_is_exact(tmp_path: Path) -> None:
    own = fitted(made())
    path = tmp_path / "niqe.json"
    niqe.write(path, own)
    back = niqe.read(path)
    assert (back.digest, back.label, back.fitted_on) == (own.digest, own.label, own.fitted_on)
    assert niqe.niqe(made(200, 300), back) == niqe.niqe(made(200, 300), own)


def test_the_published_form_is_read(tmp_path: Path) -> None:
    path, given = tmp_path / "published.npz", simple()
    np.savez(path, mu_pris_param=given.mean[None], cov_pris_param=given.covariance, gaussian_window=np.ones((7, 7)))
    found = niqe.read(path)
    assert niqe.niqe(made(), found) == pytest.approx(DISTANCE, abs=1e-5)
    assert found.label.startswith("NIQE with the pristine model published.npz (")


def test_what_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "niqe.json"
    niqe.write(path, fitted(made()))
    whole = json.loads(path.read_text())
    broken = [
        "{",
        "[]",
        json.dumps({**whole, "version": 2}),
        json.dumps({**whole, "mean": whole["mean"][:-1]}),
        json.dumps({**whole, "covariance": "x"}),
        json.dumps({**whole, "mean": [None, *whole["mean"][1:]]}),
        json.dumps({key: value for key, value in whole.items() if key != "fitted_on"}),
    ]
    for text in broken:
        path.write_text(text)
        with pytest.raises(SrError, match=r"niqe\.json: is not a pristine model of NIQE .*fit-niqe") as caught:
            niqe.read(path)
        assert "\n" not in str(caught.value)
    archive = tmp_path / "other.npz"
    for data in (b"no archive", b"PK\3\4 cut", b""):
        archive.write_bytes(data)
        with pytest.raises(SrError, match=r"other\.npz: is not a pristine model of NIQE"):
            niqe.read(archive)
    np.savez(archive, mu=np.ones(36))
    with pytest.raises(SrError, match=r"other\.npz: is not a pristine model of NIQE"):
        niqe.read(archive)
    with pytest.raises(SrError, match=r"gone\.json: cannot be read"):
        niqe.read(tmp_path / "gone.json")


def test_an_archive_of_pickles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pickled.npz"
    np.savez(path, mu_pris_param=np.array([{}], object), cov_pris_param=np.eye(36))
    with pytest.raises(SrError, match="is not a pristine model of NIQE"):
        niqe.read(path)


def test_the_fitted_shape_is_the_nearest_of_the_grid() -> None:
    alphas, moments = niqe._table()
    assert (alphas[0], alphas[-1], len(alphas)) == (0.2, 10.0, 9801)
    assert all(a < b for a, b in itertools.pairwise(moments))
    blocks = np.random.default_rng(1).normal(0, 1, (3, 96, 96))
    alpha, left, right = niqe._aggd(blocks)
    assert alpha == pytest.approx([2, 2, 2], abs=0.1)  # a normal distribution
    assert left == pytest.approx(right, rel=0.05)
