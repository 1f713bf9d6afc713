"""The sets are what they are said to be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelab.data import source
from facelab.data.faces import FaceSet, StreamedPixels
from facelab.data.images import resize
from facelab.data.sources.face_nonface import FaceNonFace, FaceSpoiltFace
from facelab.data.sources.folder import Folder
from facelab.data.sources.orl import ORL
from tests.data.made import make_folder


def test_orl_is_forty_people_of_ten_pictures(orl: FaceSet) -> None:
    assert len(orl) == 400
    assert np.array_equal(np.bincount(orl.labels), np.full(40, 10))
    assert orl.label_names[:3] == ["s1", "s2", "s3"]
    assert orl.names[8:11] == ["s1/9.pgm", "s1/10.pgm", "s2/1.pgm"]
    assert orl.image_shape == (1, 32, 32)
    assert len(set(orl.digests)) == 400


def test_people_of_orl_can_be_chosen(orl: FaceSet) -> None:
    clean = ORL(image_size=32, first_person=21, last_person=40).load()
    assert len(clean) == 200
    assert clean.label_names[0] == "s21"
    assert clean.digests[0] == orl.digests[200]


def test_face_nonface_is_a_hundred_each() -> None:
    found = FaceNonFace(image_size=25).load()
    assert np.array_equal(np.bincount(found.labels), [100, 100])
    # Faces are more alike than other things, which tells us that they are the first hundred.
    pixels = np.stack([found.pixels[i].ravel() for i in range(200)]).astype(float)
    with np.errstate(invalid="ignore"):  # some non-faces are of one colour
        alike = np.corrcoef(pixels)
    assert np.nanmedian(alike[:100, :100]) > np.nanmedian(alike[100:, 100:]) + 0.05


def test_faces_and_their_spoilt_copies() -> None:
    plain, spoilt = FaceNonFace(image_size=25).load(), FaceSpoiltFace(image_size=25).load()
    assert spoilt.label_names == ["face", "non_face"]
    assert np.bincount(spoilt.labels).tolist() == [100, 300]
    for i in (0, 57, 199):
        assert (spoilt.pixels[i] == plain.pixels[i]).all()
    for i in (0, 57, 99):
        face, shuffled, scrambled = (spoilt.pixels[n][..., 0].astype(float) for n in (i, 200 + i, 300 + i))
        assert sorted(face.ravel()) == sorted(shuffled.ravel())  # the very same pixels
        assert (face != shuffled).any()
        first, second = (np.abs(np.fft.rfft2(image)).ravel()[1:] for image in (face, scrambled))
        assert np.corrcoef(first, second)[0, 1] > 0.9  # the spectrum, but for what clipping does
        assert abs(np.corrcoef(face.ravel(), scrambled.ravel())[0, 1]) < 0.7
    again = FaceSpoiltFace(image_size=25).load()
    assert again.fingerprint == spoilt.fingerprint


def test_faces_of_a_further_set_and_their_spoilt_copies_join() -> None:
    alone, joined = (
        FaceSpoiltFace(image_size=25, faces=faces).load() for faces in (None, ORL(image_size=64, last_person=3))
    )
    assert np.bincount(joined.labels).tolist() == [130, 100 + 2 * 130]
    assert (joined.pixels[7] == alone.pixels[7]).all()
    (further,) = (ORL(image_size=64, last_person=3).load().pixels[29],)
    assert (
        joined.pixels[129] == resize(Image.fromarray(resize(Image.fromarray(further[..., 0]), 35)[..., 0]), 25)
    ).all()
    shuffled = joined.pixels[130 + 100 + 129]
    assert abs(float(shuffled.mean()) - float(joined.pixels[129].mean())) < 1
    colour = FaceSpoiltFace(image_size=25, channels=3, faces=ORL(image_size=64, last_person=3, channels=3)).load()
    assert colour.pixels[0].shape == (25, 25, 3)
    assert all(
        (colour.pixels[i] == colour.pixels[i][..., :1]).all() for i in range(0, len(colour), 50)
    )  # grey stays grey


@pytest.mark.slow
def test_nearest_neighbour_on_pixels_matches_the_published_baseline() -> None:
    """ARCHITECTURE's baseline for pixels, 1-NN, k=5 at 64 x 64: 94.5 ± 1.1 over ten splits."""
    from facelab.data.splits.rules import FewShot

    orl = ORL(image_size=64).load()
    pixels = np.stack([orl.pixels[i] for i in range(400)]).reshape(400, -1).astype(np.float32)
    accuracies = []
    for seed in range(10):
        splits = FewShot(train_per_identity=5, seed=seed).divide(orl)
        distances = ((pixels[splits.test][:, None] - pixels[splits.train][None]) ** 2).sum(axis=2)
        predicted = orl.labels[splits.train][distances.argmin(axis=1)]
        accuracies.append(np.mean(predicted == orl.labels[splits.test]))
    assert np.mean(accuracies) * 100 == pytest.approx(94.5, abs=0.1)
    assert np.std(accuracies) * 100 == pytest.approx(1.1, abs=0.2)


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces", people=2, pictures=3)
    (root / "person1").rename(root / "person10")
    (root / "person0").rename(root / "person9")
    (root / ".hidden").mkdir()
    found = Folder(str(root), channels=3).load()
    assert found.label_names == ["person9", "person10"]
    assert found.image_shape == (3, 64, 64)


def test_the_fingerprint_tells_contents_apart(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "faces")
    first, again = Folder(str(root)).load(), Folder(str(root)).load()
    assert first.fingerprint == again.fingerprint
    (root / "person0" / "4.png").rename(root / "person0" / "5.png")
    assert Folder(str(root)).load().fingerprint != first.fingerprint


def test_a_large_set_is_streamed_and_shows_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder(tmp_path / "faces")
    held = Folder(str(root)).load()
    monkeypatch.setattr(source, "MEMORY_LIMIT_BYTES", 0)
    streamed = Folder(str(root)).load()
    assert isinstance(streamed.pixels, StreamedPixels)
    assert all(np.array_equal(held.pixels[i], streamed.pixels[i]) for i in range(len(held)))
