"""Several data sets as one."""

from pathlib import Path

import numpy as np
import pytest

from facelab.config.check import check_node
from facelab.data.pair_list import own_pairs
from facelab.data.sources.bin import Bin
from facelab.data.sources.concat import Concat
from facelab.data.sources.csv_file import CSV
from facelab.data.sources.folder import Folder
from facelab.data.sources.orl import ORL
from facelab.data.sources.pattern import Pattern
from facelab.errors import ConfigError, DataError
from tests.conftest import Command
from tests.data.made import make_folder, make_images
from tests.data.made_formats import make_packed

YALE = r"(?P<identity>\w+)/(?P<expression>\w+)\.png"


def _yale(folder: Path) -> Pattern:
    names = [f"subject{person}/{face}.png" for person in (1, 2) for face in ("happy", "sad")]
    return Pattern(str(make_images(folder / "yale", names)), YALE)


def _listed(folder: Path) -> CSV:
    make_images(folder / "more", ["1.png", "2.png"])
    (folder / "more" / "x.csv").write_text("path,expression,camera\n1.png,sad,phone\n2.png,wink,")
    return CSV(str(folder / "more" / "x.csv"))


def test_rows_columns_and_labels_are_joined(tmp_path: Path) -> None:
    found = Concat({"yale": _yale(tmp_path), "more": _listed(tmp_path)}, label="expression").load()
    assert found.names[:2] == ["yale/subject1/happy.png", "yale/subject1/sad.png"]
    assert found.names[4:] == ["more/1.png", "more/2.png"]
    assert found.label_names == ["happy", "sad", "wink"]
    assert found.labels.tolist() == [0, 1, 0, 1, 1, 2]
    assert found.columns["camera"].texts.tolist() == [""] * 4 + ["phone", ""]
    assert found.columns["source"].texts.tolist() == ["yale"] * 4 + ["more"] * 2
    assert found.groups.tolist() == [0, 0, 1, 1, 2, 3]  # nobody is known to be another one


def test_images_are_read_at_the_size_of_the_whole(tmp_path: Path) -> None:
    att, folder = ORL(last_person=2), Folder(str(make_folder(tmp_path / "faces", people=2)), image_size=99)
    found = Concat({"att": att, "mine": folder}, image_size=32, channels=3).load()
    assert found.image_shape == (3, 32, 32)
    alone = Folder(str(tmp_path / "faces"), image_size=32, channels=3).load()
    assert all(np.array_equal(found.pixels[20 + i], alone.pixels[i]) for i in range(len(alone)))
    assert list(found.digests[20:]) == list(alone.digests)


def test_people_of_one_name_are_one_person_unless_told_otherwise() -> None:
    sources = {"a": ORL(last_person=3), "b": ORL(first_person=2, last_person=4)}
    found = Concat(sources, image_size=8).load()
    assert found.label_names == ["s1", "s2", "s3", "s4"]
    assert found.notes[0].startswith("data.sources: 2 identities occur in several sources")
    assert "s2, s3" in found.notes[0]
    apart = Concat(sources, shared_identities=False, image_size=8).load()
    assert apart.label_names == ["a/s1", "a/s2", "a/s3", "b/s2", "b/s3", "b/s4"]
    assert not apart.notes


def test_pairs_of_two_sets_stay_apart(tmp_path: Path) -> None:
    sets = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_packed("bin", tmp_path / name)
        sets[name] = Bin(path=str(tmp_path / name / "faces.bin"), image_size=16)
    alone = own_pairs(sets["one"].load())
    joined = own_pairs(Concat(sets, label="genuine", group="pair", image_size=16).load())
    assert len(joined) == 2 * len(alone)
    assert joined.genuine.tolist() == [*alone.genuine, *alone.genuine]
    assert (joined.second == joined.first + 1).all()


def test_notes_and_problems_of_a_source_are_kept(tmp_path: Path) -> None:
    yale, mine = _yale(tmp_path), make_folder(tmp_path / "faces" / "group", people=2)
    found = Concat({"yale": yale, "mine": Folder(str(mine.parent))}).load()
    assert found.notes[0].startswith("data.sources.mine: data.root: ")
    (mine / "person0" / "x.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"x\.heic has an unsupported format"):
        Concat({"yale": yale, "mine": Folder(str(mine))}).load()
    with pytest.raises(DataError, match=r"^data\.sources\.mine: data\.root: .*is not a folder"):
        Concat({"yale": yale, "mine": Folder(str(tmp_path / "gone"))}).load()


def test_a_column_named_source_is_refused(tmp_path: Path) -> None:
    make_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "x.csv").write_text("path,identity,source\na.png,a,web\nb.png,b,web")
    with pytest.raises(DataError, match=r"data\.sources\.mine: its column 'source'"):
        Concat({"mine": CSV(str(tmp_path / "x.csv")), "yale": _yale(tmp_path)}).load()


def test_sources_are_two_or_more_and_have_names() -> None:
    with pytest.raises(DataError, match="at least two data sets, got 1"):
        Concat({"a": ORL()})
    with pytest.raises(DataError, match="'a/b' is not a name"):
        Concat({"a/b": ORL(), "c": ORL()})


@pytest.mark.parametrize("wrong", [{"root": "x"}, {}, 3, {"_target_": "facelab.models.Constant"}])
def test_a_source_is_a_data_set(wrong: object) -> None:
    sources = {"a": {"_target_": "facelab.data.ORL"}, "b": wrong}
    with pytest.raises(ConfigError, match=r"data\.sources\.b: expected a FaceSource"):
        check_node({"_target_": "facelab.data.Concat", "sources": sources}, "data")


def test_a_file_of_ones_own_names_the_sources(facelab: Command, tmp_path: Path) -> None:
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "both.yaml").write_text(
        "defaults:\n  - concat\n  - orl@sources.att\n  - folder@sources.mine\nsources:\n  mine:\n    root: faces\n"
    )
    outcome = facelab("train", "data=both", "--cfg", "job")
    assert outcome.status == 0, outcome.error
    assert "_target_: facelab.data.ORL" in outcome.out
    error = facelab("train", "data=both", "data.sources.mine.root=016").error
    assert f"data.sources.mine: data.root: {tmp_path / '016'} is not a folder" in error
