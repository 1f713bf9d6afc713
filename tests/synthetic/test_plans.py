"""How many synthetic faces are made and of whom, and those that are made of pixels."""

from collections import Counter

import numpy as np
import pytest

from facelab.data.faces import FaceSet
from facelab.errors import ConfigError
from facelab.synthetic import DuplicatedFaces, MixedPixels, SyntheticFaces
from facelab.synthetic.base import joined

NAMES = ("a", "b", "c")


@pytest.fixture
def real(orl: FaceSet) -> FaceSet:
    """Three people with three, one and two images."""
    return orl.only(np.array([0, 1, 2, 10, 20, 21]))


def _made(source: SyntheticFaces, real: FaceSet) -> dict[tuple[int, int], bytes]:
    """The pixels of each face, by label and number."""
    plan = source.plan(real.labels, real.label_names)
    images = source.make(plan, real, {})
    keys = zip(plan.labels.tolist(), plan.numbers.tolist(), strict=True)
    return {key: image.tobytes() for key, image in zip(keys, images, strict=True)}


@pytest.mark.parametrize(("ratio", "counts"), [(2.0, [6, 2, 4]), (0.4, [1, 1, 1])])
def test_a_ratio_counts_from_the_real_images_of_each_person(real: FaceSet, ratio: float, counts: list[int]) -> None:
    plan = DuplicatedFaces(ratio=ratio).plan(real.labels, NAMES)
    assert np.bincount(plan.labels).tolist() == counts
    assert plan.numbers[:2].tolist() == ([0, 1] if ratio > 1 else [0, 0])
    more = plan.times(4)
    assert np.bincount(more.labels).tolist() == [4 * count for count in counts]
    assert (more.parents == more.labels[:, None]).all()


def test_portions_hold_whole_labels_and_all_faces(real: FaceSet) -> None:
    source = MixedPixels(per_identity=3)
    plan = source.plan(real.labels, NAMES)
    portions = plan.portions(4)
    assert [portion.labels.tolist() for portion in portions] == [[3, 3, 3, 4, 4, 4], [5, 5, 5]]
    apart = np.concatenate([source.make(portion, real, {}) for portion in portions])
    assert (apart == source.make(plan, real, {})).all()
    assert len(plan.portions(100)) == 1
    parts = [plan.part(start, min(start + 4, 9)) for start in (0, 4, 8)]
    assert (np.concatenate([source.make(part, real, {}) for part in parts]) == apart).all()


def test_more_faces_than_memory_holds_are_refused_before_they_are_planned(real: FaceSet) -> None:
    DuplicatedFaces(per_identity=20).check_size(real.labels, 32 * 32)
    for source, says in (
        (MixedPixels(per_identity=100_000), r"synthetic\.per_identity=100000: 300,000 synthetic faces need"),
        (DuplicatedFaces(ratio=1e5), r"synthetic\.ratio=100000\.0: 600,000 synthetic faces need"),
    ):
        with pytest.raises(ConfigError, match=says):
            source.check_size(real.labels, 1 << 40)


def test_exactly_one_of_number_and_ratio_is_given() -> None:
    for given in ({}, {"per_identity": 2, "ratio": 1.0}):
        with pytest.raises(ValueError, match=r"synthetic\.per_identity=null synthetic\.ratio"):
            DuplicatedFaces(**given)  # type: ignore[arg-type]


def test_everyone_is_mixed_with_two_others_into_new_classes(real: FaceSet) -> None:
    plan = MixedPixels(per_identity=4, seed=1).plan(real.labels, NAMES)
    assert Counter(plan.labels.tolist()) == {3: 4, 4: 4, 5: 4}  # labels of the real people stay as they are
    assert plan.new_classes == ("a + b", "a + c", "b + c")
    assert Counter(plan.parents.ravel().tolist()) == {0: 8, 1: 8, 2: 8}
    assert MixedPixels(per_identity=4).plan(np.array([0, 1, 1]), NAMES).new_classes == ("a + b",)


def test_a_mixture_is_the_mean_of_an_image_of_each(real: FaceSet) -> None:
    source = MixedPixels(per_identity=3)
    plan = source.plan(real.labels, NAMES)
    pixels = np.stack([real.pixels[i] for i in range(len(real))]).astype(float)
    means: dict[frozenset[int], set[bytes]] = {
        frozenset(real.labels[[i, j]].tolist()): set() for i in range(6) for j in range(6)
    }
    for i in range(6):
        for j in range(6):
            mean = np.floor((pixels[i] + pixels[j]) / 2 + 0.5).astype(np.uint8)
            means[frozenset(real.labels[[i, j]].tolist())].add(mean.tobytes())
    for parents, image in zip(plan.parents.tolist(), source.make(plan, real, {}), strict=True):
        assert image.tobytes() in means[frozenset(parents)]


def test_copies_show_every_image_of_a_person_before_any_again(real: FaceSet) -> None:
    made = _made(DuplicatedFaces(per_identity=6), real)
    own = Counter(made[0, number] for number in range(6))
    assert own == {real.pixels[i].tobytes(): 2 for i in range(3)}
    assert len({made[0, number] for number in range(3)}) == 3
    assert {made[1, number] for number in range(6)} == {real.pixels[3].tobytes()}


@pytest.mark.parametrize("source", [DuplicatedFaces, MixedPixels])
def test_a_face_depends_on_seed_person_and_number_alone(real: FaceSet, source: type[SyntheticFaces]) -> None:
    few, many = (_made(source(per_identity=count, seed=3), real) for count in (2, 5))
    assert {key: many[key] for key in few} == few
    assert _made(source(per_identity=5, seed=4), real) != many


def test_synthetic_faces_follow_the_real_ones(real: FaceSet) -> None:
    source = MixedPixels(per_identity=2)
    plan = source.plan(real.labels, real.label_names)
    both = joined(real, plan, source.make(plan, real, {}))
    assert len(both) == 12
    assert both.labels.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert both.label_names[:3] == list(real.label_names)
    assert both.names[6] == "synthetic/s1 + s2/00000"
    assert (both.pixels[2] == real.pixels[2]).all()
    assert both.digests[:6] == list(real.digests)
    assert both.fingerprint == real.fingerprint  # that of the real images
    with_column = joined(real, plan, source.make(plan, real, {})).codes_of("nothing")
    assert len(set(with_column.tolist())) == 12
