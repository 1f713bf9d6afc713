"""Adding, removing and renaming people; the threshold that is set for those who are then enrolled."""

import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facelab.errors import ConfigError
from facelab.galleries import Development, Gallery
from facelab.galleries.enrolment import changing, empty, enrolled, refuse_unsupported, removed, renamed, settled
from facelab.galleries.faces import Face
from facelab.galleries.gallery import FILE
from facelab.galleries.partial import PARTIAL
from facelab.galleries.people import Portraits
from facelab.galleries.thumbnails import as_thumbnail
from tests.galleries.made import ORIGIN, directions, gallery


def face(level: int) -> Face:
    pixels = np.full((16, 16, 1), level, np.uint8)
    return Face(pixels, Image.fromarray(pixels.squeeze(-1)), None)


def portraits(owners: list[int], vectors: torch.Tensor) -> Portraits:
    names = [f"new {i}" for i in range(max(owners) + 1)]
    faces = [face(10 * i) for i in range(len(names))]
    thumbnails = [as_thumbnail(one.picture) for one in faces]
    return Portraits(names, owners, list(vectors.numpy()), [face(10 * i).digest for i in owners], thumbnails)


def test_a_person_is_the_mean_direction_of_the_images() -> None:
    vectors = torch.tensor([[3.0, 0, 0], [0, 1.0, 0], [0, 0, 2.0]])
    others = Development(
        directions(40, 3), torch.arange(40), torch.zeros(40, 32, dtype=torch.uint8), ["x"] * 40, "made"
    )
    made = enrolled(empty(ORIGIN, others, 0.8), portraits([0, 0, 1], vectors)).gallery
    half = 2**-0.5
    torch.testing.assert_close(made.embeddings, torch.tensor([[half, half, 0], [0, 0, 1.0]]))
    assert (list(made.names), list(made.images)) == (["new 0", "new 1"], [2, 1])
    assert made.thumbnail(1).shape == (64, 64, 3)


def test_the_threshold_is_the_lowest_that_keeps_the_fpir() -> None:
    made = settled(gallery()).gallery
    best = (made.development.embeddings @ made.embeddings.T).max(dim=1).values.double()
    limit = made.threshold
    assert limit is not None
    assert (limit.searches, limit.people, limit.enrolled) == (40, 40, 5)
    assert limit.fpir == float((best >= limit.score).double().mean()) <= 0.8
    lower = best[best < limit.score].max()
    assert float((best >= lower).double().mean()) > 0.8


def test_more_people_need_a_higher_threshold() -> None:
    scores = [threshold.score for n in (1, 5, 40) if (threshold := settled(gallery(n)).gallery.threshold)]
    assert len(scores) == 3
    assert scores == sorted(scores)


def test_adding_and_removing_gives_the_gallery_before() -> None:
    start = settled(gallery()).gallery
    grown = enrolled(start, portraits([0, 1, 1], directions(3, seed=9))).gallery
    assert len(grown) == 7
    back = removed(grown, ["new 1", "new 0"]).gallery
    assert torch.equal(back.embeddings, start.embeddings)
    assert (back.names, back.images, back.threshold) == (start.names, start.images, start.threshold)


def test_nothing_of_a_removed_person_stays_in_the_folder(tmp_path: Path) -> None:
    made = gallery()
    made.write(tmp_path)
    traces = (b"person 3", made.embeddings[3].numpy().tobytes(), made.thumbnails[3])
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert all(trace in everything for trace in traces)
    with changing(tmp_path):
        removed(Gallery.open(tmp_path), ["person 3"]).gallery.write(tmp_path)
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(trace in everything for trace in traces)
    assert list(Gallery.open(tmp_path).names) == ["person 0", "person 1", "person 2", "person 4"]


def test_a_person_is_renamed() -> None:
    after = renamed(gallery(), "person 1", "Ada, L.").gallery
    assert list(after.names) == ["person 0", "Ada, L.", "person 2", "person 3", "person 4"]
    assert torch.equal(after.embeddings, gallery().embeddings)
    for name, to, says in (
        ("x", "y", "nobody named 'x'"),
        ("person 1", "person 2", "is enrolled"),
        ("person 1", " ", "to: the name is blank"),
        ("person 1", "a" * 1001, "to: the name has 1,001 characters"),
    ):
        with pytest.raises(ConfigError, match=says):
            renamed(gallery(), name, to)


