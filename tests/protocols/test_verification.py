"""Strangers, compared with each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.splits.base import Splits, split
from facelab.data.splits.group_rules import IdentityDisjoint
from facelab.errors import ConfigError
from facelab.metrics.verification import auc, eer, roc, tar_at_far
from facelab.protocols.backends import fit
from facelab.protocols.base import Outputs, Subject
from facelab.protocols.classification import Classification
from facelab.protocols.identification import Identification
from facelab.protocols.intervals import times_drawn
from facelab.protocols.pairs import Pairs, genuine_pairs, impostor_pairs
from facelab.protocols.verification import Verification
from tests.data.made import made_set, made_table
from tests.models.tiny import tiny_cnn
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
    # Of 240 impostor pairs, 24 may be accepted, too few for FAR 1e-1.
    assert not [name for name in report.metrics if "tar" in name]
    test = _outputs(people=7, images=4, noise=1.5)
    report = evaluate(Verification(), test, test, named("abcdefg"))
    scores, same = _by_hand(test)
    threshold = np.sort(scores[~same])[-34]  # of 336 impostor pairs, 33 may be accepted
    assert report.metrics["verification/tar_at_far_1e-1"] == pytest.approx(np.mean(scores[same] > threshold))


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
    test = _outputs(people=8, images=4, noise=0.01)
    report = evaluate(Verification(far=[1e-1]), test, test, named("abcdefgh"))
    assert report.metrics["verification/tar_at_far_1e-1"] == 1
    low, high = report.intervals["verification/tar_at_far_1e-1"]
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
    with pytest.raises(ConfigError, match=r"1 of 30 are .*split=identity_disjoint"):
        Verification().check(Splits(np.arange(0, 101), none, np.arange(101, 400)), orl)
    with pytest.raises(ConfigError, match="0 genuine and 435 impostor pairs among 30 test images of 30 people"):
        Verification().check(Splits(np.arange(0, 100), none, np.arange(100, 400, 10)), orl)


def _csv(path: Path, rows: list[tuple[int, int, bool, int]]) -> str:
    lines = [f"{first},{second},{int(genuine)},{fold}" for first, second, genuine, fold in rows]
    path.write_text("\n".join(["first,second,genuine,fold", *lines]))
    return str(path)


def _rows(test: Outputs, folds: int, count: int) -> list[tuple[int, int, bool, int]]:
    """Genuine and impostor pairs of people whose number gives the fold, as many of each."""
    random, rows = np.random.default_rng(3), []
    for fold in range(folds):
        of_fold = np.flatnonzero(test.identities % folds == fold)
        for wanted in (True, False):
            found = 0
            while found < count:
                i, j = random.choice(of_fold, 2, replace=False)
                if (test.identities[i] == test.identities[j]) == wanted:
                    rows.append((int(i), int(j), wanted, fold))
                    found += 1
    return rows


def _numbered(test: Outputs) -> FaceSet:
    return made_set(test.identities, [f"p{person}" for person in range(int(test.identities.max()) + 1)])


def test_each_fold_is_judged_at_the_threshold_of_the_others(tmp_path: Path) -> None:
    test = _outputs(people=40, images=4, noise=1.4)
    rows = _rows(test, folds=5, count=30)
    report = evaluate(Verification(_csv(tmp_path / "pairs.csv", rows)), test, test, _numbered(test))
    directions = test.embeddings / np.linalg.norm(test.embeddings, axis=1, keepdims=True)
    scores = np.array([directions[i] @ directions[j] for i, j, _, _ in rows])
    same, fold = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
    accuracies = []
    for tested in range(5):
        others = fold != tested
        # Every threshold between two scores of the other folds, one at a time.
        cuts = np.sort(scores[others])
        cuts = (cuts[1:] + cuts[:-1]) / 2
        best = [np.mean((scores[others] >= cut) == same[others]) for cut in cuts]
        good = cuts[np.flatnonzero(np.isclose(best, max(best)))]
        accuracies.append([np.mean((scores[~others] >= cut) == same[~others]) for cut in good])
    low, high = (np.mean([choose(of_fold) for of_fold in accuracies]) for choose in (min, max))
    assert low - 1e-9 <= report.metrics["verification/accuracy"] <= high + 1e-9
    assert 0 < report.metrics["verification/accuracy_standard_error"] < 0.1
    assert report.metrics["verification/genuine_pairs"] == report.metrics["verification/impostor_pairs"] == 150
    assert len(report.files["pairs"]) == 301
    first, second, _, _, score = report.files["pairs"][1]
    assert score == pytest.approx(float(directions[int(str(first))] @ directions[int(str(second))]), abs=1e-6)
    assert {"roc", "det", "hardest_pairs", "verification"} == set(report.images)


def test_without_folds_the_threshold_comes_from_validation_people() -> None:
    both = _outputs(people=40, images=4, noise=1.4)
    parts = [np.flatnonzero(both.identities % 2 == rest) for rest in range(2)]
    val, test = (
        Outputs(both.embeddings[of], None, both.labels[of], both.identities[of], both.indices[of]) for of in parts
    )
    nobody = Outputs(both.embeddings[:0], None, both.labels[:0], both.identities[:0], both.indices[:0])
    report = evaluate(Verification(), nobody, test, _numbered(both), val)
    threshold = report.metrics["verification/threshold"]
    scores, same = _by_hand(test)
    expected = (np.mean(scores[same] >= threshold) + np.mean(scores[~same] < threshold)) / 2
    assert report.metrics["verification/accuracy"] == pytest.approx(expected, abs=1e-6)
    low, high = report.intervals["verification/accuracy"]
    assert low < expected < high
    own, of_val = (_by_hand(part) for part in (test, val))
    accuracy = [np.mean(s[k] >= threshold) + np.mean(s[~k] < threshold) for s, k in (own, of_val)]
    cuts = np.linspace(-1, 1, 4001)
    best = max(np.mean(of_val[0][of_val[1]] >= cut) + np.mean(of_val[0][~of_val[1]] < cut) for cut in cuts)
    assert accuracy[1] >= best - 1e-9  # best on the validation people, not on the test
    assert "verification/accuracy" not in evaluate(Verification(), val, test, _numbered(both), val).metrics


def test_points_that_the_pairs_cannot_support_are_refused(orl: FaceSet) -> None:
    disjoint = split(orl, IdentityDisjoint(20))  # 19,000 impostor pairs
    Verification(far=[1e-1, 1e-2]).check(disjoint, orl)
    with pytest.raises(
        ConfigError, match=r"19,000 impostor pairs do not support FAR 1e-3.*lowest they support is 0.01"
    ):
        Verification(far=[1e-2, 1e-3]).check(disjoint, orl)
    with pytest.raises(ValueError, match="far must be among 1e-1, 1e-2"):
        Verification(far=[0.03])


def test_points_that_the_validation_pairs_cannot_support_are_left_out_in_training() -> None:
    val = _outputs(people=8, images=10, noise=1.0)  # 2,800 impostor pairs
    faces, none = _numbered(val), val.indices[:0]
    validated = Splits(none, none, val.indices)
    protocol = Verification(far=[1e-1, 1e-2])
    protocol.check_validation(validated, faces)
    measured = protocol.measure(Subject(faces, validated, val, val, tiny_cnn(), seed=0))
    assert "verification/tar_at_far_1e-1" in measured
    assert "verification/tar_at_far_1e-2" not in measured
    with pytest.raises(ConfigError, match="2,800 impostor pairs do not support FAR 1e-2"):
        protocol.check(validated, faces)


def test_lists_that_cannot_be_asked_are_refused(tmp_path: Path, orl: FaceSet) -> None:
    disjoint = split(orl, IdentityDisjoint(20))
    rows = "first,second,genuine\ns1/1,s1/2,yes\ns1/1,s2/2,no\n"
    (tmp_path / "trained.csv").write_text(rows)
    with pytest.raises(ConfigError, match=r"trained.csv names no pair of two test images.*split=pair_folds"):
        Verification(str(tmp_path / "trained.csv")).check(disjoint, orl)
    (tmp_path / "wrong.csv").write_text("first,second,genuine\ns21/1,s21/2,no\ns21/1,s22/2,no\n")
    with pytest.raises(
        ConfigError, match=r"1 pairs of wrong.csv contradict.*s21/1\S* and s21/2\S*, which it calls imp"
    ):
        Verification(str(tmp_path / "wrong.csv")).check(disjoint, orl)
    (tmp_path / "one.csv").write_text("first,second,genuine\ns21/1,s21/2,yes\n")
    with pytest.raises(ConfigError, match="1 genuine and 0 impostor pairs"):
        Verification(str(tmp_path / "one.csv")).check(disjoint, orl)
    (tmp_path / "itself.csv").write_text("first,second,genuine\ns21/1,s21/1,yes\ns21/1,s22/1,no\n")
    with pytest.raises(ConfigError, match=r"1 pairs of itself.csv compare an image with itself, such as s21/1"):
        Verification(str(tmp_path / "itself.csv")).check(disjoint, orl)
    folds = "s21/1,s21/2,yes,0\ns21/1,s22/2,no,0\ns23/1,s23/2,yes,1\n"
    (tmp_path / "folds.csv").write_text(f"first,second,genuine,fold\n{folds}")
    with pytest.raises(ConfigError, match=r"fold 1 of folds.csv has 1 genuine and 0 impostor pairs of test images"):
        Verification(str(tmp_path / "folds.csv")).check(disjoint, orl)


def test_what_it_declares_to_measure_is_what_it_measures(tmp_path: Path) -> None:
    test = _outputs(people=40, images=4, noise=1.4)
    faces = _numbered(test)
    splits = Splits(test.indices[:0], test.indices[:0], test.indices)
    subject = Subject(faces, splits, test, test, tiny_cnn(), 0)
    for protocol in (
        Verification(),
        Verification(far=[1e-1]),
        Verification(_csv(tmp_path / "pairs.csv", _rows(test, folds=5, count=30))),
        Identification(),
        Identification(unenrolled_share=0),
    ):
        assert {metric.name for metric in protocol.measured(splits, faces)} == set(protocol.measure(subject))


def test_pairs_are_drawn_from_more_than_int64_products_hold() -> None:
    drawn = impostor_pairs(np.arange(5_200_000))
    assert drawn.total == 5_200_000 * 5_199_999 // 2
    assert len(drawn) == 1_000_000
    assert (drawn.first < drawn.second).all()
    assert drawn.second.max() > 5_100_000


def test_a_column_of_pairs_does_not_excuse_people_who_were_trained_on() -> None:
    identities = np.repeat(np.arange(4), 6)
    pair = np.arange(24) // 2
    faces = made_table("identity", identity=identities, pair=pair)
    columns = {**faces.columns, "genuine": Column.of(["yes"] * 24)}
    faces = replace(faces, columns=columns)
    none = np.empty(0, np.int64)
    with pytest.raises(ConfigError, match="people"):
        Verification().check(Splits(np.arange(0, 24, 2), none, np.arange(1, 24, 2)), faces)
