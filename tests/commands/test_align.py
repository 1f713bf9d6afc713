"""`facelab align` on a folder of photos: the astronaut of scikit-image, in the forms in which photos come."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from PIL.Image import Transpose

from facelab.data.photos.align import template
from facelab.data.photos.detect import Detector
from tests.conftest import ROOT, Command, Outcome

HALF = (90, 0, 346, 256)  # of the astronaut, with the face


def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).crop(HALF)


def aligned(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image).astype(int)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos, three of which have a face each, one two and one none."""
    folder = tmp_path / "photos"
    (folder / "Jürgen 王").mkdir(parents=True)
    astronaut().save(folder / "one.png")
    astronaut().convert("L").save(folder / "Jürgen 王" / "grey.webp", quality=95)
    two = Image.new("RGB", (512, 256))
    two.paste(astronaut().resize((200, 200)), (0, 0))
    two.paste(astronaut(), (256, 0))
    two.save(folder / "two.tiff")
    Image.fromarray(skimage.data.coffee()).save(folder / "cup.gif")
    (folder / "Thumbs.db").write_bytes(b"no photo")
    return folder


def done(outcome: Outcome) -> None:
    assert outcome.status == 0, outcome.error


def test_every_face_is_aligned_and_listed(facelab: Command, photos: Path, tmp_path: Path) -> None:
    outcome = facelab("align", "source=photos", "out=faces", "size=112")
    done(outcome)
    assert "4 faces of 3 photos" in outcome.out
    assert "cup.gif" in outcome.out
    out = tmp_path / "faces"
    assert {name for name in content(out) if name.endswith(".png")} == {
        "one.png",
        "two.png",
        "two.face2.png",
        "Jürgen 王/grey.png",
    }
    assert {row["photo"]: row["faces"] for row in rows(out / "photos.csv")} == {
        "one.png": "1",
        "two.tiff": "2",
        "cup.gif": "0",
        "Jürgen 王/grey.webp": "1",
    }
    found = {row["file"]: row for row in rows(out / "faces.csv")}
    assert len(found) == 4
    assert found["two.png"]["photo"] == "two.tiff"
    assert float(found["two.png"]["left"]) > 256, "the first face is the largest"
    for file, row in found.items():
        assert aligned(out / file).shape == (112, 112, 3)
        assert 0.9 <= float(row["score"]) <= 1
        assert float(row["left"]) < float(row["nose_x"]) < float(row["right"])
        assert float(row["top"]) < float(row["nose_y"]) < float(row["bottom"])


def test_the_points_of_an_aligned_face_are_the_templates(facelab: Command, photos: Path, tmp_path: Path) -> None:
    done(facelab("align", "source=photos", "out=faces", "size=224"))
    for file in ("one.png", "two.face2.png", "Jürgen 王/grey.png"):
        (points,) = Detector()(aligned(tmp_path / "faces" / file).astype(np.uint8)).points
        distances = np.linalg.norm(points - template(224), axis=1) / 2
        assert distances.mean() < 6, distances  # in a crop of 112: no face has just the template's shape


