"""Orders are complete, balanced wherever a rater stops, different for raters, and the same after a reload."""

import collections
import itertools

import pytest

from serving.opinions.order import duels, singles

SIZES = list(itertools.product([1, 2, 3, 4, 5, 6, 7, 12], [1, 2, 3, 5, 6, 14]))


def images(num):
    return [("set", f"image {i}") for i in range(num)]


def models(num):
    return [f"model {i}" for i in range(num)]


def spread(counts, keys):
    values = [counts[key] for key in keys]
    return max(values) - min(values)


@pytest.mark.parametrize(("num_models", "num_images"), SIZES)
def test_every_picture_comes_once(num_models, num_images):
    order = singles("r1", 1, images(num_images), models(num_models))
    assert sorted(order) == sorted(itertools.product(images(num_images), models(num_models)))


@pytest.mark.parametrize(("num_models", "num_images"), SIZES)
def test_every_pair_comes_once(num_models, num_images):
    order = duels("r1", 1, images(num_images), models(num_models))
    assert len(order) == len(set(order)) == num_images * num_models * (num_models - 1) // 2
    assert {(image, frozenset((left, right))) for image, left, right in order} == {
        (image, frozenset(pair))
        for image in images(num_images)
        for pair in itertools.combinations(models(num_models), 2)
    }


@pytest.mark.parametrize(("num_models", "num_images"), [(6, 14), (5, 5), (8, 100), (4, 6), (7, 3)])
def test_whoever_stops_early_has_seen_all_models_and_images_alike(num_models, num_images):
    order = singles("r1", 1, images(num_images), models(num_models))
    for stop in range(num_models, len(order), num_models):  # after whole rounds
        seen = order[:stop]
        # two neighbours of one image may have been exchanged over the end of a round
        assert spread(collections.Counter(model for _, model in seen), models(num_models)) <= 2
        assert spread(collections.Counter(image for image, _ in seen), images(num_images)) <= 3


@pytest.mark.parametrize("num_models", [2, 3, 4, 5, 6, 7, 8])
def test_each_model_stands_left_as_often_as_right(num_models):
    order = duels("r1", 1, images(10), models(num_models))
    lefts, rights = (collections.Counter(duel[i] for duel in order) for i in (1, 2))
    pairs = collections.Counter((left, right) for _, left, right in order)
    for model in models(num_models):
        assert lefts[model] == rights[model]
    for one, other in itertools.combinations(models(num_models), 2):
        assert pairs[one, other] == pairs[other, one] == 5
    early = order[: num_models * (num_models - 1) // 2]  # one round
    for model in models(num_models):
        count = [sum(duel[i] == model for duel in early) for i in (1, 2)]
        assert abs(count[0] - count[1]) <= 1


def test_over_many_raters_no_place_belongs_to_a_model():
    firsts, lefts = collections.Counter(), collections.Counter()
    for rater in range(3000):
        firsts[singles(f"r{rater}", 1, images(4), models(3))[0][1]] += 1
        lefts[duels(f"r{rater}", 1, images(4), models(3))[0][1]] += 1
    for counts in (firsts, lefts):
        assert all(900 < counts[model] < 1100 for model in models(3)), counts  # 1000 +- 4 standard deviations


def test_images_do_not_follow_themselves():
    for rater in range(50):
        order = singles(f"r{rater}", 1, images(5), models(6))
        assert all(one[0] != other[0] for one, other in itertools.pairwise(order))


def test_an_order_is_the_raters_own_and_stays():
    first = singles("r1", 1, images(5), models(6))
    assert first == singles("r1", 1, images(5), models(6))
    assert first != singles("r2", 1, images(5), models(6))
    assert first != singles("r1", 2, images(5), models(6))
    assert duels("r1", 1, images(5), models(6)) != duels("r2", 1, images(5), models(6))
