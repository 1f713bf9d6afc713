"""Data source for RAF-DB, facial expressions in photos."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from facelab.data.source import FaceSource, Rows, readable
from facelab.errors import DataError

# In the order of RAF-DB's numbers, 1 to 7, by the names of FER2013's classes.
_CLASSES = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
_LIST = Path("EmoLabel", "list_patition_label.txt")  # spelt like this
_SHOWN = 5


@dataclass(kw_only=True)
class RAFDB(FaceSource):
    """RAF-DB's single-label subset: 15,339 aligned faces of 100 x 100 pixels with one of seven expressions.

    Format: `root/EmoLabel/list_patition_label.txt` has lines `train_00001.jpg 5`; the images are
    `root/Image/aligned/train_00001_aligned.jpg`. Classes, 1 to 7: surprise, fear, disgust, happy, sad, angry, neutral,
    named as in `FER2013`. Columns: `expression`, and `part`, the official `train` or `test`. People are unknown.
    Source: http://www.whdeng.cn/RAF/model1.html. S. Li, W. Deng and J. Du, "Reliable Crowdsourcing and Deep
    Locality-Preserving Learning for Expression Recognition in the Wild", CVPR 2017. Terms: non-commercial research;
    each user asks the authors for the data.

    Args:
        root: folder that holds `EmoLabel` and `Image`; in the original archive, `basic`.
    """

    name: ClassVar[str] = "rafdb"
    root: str
    label: str = "expression"

    def rows(self) -> Rows:
        """List the images of the list."""
        root = Path(self.root)
        where = f"data.root: {readable(str(root.absolute()))}"
        listed = root / _LIST
        if not listed.is_file():
            raise DataError(
                f"{where} holds no {_LIST}. Expected the folder 'basic' of RAF-DB, with EmoLabel and Image/aligned. "
                "Hydra does not expand ~; type $HOME/... instead."
            )
        try:
            lines = listed.read_text(encoding="utf-8", errors="backslashreplace").splitlines()
        except OSError as error:
            raise DataError(f"{where}: {_LIST} could not be read ({error.strerror}); check it.") from error
        rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
        bad = [f"line {number}: {' '.join(fields)[:80]}" for number, fields in rows if not _is_row(fields)]
        if bad:
            shown = "; ".join(bad[:_SHOWN])
            raise DataError(
                f"{where}: {len(bad):,} lines of {_LIST} are not `train_NAME.jpg NUMBER` or `test_NAME.jpg NUMBER` "
                f"with a number from 1 to 7: {shown}{'; ...' if len(bad) > _SHOWN else ''}. Copy the list again."
            )
        paths = [root / "Image" / "aligned" / f"{Path(name).stem}_aligned.jpg" for _, (name, _) in rows]
        columns = {
            "expression": [_CLASSES[int(number) - 1] for _, (_, number) in rows],
            "part": [name.partition("_")[0] for _, (name, _) in rows],
        }
        return Rows.of_files(self.name, root, paths, columns)


def _is_row(fields: list[str]) -> bool:
    """Whether these are an image name, of the train or test split, and the number of a class."""
    if len(fields) != 2 or fields[1] not in ("1", "2", "3", "4", "5", "6", "7"):
        return False
    name = fields[0]
    return name.startswith(("train_", "test_")) and Path(name).name == name
