"""Files that hold the whole state of training, so that a run can go on from them.

Two are kept, each with its SHA-256 beside it. A file appears under its name only when it is complete and on the disk:
whatever kills the process, the one before is still there.
"""

import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from facelab.errors import CheckpointError

KEPT = 2
_SUFFIX, _SUM_SUFFIX, _PARTIAL_SUFFIX = ".ckpt", ".sha256", ".partial"


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint.

    Args:
        path: of the file.
        images_seen: when it was saved.
        config: of the run it belongs to.
    """

    path: Path
    images_seen: int
    config: Mapping[str, Any]


def checkpoint_path(folder: Path, images_seen: int) -> Path:
    """Where the checkpoint after so many images lies: names sort by age."""
    return folder / f"images={images_seen:012d}{_SUFFIX}"


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be used.

    Args:
        folder: of a run's checkpoints; it need not exist.

    Returns:
        The checkpoint, None if there is no file at all; and what was wrong with the newer ones.

    Raises:
        CheckpointError: there are files, and none can be used.
    """
    faults: list[str] = []
    for path in _by_age(folder):
        try:
            state = _read(path)
            return Checkpoint(path, int(state["images_seen"]), dict(state["config"])), faults
        except CheckpointError as error:
            faults.append(str(error))
        except (KeyError, TypeError, ValueError):
            faults.append(f"{path} is no checkpoint of facelab")
    if faults:
        raise CheckpointError(
            f"no checkpoint can be used: {'; '.join(faults)}. Restore one of them, or start a new run."
        )
    return None, []


class CheckpointFiles(CheckpointIO):
    """How Lightning's trainer writes and reads them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside the others, then remove the oldest.

        Raises:
            CheckpointError: the disk is full or cannot be written; older checkpoints are untouched.
        """
        path = Path(path)
        partial = path.with_suffix(_PARTIAL_SUFFIX)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                _to_disk(file.fileno(), file)
            total = path.with_suffix(_SUM_SUFFIX)
            with total.open("w", encoding="ascii") as file:
                file.write(f"{_sha256(partial)}  {path.name}\n")  # as `sha256sum --check` reads it
                _to_disk(file.fileno(), file)
            partial.replace(path)
            _sync_folder(path.parent)
        # torch reports a failed write as RuntimeError.
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise CheckpointError(
                f"{path} could not be written ({error}); checkpoints before it are intact. Is the disk full? Make "
                "room, then go on with resume=<run id>."
            ) from error
        for old in _by_age(path.parent)[KEPT:]:
            self.remove_checkpoint(old)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read one, onto the CPU.

        Raises:
            CheckpointError: it is damaged, or holds more than plain data.
        """
        return _read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its sum."""
        Path(path).unlink(missing_ok=True)
        Path(path).with_suffix(_SUM_SUFFIX).unlink(missing_ok=True)


def tidy(folder: Path, keep: Path | None) -> None:
    """Before going on: remove what a killed process left half written, and put unusable checkpoints out of the way.

    Args:
        folder: of a run's checkpoints; it need not exist.
        keep: the checkpoint in use; newer ones are renamed, not removed.
    """
    for partial in folder.glob(f"*{_PARTIAL_SUFFIX}"):
        partial.unlink()
    for path in _by_age(folder):
        if keep is not None and path.name > keep.name:
            path.replace(path.with_suffix(".unusable"))


def _by_age(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"images=*{_SUFFIX}"), reverse=True)


def _read(path: Path) -> dict[str, Any]:
    """Verify and open; nothing in the file is executed."""
    try:
        written = path.with_suffix(_SUM_SUFFIX).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} has no readable checksum beside it") from error
    if _sha256(path) != written:
        raise CheckpointError(f"{path} is damaged: its checksum differs")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than plain data, possibly code, and is not opened") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(descriptor: int, file: Any) -> None:
    file.flush()
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """So that the new name is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
