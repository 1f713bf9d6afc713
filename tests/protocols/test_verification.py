"""Strangers, compared with each other."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits, split
from facelab.data.splits.group_rules import IdentityDisjoint
from facelab.errors import ConfigError
from facelab.metrics.verification import auc, eer, roc, tar_at_far
from facelab.protocols.backends import fit
from facelab.protocols.base import Outputs
from facelab.protocols.classification import Classification
from facelab.protocols.intervals import times_drawn
from facelab.protocols.pairs import Pairs, genuine_pairs, impostor_pairs
from facelab.protocols.verification import Verification
from tests.protocols.subject import evaluate
from tests.protocols.test_classification import named


def _outputs(people: int, images: int, noise: float, seed: int = 0) -> Outputs:
    """Embeddings around a random centre for each person."""
    random = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), images)
    centres = random.standard_normal((people, 16))
    embeddings = centres[identities] + noise * random.standard_normal((len(identities), 16))
    return Outputs(embeddings.astype(np.float32), None, identities, identities, np.arange(len(identities)))


def _by_hand(test: Outputs) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosine and sameness of every pair, one at a time."""
    scores, same = [], []
    for i in range(len(test.identities)):
        for j in range(i):
            a, b = test.embeddings[i].astype(float), test.embeddings[j].astype(float)
            scores.append(a @ b / np.sqrt((a @ a) * (b @ b)))
            same.append(test.identities[i] == test.identities[j])
    return np.array(scores), np.array(same)


def _cosines(embeddings: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    return fit("cosine", embeddings, np.arange(0))(embeddings).pairs(pairs.first, pairs.second)


def test_all_pairs_are_compared_by_cosine() -> None:
    test = _outputs(people=6, images=4, noise=1.5)
    report = evaluate(Verification(), test, test, named("abcdef"))
    scores, same = _by_hand(test)
    assert report.metrics["verification/genuine_pairs"] == 6 * 6
    assert (
        report.metrics["verification/impostor_pairs"] == report.metrics["verification/impostor_pairs_total"] == 15 * 16
    )
    assert report.metrics["verification/auc"] == pytest.approx(roc_auc_score(same, scores), abs=1e-6)
    # TAR at FAR 1e-2: of 240 impostor pairs, two may be accepted.
    threshold = np.sort(scores[~same])[-3]
    assert report.metrics["verification/tar_at_far_1e-2"] == pytest.approx(np.mean(scores[same] > threshold))


def test_the_length_of_embeddings_does_not_matter() -> None:
    test = _outputs(people=5, images=4, noise=1.0)
    scaled = Outputs(
        test.embeddings * np.random.default_rng(1).uniform(0.1, 9, (20, 1)).astype(np.float32),
        None,
        test.labels,
        test.identities,
        test.indices,
    )
    first, second = (evaluate(Verification(), t, t, named("abcde")).metrics for t in (test, scaled))
    assert first == pytest.approx(second, abs=1e-6)


def test_perfect_scores_of_few_people_prove_little() -> None:
    test = _outputs(people=8, images=3, noise=0.01)
    report = evaluate(Verification(), test, test, named("abcdefgh"))
    assert report.metrics["verification/tar_at_far_1e-2"] == 1
    low, high = report.intervals["verification/tar_at_far_1e-2"]
    assert low == pytest.approx(0.025 ** (1 / 8), abs=1e-3)  # eight of eight, by the exact binomial
    assert high == 1


def test_intervals_hold_their_value_and_shrink_with_people() -> None:
    widths = []
    for people in (6, 40):
        test = _outputs(people, images=4, noise=1.5)
        report = evaluate(Verification(), test, test, named("a" * people))
        low, high = report.intervals["verification/auc"]
        assert low <= report.metrics["verification/auc"] <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 1.5


@pytest.mark.parametrize("images", [3, 8])  # exact scores, and bins of them
def test_the_intervals_are_those_of_a_bootstrap_over_all_pairs(images: int) -> None:
    test = _outputs(people=28, images=images, noise=1.6)
    report = evaluate(Verification(), test, test, named("a" * 28))
    first, second = np.triu_indices(len(test.identities), k=1)
    pairs = Pairs(first, second, len(first))
    scores, same = _cosines(test.embeddings, pairs), test.identities[first] == test.identities[second]
    resampled = []
    for times in times_drawn(28, resamples=500):
        one, other = times[test.identities[first]], times[test.identities[second]]
        weights = torch.from_numpy(np.where(same, one, one * other))
        of_one, of_two = (torch.from_numpy(scores[kind]) for kind in (same, ~same))
        curve = roc(of_one, of_two, weights[same], weights[~same])
        resampled.append([auc(curve), eer(curve), tar_at_far(curve, 1e-2)])
    ends = np.quantile(resampled, [0.025, 0.975], axis=0)
    tolerance = 1e-6 if images == 3 else 5e-4
    for place, name in enumerate(("auc", "eer")):
        assert report.intervals[f"verification/{name}"] == pytest.approx(tuple(ends[:, place]), abs=tolerance)
    low, high = report.intervals["verification/tar_at_far_1e-2"]
    assert low <= ends[0, 2] + tolerance
    assert high >= ends[1, 2] - tolerance


def test_pairs_are_all_of_their_kind_or_drawn_from_these() -> None:
    identities = np.random.default_rng(0).integers(0, 30, 200)
    first, second = np.triu_indices(200, k=1)
    same = identities[first] == identities[second]
    for kind, of_kind in ((genuine_pairs, same), (impostor_pairs, ~same)):
        expected = {frozenset(pair) for pair in zip(first[of_kind], second[of_kind], strict=True)}
        everything, some = kind(identities), kind(identities, most=300, seed=1)
        assert {frozenset(pair) for pair in zip(everything.first, everything.second, strict=True)} == expected
        drawn = {frozenset(pair) for pair in zip(some.first, some.second, strict=True)}
        assert len(drawn) == len(some) == 300
        assert drawn < expected
        assert some.total == len(everything) == len(expected)


def test_drawn_pairs_give_the_figures_of_all() -> None:
    test = _outputs(people=60, images=8, noise=1.5)
    scores = [_cosines(test.embeddings, kind(test.identities)) for kind in (genuine_pairs, impostor_pairs)]
    some = [_cosines(test.embeddings, kind(test.identities, most=1500)) for kind in (genuine_pairs, impostor_pairs)]
    whole, drawn = (auc(roc(*map(torch.from_numpy, pairs))) for pairs in (scores, some))
    assert drawn == pytest.approx(whole, abs=0.02)


def test_protocols_refuse_splits_they_cannot_be_asked_on(orl: FaceSet) -> None:
    disjoint = split(orl, IdentityDisjoint(20))
    assert set(orl.labels[disjoint.train]) == set(range(20))
    assert set(orl.labels[disjoint.test]) == set(range(20, 40))
    assert len(disjoint.val) == 0
    Verification().check(disjoint, orl)
    with pytest.raises(ConfigError, match=r"20 test classes .*'s21'"):
        Classification().check(disjoint, orl)
    none = np.empty(0, dtype=np.int64)
    with pytest.raises(ConfigError, match=r"1 test people .*split=identity_disjoint"):
        Verification().check(Splits(np.arange(0, 101), none, np.arange(101, 400)), orl)
    with pytest.raises(ConfigError, match="30 people with at most 1 images"):
        Verification().check(Splits(np.arange(0, 100), none, np.arange(100, 400, 10)), orl)
