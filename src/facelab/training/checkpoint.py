"""Checkpoint files: the whole state of training, from which a run can resume.

The newest two are kept, each with its SHA-256 beside it. A file gets its final name only once it is complete and synced
to disk, so that killing the process never loses the previous checkpoint.
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
from facelab.system import training_command

KEPT = 2
_SUFFIX, _SUM_SUFFIX, _PARTIAL_SUFFIX = ".ckpt", ".sha256", ".partial"


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint file.

    Args:
        path: path of the file.
        images_seen: number of images seen when it was saved.
        config: config of its run.
    """

    path: Path
    images_seen: int
    config: Mapping[str, Any]


def checkpoint_path(folder: Path, images_seen: int) -> Path:
    """Path of the checkpoint after this many images; names sort by age."""
    return folder / f"images={images_seen:012d}{_SUFFIX}"


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Find the newest usable checkpoint.

    Args:
        folder: folder of a run's checkpoints; it need not exist.

    Returns:
        The checkpoint, None if there are no files; and the faults of newer, unusable files.

    Raises:
        CheckpointError: there are files, but none is usable.
    """
    faults: list[str] = []
    for path in _by_age(folder):
        try:
            state = _read(path)
            return Checkpoint(path, int(state["images_seen"]), dict(state["config"])), faults
        except CheckpointError as error:
            faults.append(str(error))
        except (KeyError, TypeError, ValueError):
            faults.append(f"{path} is not a facelab checkpoint")
    if faults:
        raise CheckpointError(
            f"no checkpoint is usable: {'; '.join(faults)}. Restore one of the files, or start a new run."
        )
    return None, []


class CheckpointFiles(CheckpointIO):
    """Lightning plugin that writes and reads checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, then remove the oldest.

        Raises:
            CheckpointError: the file cannot be written, for instance because the disk is full; older checkpoints stay.
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
                file.write(f"{_sha256(partial)}  {path.name}\n")  # the format of `sha256sum --check`
                _to_disk(file.fileno(), file)
            partial.replace(path)
            _sync_folder(path.parent)
        # torch reports a failed write as RuntimeError.
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise CheckpointError(
                f"{path} could not be written ({error}). Earlier checkpoints are intact. If the disk is full, free "
                f"space and type: {training_command()} resume=<run id>"
            ) from error
        for old in _by_age(path.parent)[KEPT:]:
            self.remove_checkpoint(old)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint onto the CPU.

        Raises:
            CheckpointError: the file is damaged, or holds more than plain data.
        """
        return _read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its checksum."""
        Path(path).unlink(missing_ok=True)
        Path(path).with_suffix(_SUM_SUFFIX).unlink(missing_ok=True)


def tidy(folder: Path, keep: Path | None) -> None:
    """Clean up before resuming: remove partially written files, and rename unusable checkpoints.

    Args:
        folder: folder of a run's checkpoints; it need not exist.
        keep: the checkpoint in use; newer, unusable ones are renamed to `.unusable`.
    """
    for partial in folder.glob(f"*{_PARTIAL_SUFFIX}"):
        partial.unlink()
    if keep is not None:
        set_aside(folder, newer_than=keep)


def set_aside(folder: Path, newer_than: Path | None = None) -> None:
    """Rename checkpoints to `.unusable`; they may have failed to be read for a passing reason.

    Args:
        folder: folder of a run's checkpoints.
        newer_than: rename only those newer than this one.
    """
    for path in _by_age(folder):
        if newer_than is None or path.name > newer_than.name:
            path.replace(path.with_suffix(".unusable"))


def _by_age(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"images=*{_SUFFIX}"), reverse=True)


def _read(path: Path) -> dict[str, Any]:
    """Verify the checksum and load the file; no code in it is executed."""
    try:
        written = path.with_suffix(_SUM_SUFFIX).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} has no readable checksum file, {path.stem}{_SUM_SUFFIX}") from error
    if _sha256(path) != written:
        raise CheckpointError(f"{path} is damaged: its checksum differs")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than plain data, possibly code; it was not opened") from error
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
    """Sync the folder, so that the new file name is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
