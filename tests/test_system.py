"""Files that are replaced together, or not at all; paths that cannot be looked up."""

import resource
import stat
from pathlib import Path

import pytest

from facelab.errors import ConfigError
from facelab.system import check_path, replace_files


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    first, second = tmp_path / "out" / "a.csv", tmp_path / "out" / "b.html"
    replace_files({first: b"old", second: b"old"}, 0o600)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (first, second)} == {0o600}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # writes beyond fail, as on a full disk
    try:
        with pytest.raises(OSError, match="too large"):
            replace_files({first: b"new", second: bytes(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.read_bytes() for path in (first, second)] == [b"old", b"old"]
    folder = tmp_path / "out" / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        replace_files({first: b"new", folder: b"new"})
    assert first.read_bytes() == b"old"
    assert set(first.parent.iterdir()) == {first, second, folder}


def test_a_path_that_cannot_be_looked_up_is_refused_and_one_that_is_missing_is_not(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file", tmp_path / "missing" / "file", tmp_path / "file" / "below"):
        check_path("out", path)
        path.exists()
    for path, says in (
        (tmp_path / ("o" * 300), r"File name too long"),
        (tmp_path / "circle" / "below", r"Too many levels of symbolic links"),
    ):
        with pytest.raises(ConfigError, match=rf"out: {path} cannot be looked up \({says}\)\. Choose another path"):
            check_path("out", path)
