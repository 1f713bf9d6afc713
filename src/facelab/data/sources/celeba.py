"""Data source for CelebA, celebrities with identities and 40 attributes."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from facelab.data.faces import IDENTITY, PART
from facelab.data.source import FaceSource, Rows, readable
from facelab.errors import DataError

_IDENTITIES, _ATTRIBUTES, _PARTITION = "identity_CelebA.txt", "list_attr_celeba.txt", "list_eval_partition.txt"
_IMAGES = "img_align_celeba"
# Of the original archive; Kaggle's has the folder of the images within a folder of the same name.
_FOLDERS = (_IMAGES, "", "Anno", "Eval", "Img")
_PARTS = ("train", "val", "test")
_SHOWN = 5


@dataclass(kw_only=True)
class CelebA(FaceSource):
    """CelebA: 202,599 aligned faces of 10,177 celebrities, 178 x 218 pixels, with 40 binary attributes.

    Format: `root/img_align_celeba/000001.jpg`, with `identity_CelebA.txt` (lines `image number`),
    `list_attr_celeba.txt` (a count, the names of the attributes, and lines `image 1 -1 ...`) and
    `list_eval_partition.txt` (lines `image 0`, 1 or 2) in `root`, or in its folders `Anno`, `Eval` and `Img` as in the
    original archive. Columns: `identity`; each attribute, such as `Smiling`, `yes` or `no`; and `part`, the official
    `train`, `val` or `test`, which share no people. If a list is missing, so are its columns.
    Source: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html. Z. Liu, P. Luo, X. Wang and X. Tang, "Deep Learning Face
    Attributes in the Wild", ICCV 2015. Terms: non-commercial research; the images may not be passed on.

    Args:
        root: the folder.
    """

    name: ClassVar[str] = "celeba"
    root: str
    label: str = "Smiling"

    def rows(self) -> Rows:
        """Read the lists."""
        root = Path(self.root)
        where = f"data.root: {readable(str(root.absolute()))}"
        folder = _found(root, _IMAGES)
        if folder is None or not folder.is_dir():
            raise DataError(
                f"{where} holds no folder {_IMAGES}. Expected it, and the lists beside it, as in CelebA's archive. "
                "Hydra does not expand ~; type $HOME/... instead."
            )
        found = {name: _found(root, name) for name in (_IDENTITIES, _ATTRIBUTES, _PARTITION)}
        tables = {name: _table(path, where) for name, path in found.items() if path is not None}
        wanted = _IDENTITIES if self.label == IDENTITY else _ATTRIBUTES
        if wanted not in tables:
            raise DataError(
                f"data.label={self.label} needs {wanted}, which is missing. {where}. Copy it there, or set data.label "
                f"to {'an attribute, such as Smiling' if self.label == IDENTITY else IDENTITY}."
            )
        names = tables[wanted].index
        for name, table in tables.items():
            missing = names.symmetric_difference(table.index)
            if len(missing):
                raise DataError(
                    f"{where}: {wanted} and {name} list different images: {len(missing):,} are in one of them only, "
                    f"such as {', '.join(missing[:_SHOWN])}. Copy the lists again."
                )
        table = pd.concat([one.reindex(names) for one in tables.values()], axis=1)
        columns = {str(name): table[name].tolist() for name in table.columns}
        return Rows.of_files(self.name, root, [folder / name for name in names], columns)


def _found(root: Path, name: str) -> Path | None:
    """Where a file or folder of the set is; None if it is missing."""
    return next((root / folder / name for folder in _FOLDERS if (root / folder / name).exists()), None)


def _table(path: Path, where: str) -> pd.DataFrame:
    """One list as texts by image name.

    Raises:
        DataError: it has another form.
    """
    has_names = path.name == _ATTRIBUTES
    try:
        # The first line of the attributes is their count, and their names lack one for the image: it becomes the index.
        table = pd.read_csv(
            path,
            sep=r"\s+",
            skiprows=1 if has_names else 0,
            header=0 if has_names else None,
            index_col=None if has_names else 0,
            encoding_errors="backslashreplace",
        )
        values = table.astype("int64").set_axis(table.index.map(str))
    except (ValueError, OSError) as error:
        raise _bad_list(path, where, str(error).splitlines()[0][:200]) from error
    repeated = values.index[values.index.duplicated()]
    if len(repeated):
        raise _bad_list(path, where, f"images occur more than once, such as {repeated[0]}")
    if values.index.str.contains("/").any():
        raise _bad_list(path, where, "it names images of other folders")
    if not has_names and values.shape[1] != 1:
        raise _bad_list(path, where, f"it has {values.shape[1]} values per image")
    allowed = {_ATTRIBUTES: (-1, 1), _PARTITION: (0, 1, 2)}.get(path.name)
    if allowed and not values.isin(allowed).all(axis=None):
        raise _bad_list(path, where, f"it holds other values than {', '.join(map(str, allowed))}")
    if path.name == _IDENTITIES:
        return values.astype(str).set_axis([IDENTITY], axis=1)
    if path.name == _PARTITION:
        return values.replace(dict(enumerate(_PARTS))).set_axis([PART], axis=1)
    return values.replace({-1: "no", 1: "yes"})


def _bad_list(path: Path, where: str, reason: str) -> DataError:
    forms = {
        _IDENTITIES: "lines `000001.jpg 2880`",
        _PARTITION: "lines `000001.jpg 0`",
        _ATTRIBUTES: "a count, a line with the names of the attributes, and lines `000001.jpg -1 1 ...`",
    }
    return DataError(f"{where}: {readable(path.name)}: {reason}. Expected {forms[path.name]}. Copy the list again.")
