"""Unseen people, searched for in a gallery."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError, FacelabError
from facelab.protocols import Identification, Outputs, Report, Subject, searches
from facelab.protocols.backends import fit
from facelab.protocols.enrolment import draw_enrolment
from facelab.protocols.identification_intervals import fnir_intervals
from facelab.protocols.intervals import times_drawn
from facelab.protocols.searches import search, templates
from tests.data.made import made_table
from tests.models.tiny import tiny_cnn

NONE = np.empty(0, np.int64)


def _outputs(identities: NDArray[np.int64], noise: float, seed: int = 0, first: int = 0) -> Outputs:
    """Embeddings around a random centre for each person."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((int(identities.max()) + 1, 16))
    embeddings = centres[identities] + noise * random.standard_normal((len(identities), 16))
    indices = first + np.arange(len(identities))
    return Outputs(embeddings.astype(np.float32), None, identities, identities, indices)


def _people(people: int, images: int, noise: float, val: bool = False) -> Subject:
    """Two training people, then test people; with `val`, as many validation people between them."""
    every = _outputs(np.repeat(np.arange(2 + people * (1 + val)), images), noise)
    ends = [0, 2 * images, (2 + people * val) * images, len(every.labels)]
    places = [np.arange(start, end) for start, end in itertools.pairwise(ends)]
    train, held, test = (
        Outputs(every.embeddings[i], None, every.labels[i], every.identities[i], every.indices[i]) for i in places
    )
    faces = made_table("identity", identity=every.identities)
    return Subject(faces, Splits(places[0], places[1], places[2]), train, test, tiny_cnn(), 0, held if val else None)


def _by_hand(subject: Subject, protocol: Identification) -> tuple[list[int], list[float], list[float]]:
    """Rank and score of the mate, and highest scores of others, with one loop per search and per person."""
    test = subject.test
    enrolment = draw_enrolment(test.identities, protocol.enrolled, protocol.unenrolled_share, protocol.seed)
    unit = test.embeddings / np.linalg.norm(test.embeddings, axis=1, keepdims=True)
    gallery = {}
    for person in np.unique(test.identities[enrolment.gallery]):
        mean = np.mean([unit[i] for i in enrolment.gallery if test.identities[i] == person], axis=0)
        gallery[person] = mean / np.linalg.norm(mean)
    ranks, own, best = [], [], []
    for i in range(len(unit)):
        scores = {person: float(unit[i] @ vector) for person, vector in gallery.items()}
        if i in enrolment.mated:
            mate = scores[test.identities[i]]
            ranks.append(1 + sum(scores[p] >= mate for p in scores if p != test.identities[i]))
            own.append(mate)
        elif i in enrolment.non_mated:
            best.append(max(scores.values()))
    return ranks, own, best


@pytest.mark.parametrize("enrolled", [1, 3])
def test_the_report_is_that_of_a_loop_over_searches(enrolled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "BLOCK_SCORES", 100)  # several blocks
    subject, protocol = _people(people=40, images=16, noise=1.4), Identification(enrolled=enrolled)
    report = protocol.evaluate(subject)
    ranks, own, best = _by_hand(subject, protocol)
    assert report.metrics["identification/enrolled"] == 20
    assert report.metrics["identification/mated_searches"] == len(ranks) == 20 * (16 - enrolled)
    assert report.metrics["identification/non_mated_searches"] == len(best) == 20 * 16
    for k in (1, 5, 10):
        assert report.metrics[f"identification/rank_{k}"] == pytest.approx(np.mean(np.array(ranks) <= k))
    threshold = sorted(best)[-33]  # 32 of 320 may be returned
    missed = [rank > 1 or score <= threshold for rank, score in zip(ranks, own, strict=True)]
    assert report.metrics["identification/fnir_at_fpir_1e-1"] == pytest.approx(np.mean(missed))
    assert "identification/fnir_at_fpir_1e-2" not in report.metrics
    measured = protocol.measure(subject)
    assert measured.items() <= report.metrics.items()
    assert len(measured) == 4
    assert "320 searches" in report.notes[0]
    assert "lowest they support is 0.09375" in report.notes[0]
    for name, (low, high) in report.intervals.items():
        assert low <= report.metrics[name] <= high
    assert {"cmc", "misidentified", "fnir_over_fpir"} == report.images.keys()
    assert len(report.files["searches"]) == 1 + len(ranks) + len(best)


