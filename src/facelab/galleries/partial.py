"""The folder in a gallery's folder in which its file is written, before it is put in its place.

It is a folder, since safetensors writes to a file of its own choice beside the one it is given.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".gallery.safetensors.partial"


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Make the folder, for its owner alone; whatever is left in it is deleted at the end.

    Raises:
        OSError: it cannot be made.
    """
    delete_partial(folder)
    partial = folder / PARTIAL
    partial.mkdir(mode=0o700)
    try:
        yield partial
    finally:
        shutil.rmtree(partial)


def delete_partial(folder: Path) -> None:
    """Delete what a killed process left half written.

    Raises:
        OSError: it cannot be deleted.
    """
    partial = folder / PARTIAL
    if partial.is_dir():
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)  # earlier versions of facelab wrote a file