def test_a_photo_turned_by_exif_gives_the_face_of_the_upright_one(facelab: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    astronaut().save(tmp_path / "photos" / "upright.png")
    for orientation, back in ((3, Transpose.ROTATE_180), (6, Transpose.ROTATE_90), (8, Transpose.ROTATE_270)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        astronaut().transpose(back).save(tmp_path / "photos" / f"{orientation}.png", exif=exif)
    done(facelab("align", "source=photos", "out=faces"))
    for orientation in (3, 6, 8):
        turned, upright = (aligned(tmp_path / "faces" / f"{name}.png") for name in (orientation, "upright"))
        assert (turned == upright).all()


def test_the_largest_face_alone(facelab: Command, photos: Path, tmp_path: Path) -> None:
    done(facelab("align", "source=photos", "out=all"))
    done(facelab("align", "source=photos", "out=faces", "faces=largest"))
    assert not (tmp_path / "faces" / "two.face2.png").exists()
    assert (aligned(tmp_path / "faces" / "two.png") == aligned(tmp_path / "all" / "two.png")).all()
    (row,) = [row for row in rows(tmp_path / "faces" / "photos.csv") if row["photo"] == "two.tiff"]
    assert row["faces"] == "2"


def test_bad_photos_are_named_and_the_others_done(facelab: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "one.png").read_bytes()[:3000])
    (photos / "empty.jpg").touch()
    (photos / "iphone.heic").write_bytes(b"\0\0\0\x20ftypheic")
    outcome = facelab("align", "source=photos", "out=faces")
    assert outcome.status == 1
    assert "3 photos could not be used" in outcome.error
    for text in ("broken.jpg is damaged", "empty.jpg is empty (0 bytes)", "iphone.heic has an unsupported format"):
        assert text in outcome.error
    assert "4 faces of 3 photos" in outcome.out
    problems = [row for row in rows(tmp_path / "faces" / "photos.csv") if row["problem"]]
    assert len(problems) == 3

    (photos / "broken.jpg").write_bytes((photos / "one.png").read_bytes())
    (photos / "empty.jpg").unlink()
    (photos / "iphone.heic").unlink()
    outcome = facelab("align", "source=photos", "out=faces")
    done(outcome)
    assert "5 faces of 4 photos" in outcome.out


def test_a_photo_whose_faces_cannot_be_named_does_not_stop_the_others(
    facelab: Command, photos: Path, tmp_path: Path
) -> None:
    done(facelab("align", "source=photos", "out=others"))
    (photos / "two.tiff").rename(photos / f"{'a' * 250}.tiff")
    outcome = facelab("align", "source=photos", "out=faces")
    assert outcome.status == 1
    assert "aaa.tiff has a name too long for those of its faces; rename it" in outcome.error
    names = {name for name in content(tmp_path / "others") if name.endswith(".png")}
    assert {name for name in content(tmp_path / "faces") if name.endswith(".png")} == names - {
        "two.png",
        "two.face2.png",
    }


def test_the_same_command_completes_a_folder(facelab: Command, photos: Path, tmp_path: Path) -> None:
    done(facelab("align", "source=photos", "out=faces"))
    out = tmp_path / "faces"
    whole = content(out)
    done(facelab("align", "source=photos", "out=faces"))
    assert content(out) == whole
    for lines in (1, 2, 4):  # as a kill leaves it: the faces of one more photo are listed than photos
        kept = (out / "photos.csv").read_bytes().splitlines(keepends=True)
        (out / "photos.csv").write_bytes(b"".join(kept[:lines]) + kept[lines][:3])
        (out / "two.png").unlink(missing_ok=True)
        outcome = facelab("align", "source=photos", "out=faces")
        done(outcome)
        if lines < 4:
            assert content(out) == whole
        if lines > 1:
            assert f"{lines - 1} of 4 photos are done already" in outcome.error


def test_a_photo_that_was_replaced_is_done_again(facelab: Command, photos: Path, tmp_path: Path) -> None:
    done(facelab("align", "source=photos", "out=faces"))
    before = content(tmp_path / "faces")
    (photos / "two.tiff").unlink()
    astronaut().transpose(Transpose.FLIP_LEFT_RIGHT).save(photos / "two.tiff")
    outcome = facelab("align", "source=photos", "out=faces")
    done(outcome)
    assert "1 photo changed since" in outcome.error
    done(facelab("align", "source=photos", "out=anew"))
    after, anew = content(tmp_path / "faces"), content(tmp_path / "anew")
    assert {name: after[name] for name in after if name.endswith(".png")} == {
        name: anew[name] for name in anew if name.endswith(".png")
    }
    assert after["two.png"] != before["two.png"]
    assert sorted(after["faces.csv"].splitlines()) == sorted(anew["faces.csv"].splitlines())
    assert sorted(after["photos.csv"].splitlines()) == sorted(anew["photos.csv"].splitlines())


def test_faces_of_photos_that_are_gone_are_named_and_kept(facelab: Command, photos: Path, tmp_path: Path) -> None:
    done(facelab("align", "source=photos", "out=faces"))
    whole = content(tmp_path / "faces")
    (photos / "one.png").rename(photos / "one.bmp")  # it would get the same name for its face
    outcome = facelab("align", "source=photos", "out=faces")
    assert outcome.status == 2
    assert "has the faces of 1 photo that" in outcome.error
    assert "holds no longer: one.png. Put them back" in outcome.error
    assert content(tmp_path / "faces") == whole

    rows_of_photos = (tmp_path / "faces" / "photos.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows_of_photos if not row.startswith("one.png,")]
    (tmp_path / "faces" / "photos.csv").write_text("".join(kept), encoding="utf-8")
    done(facelab("align", "source=photos", "out=faces"))
    assert [row["file"] for row in rows(tmp_path / "faces" / "faces.csv")].count("one.png") == 1


REFUSED = [
    (("source=nothing", "out=faces"), "nothing is not a folder"),
    (("source=photos/one.png", "out=faces"), "is not a folder"),
    (("source=photos", "out=photos"), "is in the source"),
    (("source=photos", "out=photos/new/faces"), "is in the source"),
    (("source=photos", "out=linked/faces"), "is in the source"),
    (("source=photos", "out=used"), "is not empty"),
    (("source=photos", "out=used/file"), "is not empty"),
    (("source=photos", "out=used/file/faces"), "cannot be written"),
    (("source=empty", "out=faces"), "holds no photos"),
    (("source=" + 300 * "s", "out=faces"), "cannot be looked up (File name too long)"),
    (("source=photos", "out=circle"), "out: {folder}/circle cannot be looked up (Too many levels of symbolic links)"),
    (("source=photos",), "out: has no value yet"),
    (("source=photos", "out=faces", "faces=some"), "expected 'all' or 'largest'"),
    (("source=photos", "out=faces", "size=0"), "size: expected"),
    (("source=photos", "out=faces", "min_score=2"), "min_score: expected"),
    (("source=photos", "out=faces", "min_size_pixel=80"), "min_size_pixels"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=lambda value: str(value)[-40:])
def test_what_is_refused_writes_nothing(
    facelab: Command, photos: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").symlink_to(photos)
    (tmp_path / "circle").symlink_to("circle")
    before = content(tmp_path)
    outcome = facelab("align", *arguments)
    assert outcome.status in (1, 2)
    assert says.format(folder=tmp_path) in outcome.error
    assert content(tmp_path) == before
    assert not (tmp_path / "faces").exists()


def test_a_different_command_does_not_go_on(facelab: Command, photos: Path, tmp_path: Path) -> None:
    done(facelab("align", "source=photos", "out=faces"))
    whole = content(tmp_path / "faces")
    outcome = facelab("align", "source=photos", "out=faces", "faces=largest")
    assert outcome.status == 2
    assert "faces=all (now largest)" in outcome.error
    assert content(tmp_path / "faces") == whole


@pytest.mark.slow
def test_ctrl_c_loses_nothing(facelab: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(60):
        astronaut().rotate(i / 4).save(tmp_path / "photos" / f"{i}.png")
    done(facelab("align", "source=photos", "out=straight"))
    program = "from facelab.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "align", "source=photos", "out=stopped"]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    listed = tmp_path / "stopped" / "photos.csv"
    deadline = time.monotonic() + 90
    while not listed.exists() or listed.read_bytes().count(b"\n") < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 60 photos are done. The same command continues" in error
    done(facelab("align", "source=photos", "out=stopped"))
    assert content(tmp_path / "stopped") == content(tmp_path / "straight")
