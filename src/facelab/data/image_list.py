"""The list of the images that a run used: kept with its weights, so that a later test can be told apart from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.source import FaceSource
from facelab.data.sources.celeba import CelebA
from facelab.data.sources.concat import SOURCE, Concat
from facelab.data.sources.lfw import LFW
from facelab.data.sources.orl import ORL
from facelab.data.sources.recordio import RecordIO
from facelab.data.splits.base import Splits
from facelab.errors import DataError

IMAGES = "images.parquet"
PRETRAINED = "pretrained"
MOST_BYTES = 1 << 30  # of a file's content
_UNLISTED = b"facelab.unlisted"
_TEXT = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("part", _TEXT),
        ("identity", _TEXT),
        ("label", _TEXT),
        ("naming", _TEXT),
        ("digest", pa.binary(32)),
    ]
)
_PUBLISHED = (LFW, CelebA, ORL)  # the names of their people are the same wherever their files lie


@dataclass(frozen=True)
class ImageList:
    """The images a run used, one row each.

    Args:
        table: `name`; `part`, which is train, val, test, or pretrained for those of the run that training started
            from or that generated faces for it; `identity`, empty if unknown; `label`; `naming`, equal where equal
            identities mean the same person; `digest`, SHA-256 of the pixels at the size of the run.
        unlisted: ids of runs whose weights these images and others trained, where the others are not known.
    """

    table: pa.Table
    unlisted: Sequence[str] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @classmethod
    def of(cls, source: FaceSource, faces: FaceSet, splits: Splits) -> "ImageList":
        """The images of train, val and test.

        Args:
            source: that the faces were loaded from.
            faces: the face set.
            splits: train, val and test.
        """
        chosen = np.concatenate([indices for _, indices in splits.items()])
        parts = [part for part, indices in splits.items() for _ in range(len(indices))]
        names = namings(source, faces)
        identities = faces.columns[IDENTITY].texts[chosen] if faces.has_identities else [""] * len(chosen)
        columns = [
            pa.array([faces.names[index] for index in chosen], pa.string()),
            pa.array(parts, pa.string()).dictionary_encode(),
            pa.array(identities, pa.string()).dictionary_encode(),
            pa.array(faces.columns[faces.label].texts[chosen], pa.string()).dictionary_encode(),
            pa.array([names[index] for index in chosen], pa.string()).dictionary_encode(),
            pa.array([bytes.fromhex(faces.digests[index]) for index in chosen], pa.binary(32)),
        ]
        return cls(pa.table(columns, schema=_SCHEMA))

    def after(self, pretrained: "ImageList | None", run_id: str) -> "ImageList":
        """These images, and those of a run whose weights training started from, or that generated faces for it.

        Args:
            pretrained: the list of that run; None if it has none.
            run_id: of that run.
        """
        if pretrained is None:
            return ImageList(self.table, [*self.unlisted, run_id])
        rows = pretrained.table
        seen = rows.filter(compute.not_equal(rows["part"].cast(pa.string()), "test"))
        part = pa.array([PRETRAINED] * len(seen), pa.string()).dictionary_encode()
        seen = seen.set_column(_SCHEMA.get_field_index("part"), _SCHEMA.field("part"), part)
        joined = pa.concat_tables([self.table, seen]).unify_dictionaries()
        return ImageList(joined, [*self.unlisted, *pretrained.unlisted])

    def digests(self, *parts: str) -> set[bytes]:
        """SHA-256 of the pixels of the images of some parts."""
        chosen = compute.is_in(self.table["part"].cast(pa.string()), value_set=pa.array(parts, pa.string()))
        return set(self.table.filter(chosen)["digest"].to_pylist())

    def inherited(self) -> "ImageList":
        """Those of them that other runs were trained on, and not this one."""
        rows = self.table.filter(compute.equal(self.table["part"].cast(pa.string()), PRETRAINED))
        return ImageList(rows, self.unlisted)

    def write(self, path: Path) -> None:
        """Write a Parquet file, about 40 bytes an image.

        Raises:
            OSError: it cannot be written.
        """
        kept = self.table.replace_schema_metadata({_UNLISTED: " ".join(self.unlisted).encode()})
        partial = path.with_name(f"{path.name}.partial")
        parquet.write_table(kept, partial, compression="zstd")
        partial.replace(path)


def read_image_list(path: Path) -> ImageList:
    """Read the list of a run.

    Raises:
        FileNotFoundError: there is none.
        DataError: it is damaged, or larger than any that facelab writes.
    """
    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > MOST_BYTES:
                raise DataError(f"{path} holds more than {MOST_BYTES:,} bytes, so facelab did not write it.")
            table = file.read(columns=_SCHEMA.names)
            unlisted = (table.schema.metadata or {}).get(_UNLISTED, b"").decode()
            table = pa.table([table[name].cast(_SCHEMA.field(name).type) for name in _SCHEMA.names], schema=_SCHEMA)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DataError(f"{path} is damaged ({reason}). Restore it from MLflow, or train the model again.") from error
    return ImageList(table, unlisted.split())


def namings(source: FaceSource, faces: FaceSet) -> Sequence[str]:
    """Text (N,) of each image that says whose names its identity uses: equal texts, same people by equal names.

    It is the class of the source, for a published set such as LFW; with the name of its folder or file, for others,
    since `s1` of two folders are two people. Images of `data=concat` have that of their own source.
    """
    if isinstance(source, Concat):
        own = {name: _naming(inner) for name, inner in source.sources.items()}
        if not source.shared_identities:  # the source's name precedes the identities
            own = {name: f"{naming} in Concat" for name, naming in own.items()}
        return [own[name] for name in faces.columns[SOURCE].texts]
    return [_naming(source)] * len(faces)


def _naming(source: FaceSource) -> str:
    kind = type(source).__name__
    if isinstance(source, _PUBLISHED):
        return kind
    if isinstance(source, Concat):
        return f"{kind} {' + '.join(sorted(map(_naming, source.sources.values())))}"
    if isinstance(source, RecordIO):  # published sets are all called train.rec
        path = Path(source.path).absolute()
        return f"{kind} {path.parent.name}/{path.name}"
    places = [str(place) for key in ("root", "path", "file") if (place := getattr(source, key, None))]
    return f"{kind} {Path(places[0]).absolute().name}" if places else kind