def test_a_threshold_is_frozen_on_validation_people() -> None:
    subject = _people(people=40, images=16, noise=1.4, val=True)
    report = Identification().evaluate(subject)
    assert subject.val is not None
    swapped = Subject(subject.faces, subject.splits, subject.train, subject.val, subject.module, 0)
    _, _, best = _by_hand(swapped, Identification())
    threshold = sorted(best)[-33]
    ranks, own, test_best = _by_hand(subject, Identification())
    missed = [rank > 1 or score <= threshold for rank, score in zip(ranks, own, strict=True)]
    assert report.metrics["identification/frozen_fnir_at_fpir_1e-1"] == pytest.approx(np.mean(missed))
    measured = np.mean(np.array(test_best) > threshold)
    assert report.metrics["identification/frozen_fpir_at_fpir_1e-1"] == pytest.approx(measured)
    assert measured != 0.1  # the test's own people give another share
    assert {m.name for m in Identification().metrics} >= report.metrics.keys()


def test_without_people_who_are_not_enrolled_the_set_is_closed() -> None:
    report = Identification(unenrolled_share=0).evaluate(_people(people=8, images=4, noise=0.1))
    assert report.metrics["identification/rank_1"] == 1
    assert report.intervals["identification/rank_1"] == pytest.approx((0.025 ** (1 / 24), 1))  # 24 of 24
    assert not any("fnir" in name or "rank_10" in name for name in report.metrics)
    assert "fnir_over_fpir" not in report.images


def test_equal_scores_find_nobody() -> None:
    test = _outputs(np.repeat(np.arange(4), 5), noise=1)
    enrolment = draw_enrolment(test.identities, 1, 0, 0)
    found = search(
        np.ones((20, 3), np.float32), test.identities, enrolment, fit("cosine", np.ones((1, 3), np.float32), NONE)
    )
    assert (found.ranks == 4).all()


def test_a_template_is_the_mean_of_directions() -> None:
    found = templates(np.array([[9, 0], [0, 0.1], [2, 0]], np.float32), np.array([0, 0, 1]))
    assert found == pytest.approx(np.array([[0.5, 0.5], [1, 0]]))


def test_draws_enrol_as_many_as_asked() -> None:
    identities = np.repeat([3, 5, 7, 11, 13, 17], [1, 2, 3, 4, 5, 6])
    drawn = draw_enrolment(identities, enrolled=2, unenrolled_share=1 / 3, seed=4)
    assert len(drawn.people) == 4
    assert np.bincount(identities[drawn.gallery]).max() == 2
    assert set(identities[drawn.mated]) <= set(drawn.people)
    assert not set(identities[drawn.non_mated]) & set(drawn.people)
    everything = np.concatenate([drawn.gallery, drawn.mated, drawn.non_mated])
    assert sorted(everything) == list(range(21))
    again, other = (draw_enrolment(identities, 2, 1 / 3, seed) for seed in (4, 5))
    assert (again.gallery == drawn.gallery).all()
    assert not np.array_equal(other.gallery, drawn.gallery)


def test_intervals_are_those_of_a_bootstrap_over_searches() -> None:
    """Each drawn person's searches are repeated as often as drawn, and the FNIR measured anew."""
    random = np.random.default_rng(0)
    mated, strangers = np.repeat(np.arange(15), 6), np.repeat(np.arange(12), 9)
    own = (random.standard_normal(90) + 2 * random.standard_normal(15)[mated]).astype(np.float32).round(1)
    best = (random.standard_normal(108) - 1).astype(np.float32).round(1)
    ranks = random.integers(1, 3, 90)
    resampled = []
    for of_mated, of_strangers in zip(times_drawn(15, 0, 500), times_drawn(12, 1, 500), strict=True):
        scores, ranked = np.repeat(own, of_mated[mated]), np.repeat(ranks, of_mated[mated])
        others = np.sort(np.repeat(best, of_strangers[strangers]))[::-1]
        threshold = others[max(k for k in range(len(others)) if k / len(others) <= 0.3)]
        resampled.append(np.mean((ranked > 1) | (scores <= threshold)))
    ((low, high),) = fnir_intervals(own, ranks, best, mated, strangers, [0.3])
    assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))


