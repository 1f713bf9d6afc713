"""What a run can show: nearest people, and directions of its embeddings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from facelab.data.image_list import ImageList
from facelab.data.recorded import recorded_faces
from facelab.data.sources.orl import ORL
from facelab.demo.axes import Axes
from facelab.demo.people import EnrolledFaces
from facelab.demo.subject import Subject
from facelab.errors import ConfigError, DataError
from facelab.models.trained import load
from facelab.system import progress
from tests.demo.made import Served
from tests.galleries.made import ORIGIN, directions
from tests.galleries.made import gallery as made_gallery


def test_axes_are_principal_components() -> None:
    random = np.random.default_rng(0)
    embeddings = (random.standard_normal((50, 6)) * [5, 3, 1, 0.5, 0.1, 0] + 2).astype(np.float32)
    axes, reference = Axes.of(embeddings, 4), PCA(4).fit(embeddings)
    assert len(axes) == 4
    assert len(Axes.of(embeddings, 8)) == 5, "a direction without variance is left out"
    np.testing.assert_allclose(axes.deviations**2, reference.explained_variance_, rtol=1e-3)
    np.testing.assert_allclose(axes.shares, reference.explained_variance_ratio_, rtol=1e-3)
    expected = reference.transform(embeddings) / np.sqrt(reference.explained_variance_)
    np.testing.assert_allclose(np.abs(axes.coordinates(embeddings)), np.abs(expected), atol=1e-3)


def test_an_embedding_is_moved_along_the_axes_only() -> None:
    embeddings = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32)
    axes = Axes.of(embeddings, 3)
    code, asked = embeddings[0], np.array([2, -1, 0.5], np.float32)
    moved = axes.moved(code, asked)
    np.testing.assert_allclose(axes.coordinates(moved[None])[0], asked, atol=1e-5)
    across = np.eye(6) - axes.directions.T @ axes.directions
    np.testing.assert_allclose(across @ moved, across @ code, atol=1e-5)
    np.testing.assert_allclose(axes.moved(code, axes.coordinates(code[None])[0]), code, atol=1e-5)


def test_the_nearest_people_by_a_second_way(cnn: Served) -> None:
    subject = cnn.subject
    assert subject.known is not None
    faces = ORL(image_size=32, channels=1, last_person=6).load()
    probe = subject.model.embed(faces.pixels[33][None])
    found = subject.known.nearest(probe, 9)[0]
    assert [len({match.name for match in found}), found[0].score] == [6, pytest.approx(max(m.score for m in found))]
    for match in found:
        own = subject.model.embed(match.picture[None])
        assert match.score == pytest.approx((own @ probe.T).item() / np.linalg.norm(own) / np.linalg.norm(probe), 1e-4)
        assert match.accepted is None


def test_people_of_a_gallery_and_strangers(tmp_path: Path) -> None:
    made_gallery().write(tmp_path / "office")
    known = EnrolledFaces(tmp_path / "office")
    assert known.title == "the 5 people of the gallery office"
    assert "Names are given by the gallery's threshold 0.750, at which 77.50% of 40 searches" in known.rule
    (own, *_), (stranger, *_) = known.nearest(np.stack([directions(5)[2].numpy(), -directions(5).sum(0).numpy()]), 3)
    assert (own.name, own.accepted, stranger.accepted) == ("person 2", True, False)
    assert own.picture.shape == (64, 64, 3)


def test_a_change_of_the_gallery_is_seen(tmp_path: Path) -> None:
    folder, probe = tmp_path / "office", directions(5)[4:].numpy()
    made_gallery().write(folder)
    known = EnrolledFaces(folder)
    assert known.nearest(probe, 1)[0][0].name == "person 4"
    made_gallery(4).write(folder)  # person 4 is removed
    assert known.title == "the 4 people of the gallery office"
    assert "person 4" not in {match.name for match in known.nearest(probe, 9)[0]}
    replace(made_gallery(0), threshold=None).write(folder)
    assert known.nearest(probe, 3) == [[]]
    assert known.rule == "Nobody is enrolled now, so every face is of nobody known."
    replace(made_gallery(), origin=replace(ORIGIN, weights="b" * 64)).write(folder)
    with pytest.raises(DataError, match=r"was made anew with another model or cropping\. Restart the demo\."):
        known.nearest(probe, 1)
    (folder / "gallery.safetensors").unlink()
    with pytest.raises(DataError, match="holds no gallery"):
        known.nearest(probe, 1)


def test_a_gallery_is_of_a_model_that_recognises(gan_folder: Path, tmp_path: Path) -> None:
    made_gallery().write(tmp_path)
    with pytest.raises(ConfigError, match=r"ConditionalVAEGAN, makes faces and recognises none\. Remove gallery="):
        Subject.of(gan_folder.name, load(gan_folder), progress, EnrolledFaces(tmp_path))


def test_other_images_than_those_of_the_training_are_refused(
    cnn_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load(cnn_folder)
    used = ImageList.of(ORL(image_size=32, channels=1, last_person=6), *recorded_faces(trained.config))
    known = Subject.of(cnn_folder.name, trained, progress, used=used).known
    assert known is not None
    assert "of the run's" in known.title
    assert "recorded no list of its images" not in capsys.readouterr().err
    with pytest.raises(DataError, match=r"have changed: .* gives other training images than the run recorded"):
        Subject.of(cnn_folder.name, trained, progress, used=ImageList(used.table.slice(1)))
    Subject.of(cnn_folder.name, trained, progress)
    assert f"run={cnn_folder.name} recorded no list of its images" in capsys.readouterr().err


def test_a_gallery_needs_no_training_images(cnn_folder: Path, tmp_path: Path) -> None:
    trained = load(cnn_folder)
    trained.config["data"] = {"_target_": "facelab.data.Folder", "root": str(cnn_folder / "gone")}
    with pytest.raises(DataError, match=f"run={cnn_folder.name}: the demo needs the images that the run was trained"):
        Subject.of(cnn_folder.name, trained, progress)
    made_gallery().write(tmp_path / "office")
    found = Subject.of(cnn_folder.name, trained, progress, EnrolledFaces(tmp_path / "office"))
    assert found.known is not None
    assert found.known.title.endswith("office")