def test_a_name_is_one_in_all_forms_of_unicode() -> None:
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    made = renamed(gallery(), "person 1", decomposed).gallery
    assert made.names[1] == composed
    assert renamed(made, decomposed, decomposed).gallery.names == made.names
    with pytest.raises(ConfigError, match="somebody of this name is enrolled"):
        renamed(made, "person 2", decomposed)
    assert removed(made, [decomposed]).gallery.names == [f"person {i}" for i in (0, 2, 3, 4)]
    both = replace(gallery(), names=["a", composed, "b", decomposed, "c"])  # as older versions kept them
    assert removed(both, [composed]).gallery.names == ["a", "b", "c"]
    others = replace(gallery().development, names=[decomposed, *gallery().development.names[1:]])
    assert settled(replace(made, development=others)).left_out == [decomposed]
    assert len(removed(replace(gallery(), development=others), [composed]).gallery.development.names) == 39


def test_development_people_who_are_enrolled_are_left_out() -> None:
    by_name = renamed(gallery(), "person 1", "other 7")
    assert list(by_name.left_out) == ["other 7"]
    assert "other 7" not in by_name.gallery.development.names
    by_image = settled(gallery(), [bytes([5]) * 32])
    assert list(by_image.left_out) == ["other 5"]
    assert by_image.gallery.threshold is not None
    assert by_image.gallery.threshold.searches == 39


@pytest.mark.parametrize(
    ("fpir", "says"),
    [(0.75, ""), (0.7, r"the lowest they support is fpir=0\.75.*at least 43 images"), (0.01, "at least 3,000 images")],
)
def test_an_fpir_needs_thirty_expected_errors(fpir: float, says: str) -> None:
    others = gallery().development
    if not says:
        refuse_unsupported(fpir, others)
        return
    with pytest.raises(ConfigError, match=says):
        refuse_unsupported(fpir, others)
    few = others.without([i >= 30 for i in range(40)])
    with pytest.raises(ConfigError, match="they support none"):
        refuse_unsupported(0.99, few)
    with pytest.raises(ConfigError, match="do not support"):
        settled(replace(gallery(), fpir=fpir))


def test_the_last_person_can_be_removed() -> None:
    nobody = removed(gallery(2), ["person 0", "person 1"]).gallery
    assert len(nobody) == 0
    assert nobody.threshold is None


def test_one_process_changes_a_gallery(tmp_path: Path) -> None:
    folder = tmp_path / "office"
    with changing(folder):
        for _ in ("the second", "the third"):
            with pytest.raises(ConfigError, match="another process is changing"), changing(folder):
                pass
            assert [entry.name for entry in folder.iterdir()] == [".lock"], "of the first"
    assert not folder.exists(), "nothing was written"
    gallery().write(folder)
    with changing(folder), pytest.raises(ConfigError, match="another process is changing"), changing(folder):
        pass
    with changing(folder):
        pass
    assert (folder / FILE).is_file()


@pytest.mark.parametrize("error", [ConfigError("refused"), KeyboardInterrupt(), OSError("of the photos")], ids=repr)
def test_only_folders_that_were_created_are_deleted(tmp_path: Path, error: BaseException) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    for folder in (mine, mine / "a" / "b" / "c"):
        with pytest.raises(type(error)) as raised, changing(folder):
            raise error
        assert raised.value is error
        assert list(mine.iterdir()) == []
        assert mine.stat().st_mode & 0o777 == 0o700


def killed_while_writing(folder: Path) -> int:
    """Write a gallery in a process that is killed when a file gets more than 64 KiB; gives its exit code."""
    made, child = gallery(300), os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            with changing(folder):
                made.write(folder)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("people", [0, 5], ids=["the first enrolment", "a later one"])
def test_what_a_process_killed_while_it_wrote_left_is_no_obstacle_and_deleted(tmp_path: Path, people: int) -> None:
    if people:
        gallery(people).write(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert killed_while_writing(tmp_path) == -signal.SIGXFSZ
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} - {".lock", FILE}, "it was writing"
    with changing(tmp_path):
        assert sorted(tmp_path.iterdir()) == sorted([tmp_path / ".lock", *before])
        gallery().write(tmp_path)
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".lock", tmp_path / FILE]


def test_a_file_that_an_earlier_version_left_half_written_is_deleted(tmp_path: Path) -> None:
    gallery().write(tmp_path)
    (tmp_path / PARTIAL).write_text("embeddings")
    with changing(tmp_path):
        assert sorted(tmp_path.iterdir()) == [tmp_path / ".lock", tmp_path / FILE]


def test_a_folder_that_cannot_hold_a_gallery_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for folder, says in (
        (tmp_path / "mine", "exists and is no gallery"),
        (tmp_path / "mine" / "letter.txt", "exists and is no gallery"),
        (tmp_path / "mine" / "letter.txt" / "office", "Not a directory"),
        (tmp_path / ("long" * 75), "File name too long"),
        (tmp_path / "a" / ("long" * 75), "File name too long"),
    ):
        with pytest.raises(ConfigError, match=says), changing(folder):
            pass
    assert sorted(tmp_path.rglob("*")) == before
