"""What `facelab identify` leaves behind: after an error, of names that are no text, and for whom."""

import csv
import stat
from pathlib import Path

import pytest

from facelab.galleries import Gallery
from facelab.galleries.identification import Identified, Results, as_csv
from tests.commands.test_gallery import done, rows
from tests.conftest import Command
from tests.galleries.made import gallery as made_gallery


def test_no_results_of_earlier_photos_stay(facelab: Command, here: Path, enrolling: tuple[str, ...]) -> None:
    done(facelab(*enrolling))
    done(facelab("identify", "gallery=office", "source=probes"))
    written = here / "identified" / "identify.csv", here / "identified" / "page.html"
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o600, 0o600]
    (here / "broken").mkdir()
    (here / "broken" / "1.png").write_bytes(b"no image")
    outcome = facelab("identify", "gallery=office", "source=broken")
    assert outcome.status == 1
    assert "no face could be judged:\n  - 1.png is not an image" in outcome.error
    assert outcome.error.endswith(f"{written[0]} has the reasons.\n")
    assert [(row["photo"], row["decision"], row["person"]) for row in rows(written[0])] == [("1.png", "not judged", "")]
    page = written[1].read_text(encoding="utf-8")
    assert "No face could be judged." in page
    assert "data:image" not in page


def test_a_page_that_cannot_be_written_leaves_the_old_list(
    facelab: Command, here: Path, enrolling: tuple[str, ...]
) -> None:
    done(facelab(*enrolling))
    (here / "found" / "page.html").mkdir(parents=True)
    (here / "found" / "identify.csv").write_text("old", encoding="utf-8")
    outcome = facelab("identify", "gallery=office", "source=probes", "out=found")
    assert outcome.status == 2
    assert "found cannot be written" in outcome.error
    assert (here / "found" / "identify.csv").read_text(encoding="utf-8") == "old"
    assert {path.name for path in (here / "found").iterdir()} == {"identify.csv", "page.html"}


@pytest.mark.parametrize("name", ["a\rb.jpg", "a\nb\x1b[2J.jpg", '=HYPERLINK("http://x";"y")', "@SUM(1)", "-1+1", "+1"])
def test_a_name_stays_a_text_of_one_cell(name: str, tmp_path: Path) -> None:
    gallery: Gallery = made_gallery()
    gallery = Gallery(**{**vars(gallery), "names": [name, *gallery.names[1:]]})
    results = Results([Identified(name, 1, None, b"", [0], [-0.5], True)], {f"2{name}": "is damaged"})
    (tmp_path / "identify.csv").write_bytes(as_csv(results, gallery).encode())
    (one, other), written = rows(tmp_path / "identify.csv"), "'" if name[0] in "=@-+" else ""
    written += name.replace("\r", "\\r").replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert [one["photo"], one["person"], one["nearest_1"], one["score_1"]] == [written, written, written, "-0.500000"]
    assert other["problem"] == "is damaged"
    assert len((tmp_path / "identify.csv").read_bytes().splitlines()) == 3
    with (tmp_path / "identify.csv").open(encoding="utf-8", newline="") as file:
        assert len({len(row) for row in csv.reader(file)}) == 1