def _with_roles(tmp_path: Path, rows: str) -> tuple[Identification, Subject]:
    (tmp_path / "roles.csv").write_text("name,role\n" + rows)
    return Identification(roles=str(tmp_path / "roles.csv")), _people(people=3, images=3, noise=0.1)


def test_roles_come_from_a_file_or_a_column(tmp_path: Path) -> None:
    # Images 6 to 14 are three test people; the third has probes only, image 8 is not used.
    roles = dict.fromkeys(map(str, range(6, 15)), "probe") | {"6": "gallery", "9": "gallery", "8": "none"}
    protocol, subject = _with_roles(tmp_path, "".join(f"{name},{role}\n" for name, role in roles.items()))
    protocol.check(subject.splits, subject.faces)
    reports: list[Report] = [protocol.evaluate(subject)]
    codes = np.array([{"none": 2, "probe": 0, "gallery": 1}[roles.get(str(i), "none")] for i in range(15)])
    texts = made_table("identity", identity=subject.faces.identities, role=codes)
    for place, name in enumerate(("probe", "gallery", "none")):
        names = texts.columns["role"].names
        assert isinstance(names, list)
        names[names.index(str(place))] = name
    subject = Subject(texts, subject.splits, subject.train, subject.test, subject.module, 0)
    reports.append(Identification(roles="role").evaluate(subject))
    for report in reports:
        assert report.metrics["identification/mated_searches"] == 3
        assert report.metrics["identification/non_mated_searches"] == 3
        assert report.metrics["identification/rank_1"] == 1
    assert reports[0].metrics == reports[1].metrics


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("6,gallery\n99,probe\n98,probe\n", r"roles=.*2 of 3 images are not in .*: 99, 98\. Its images .* '0'"),
        ("6,gallery\n6,probe\n", "1 images have several rows: 6"),
        ("6,probe\n9,probe\n", "two people, but 0 of the 3 test people are enrolled. Correct .*roles"),
        ("6,gallery\n9,gallery\n10,probe\n", "at least two of the enrolled people must have probes, but 1 of 2 has"),
    ],
)
def test_unusable_roles_are_refused(tmp_path: Path, rows: str, words: str) -> None:
    protocol, subject = _with_roles(tmp_path, rows)
    with pytest.raises(ConfigError, match=words):
        protocol.check(subject.splits, subject.faces)


def _people_of(train: str, val: str, test: str) -> tuple[Splits, FaceSet]:
    """Three images of each person, who are digits."""
    identities = np.repeat([int(person) for person in train + val + test], 3)
    first, second = 3 * len(train), 3 * len(train + val)
    places = np.arange(len(identities))
    return Splits(places[:first], places[first:second], places[second:]), made_table("identity", identity=identities)


@pytest.mark.parametrize(
    ("protocol", "people", "words"),
    [
        (Identification(), ("01", "", "1234"), "1 of 4 are in one of them. Set split=identity_disjoint"),
        (Identification(), ("01", "2", "2345"), r"1 of 4 are .* \(1 of them in validation, where thresholds"),
        (Identification(unenrolled_share=0.8), ("01", "", "2345"), "1 of the 4 test people are enrolled. Lower"),
        (Identification(enrolled=3, unenrolled_share=0), ("01", "", "2345"), "have probes, but 0 of 4 have. Lower"),
        (Identification(unenrolled_share=0, fpir=[0.1]), ("01", "", "2345"), "fpir: .* Raise .*unenrolled_share"),
        (Identification(fpir=[0.1, 0.01]), ("01", "", "2345"), r"6 searches .* FPIR 1e-1, 1e-2, .* they support none"),
        (Identification(roles="rolle"), ("01", "", "2345"), "roles=rolle: made up has no such column.*: identity"),
    ],
)
def test_what_cannot_be_measured_is_refused(protocol: Identification, people: tuple[str, str, str], words: str) -> None:
    with pytest.raises(FacelabError, match=words):
        protocol.check(*_people_of(*people))
