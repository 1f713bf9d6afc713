"""Templates in the form of IJB-C, on a set made up in that form."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facelab.data.splits.base import Splits
from facelab.errors import FacelabError
from facelab.protocols import Outputs, Subject, Templates, template_intervals
from facelab.protocols.intervals import ScoredPairs, times_drawn
from facelab.protocols.template_intervals import tar_intervals
from tests.data.made import made_table
from tests.models.tiny import tiny_cnn

PEOPLE, IMAGES = 30, 8
NONE = np.empty(0, np.int64)


def _subject() -> Subject:
    """A training person with two images, and test people."""
    random = np.random.default_rng(0)
    identities = np.append([0, 0], 1 + np.repeat(np.arange(PEOPLE), IMAGES))
    centres = random.standard_normal((PEOPLE + 1, 16))
    embeddings = (centres[identities] + 1.5 * random.standard_normal((len(identities), 16))).astype(np.float32)
    faces = replace(
        made_table("identity", identity=identities), names=[f"{number}.jpg" for number in range(len(identities))]
    )
    train, test = (
        Outputs(embeddings[of], None, identities[of], identities[of], of)
        for of in (np.arange(2), np.arange(2, len(identities)))
    )
    return Subject(faces, Splits(train.indices, NONE, test.indices), train, test, tiny_cnn(), 0)


def _write(folder: Path) -> tuple[list[tuple[str, int, int]], list[tuple[int, int, int]], dict[str, float]]:
    """Two templates a person of four images each, from two media; all pairs; detector scores. In no order."""
    random = np.random.default_rng(1)
    entries, scores = [], {}
    for image in range(PEOPLE * IMAGES):
        name, half = f"{2 + image}.jpg", image // 4
        entries.append((name, 1000 - 7 * half, 5 * half + (image % 4 > 2)))  # three images of a video, and a still
        scores[name] = round(float(random.uniform(0.5, 1)), 3)
    random.shuffle(entries)
    pairs = [
        (1000 - 7 * i, 1000 - 7 * j, int(i // 2 == j // 2)) for i in range(2 * PEOPLE) for j in range(i + 1, 2 * PEOPLE)
    ]
    (folder / "tid_mid.txt").write_text("".join(f"{name} {tid} {mid}\n" for name, tid, mid in entries))
    (folder / "pairs.txt").write_text("".join(f"{a} {b} {label}\n" for a, b, label in pairs))
    points = " ".join(["1.5"] * 10)
    (folder / "scores.txt").write_text("".join(f"{name} {points} {score}\n" for name, score in scores.items()))
    return entries, pairs, scores


def _protocol(folder: Path, with_scores: bool = True, **changed: object) -> Templates:
    scores = str(folder / "scores.txt") if with_scores else None
    return Templates(str(folder / "tid_mid.txt"), str(folder / "pairs.txt"), scores, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("with_scores", [True, False])
def test_templates_are_pooled_and_compared_as_defined(tmp_path: Path, with_scores: bool) -> None:
    entries, pairs, scores = _write(tmp_path)
    subject, protocol = _subject(), _protocol(tmp_path, with_scores)
    protocol.check(subject.splits, subject.faces)
    report = protocol.evaluate(subject)
    pooled = {}
    for template in {tid for _, tid, _ in entries}:
        media = {mid for _, tid, mid in entries if tid == template}
        means = []
        for one in media:
            names = [name for name, tid, mid in entries if (tid, mid) == (template, one)]
            means.append(
                np.mean(
                    [
                        subject.test.embeddings[int(name.split(".")[0]) - 2] * (scores[name] if with_scores else 1)
                        for name in names
                    ],
                    axis=0,
                )
            )
        pooled[template] = np.sum(means, axis=0) / np.linalg.norm(np.sum(means, axis=0))
    cosines = {label: [pooled[a] @ pooled[b] for a, b, same in pairs if same == label] for label in (0, 1)}
    assert report.metrics["templates/genuine_pairs"] == PEOPLE
    assert report.metrics["templates/impostor_pairs"] == len(cosines[0]) == 1740
    threshold = sorted(cosines[0])[-175]  # of 1,740, 174 may be accepted
    assert report.metrics["templates/tar_at_far_1e-1"] == pytest.approx(np.mean(np.array(cosines[1]) > threshold))
    assert "templates/tar_at_far_1e-2" not in report.metrics
    assert "1,740 impostor pairs do not support FAR 1e-2" in report.notes[0]
    low, high = report.intervals["templates/tar_at_far_1e-1"]
    assert low <= report.metrics["templates/tar_at_far_1e-1"] <= high


@pytest.mark.parametrize("exact", [100_000, 300])
def test_intervals_are_those_of_a_bootstrap_over_pairs(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_intervals, "MOST_EXACT", exact)
    monkeypatch.setattr(template_intervals, "MOST_DRAWN", 200)  # the rest of the pairs, thinned
    random = np.random.default_rng(0)
    first, second = np.triu_indices(40, k=1)
    skill = random.standard_normal(40)
    impostor = ScoredPairs(random.standard_normal(len(first)).astype(np.float32).round(2), first, second)
    people = np.repeat(np.arange(40), 5)
    scores = (1 + skill[people] + random.standard_normal(200)).astype(np.float32).round(2)
    resampled = []
    for times in times_drawn(40, resamples=500):
        others = np.sort(np.repeat(impostor.scores, times[first] * times[second]))[::-1]
        threshold = others[max(k for k in range(len(others)) if k / len(others) <= 0.1)]
        resampled.append(np.mean(np.repeat(scores, times[people]) > threshold))
    # The exact interval of 40 of 40 widens the high end only, that of 0 of 40 the low end only.
    genuine, ends = ScoredPairs(scores, people, people), np.quantile(resampled, [0.025, 0.975])
    (low, _), (_, high) = (tar_intervals(genuine, impostor, 40, [tar], [0.1])[0] for tar in (1, 0))
    assert (low, high) == pytest.approx(tuple(ends), abs=1e-9 if exact > len(first) else 0.02)


@pytest.mark.parametrize(
    ("name", "before", "after", "words"),
    [
        ("tid_mid.txt", "2.jpg ", "x.jpg ", r"templates: 1 images are not in made up: x\.jpg\. .* '0\.jpg'"),
        ("tid_mid.txt", "2.jpg ", "0.jpg ", r"templates: 1 of its images are not test images: 0\.jpg"),
        ("tid_mid.txt", " 1000 ", " thousand ", "templates: .* lines `name template media`: could not convert"),
        ("pairs.txt", "1000 993 1\n", "1000 993\n", "pairs: .*must have lines .*: invalid column index 2 at row"),
        ("pairs.txt", "1000 993 1\n", "1000 8 1\n", r"pairs: 1 templates have no image in .*: 8\."),
        ("pairs.txt", "1000 993 1\n", "1000 993 2\n", r"labels must be 1 \(genuine\) or 0"),
        ("pairs.txt", "1000 986 0\n", "1000 986 1\n", "label 0 are of one person by the pairs with label 1, such as"),
        ("scores.txt", "2.jpg ", "x.jpg ", r"scores=.* has no line for 1 images of the templates: 2\.jpg"),
        ("scores.txt", "2.jpg ", f"2.jpg {'0 ' * 10} nan ", r"1 scores of .*unusable, such as nan of 2\.jpg"),
        ("scores.txt", "2.jpg ", f"2.jpg {'0 ' * 10} -1 ", r"1 scores of .*unusable, such as -1\.0 of 2\.jpg"),
    ],
)
def test_unusable_lists_are_refused(tmp_path: Path, name: str, before: str, after: str, words: str) -> None:
    _write(tmp_path)
    text = (tmp_path / name).read_text()
    place = 0 if text.startswith(before) else text.index("\n" + before) + 1 if before[0] != " " else text.index(before)
    (tmp_path / name).write_text(text[:place] + after + text[place + len(before) :])
    subject = _subject()
    with pytest.raises(FacelabError, match=words):
        _protocol(tmp_path, name == "scores.txt").check(subject.splits, subject.faces)


def test_a_file_of_empty_lines_is_refused(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "pairs.txt").write_text("\n\n")
    subject = _subject()
    with pytest.raises(FacelabError, match=r"pairs: .*pairs\.txt has empty lines only"):
        _protocol(tmp_path).check(subject.splits, subject.faces)


def test_images_may_lie_in_a_folder(tmp_path: Path) -> None:
    _write(tmp_path)
    subject = _subject()
    expected = _protocol(tmp_path).evaluate(subject).metrics
    for folder, extra in (("ijbc/loose_crop/", "0.jpg"), ("", "ijbc/0.jpg")):
        names = [extra, *(f"{folder}{name}" for name in subject.faces.names[1:])]
        moved = replace(subject, faces=replace(subject.faces, names=names))
        _protocol(tmp_path).check(moved.splits, moved.faces)
        assert _protocol(tmp_path).evaluate(moved).metrics == expected
    twice = replace(subject.faces, names=["ijbc/2.jpg", *subject.faces.names[1:]])
    with pytest.raises(FacelabError, match=r"templates: 1 images are in several folders of made up: 2\.jpg"):
        _protocol(tmp_path).check(subject.splits, twice)


def test_operating_points_beyond_the_pairs_are_refused(tmp_path: Path) -> None:
    _write(tmp_path)
    subject = _subject()
    with pytest.raises(FacelabError, match=r"far: 1,740 impostor pairs do not support FAR 1e-3, .*far=\[0\.1\]"):
        _protocol(tmp_path, far=[1e-1, 1e-3]).check(subject.splits, subject.faces)
    with pytest.raises(ValueError, match="far must be among 1e-1"):
        _protocol(tmp_path, far=[0.5])
