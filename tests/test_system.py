"""Files that are replaced together, or not at all."""

import resource
import stat
from pathlib import Path

import pytest

from facelab.system import replace_files


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
