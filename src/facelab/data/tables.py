"""Read tables of texts from CSV and Parquet files."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from facelab.data.listing import file_at
from facelab.data.source import readable
from facelab.errors import DataError

MOST_BYTES = 1 << 30  # of a CSV file, or of a Parquet file's content
MOST_COLUMNS = 1000
_BATCH_ROWS = 4096  # few, since a small file may repeat a long text in every row
_DELIMITERS = (",", ";", "\t", "|")
_EXPECTED = "a CSV or Parquet file"

Table = dict[str, list[str]]


def read_table(path: str, key: str, wanted: str) -> Table:
    """Read a table as texts, exactly as they are written: `NA` and `0012` are texts like any other.

    A file whose name ends in .parquet is Parquet, any other is CSV: UTF-8, a header, the delimiter that splits the
    header best of comma, semicolon, tab and bar. Spaces around names in the header and before cells are removed, empty
    lines passed over, and columns without a name left out.

    Args:
        path: of the file.
        key: of the config that names it, for messages.
        wanted: a column it should have; decides between delimiters.

    Returns:
        The columns by name, N texts each; empty where there is no value.

    Raises:
        DataError: the file is unusable; says why, where and what to do.
    """
    file = file_at(path, key, _EXPECTED, MOST_BYTES)
    where = f"{key}: {readable(str(file.absolute()))}"
    found = _parquet(file, where) if file.suffix.lower() == ".parquet" else _csv(file, where, wanted)
    if not next(iter(found.values()), []):
        raise DataError(f"{where} has no rows, only a header. Add a row for each image.")
    return found


def _csv(path: Path, where: str, wanted: str) -> Table:
    line = 0
    try:
        # Without strict, a quote that is never closed would swallow all further rows.
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((text for text in file if text.strip()), "")
            delimiter = max(_DELIMITERS, key=lambda mark: _fit(first, mark, wanted))
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
            rows = (row for row in reader if any(row))
            header = [name.strip() for name in next(rows, [])]
            _check_header(header, where)
            columns: list[list[str]] = [[] for _ in header]
            pool: dict[str, str] = {}  # a text that occurs in many rows is held once
            for row in rows:
                line = reader.line_num
                if len(row) != len(header):
                    raise DataError(
                        f"{where}, line {line}: {len(row)} fields, but the header has {len(header)} (delimiter "
                        f"{delimiter!r}). A text that contains the delimiter must be in double quotes."
                    )
                for column, cell in zip(columns, row, strict=True):
                    column.append(pool.setdefault(cell, cell))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8 text (after line {line + 1}). Save it as UTF-8; in Excel, as 'CSV UTF-8'."
        ) from error
    except csv.Error as error:
        raise DataError(f"{where}, after line {line + 1}: not valid CSV ({error}). Check the double quotes.") from error
    except OSError as error:
        raise DataError(f"{where} could not be read ({error.strerror}); check its permissions and the disk.") from error
    return {name: column for name, column in zip(header, columns, strict=True) if name}


def _fit(header: str, delimiter: str, wanted: str) -> tuple[bool, int]:
    """How well a delimiter splits the header: whether the wanted column is there, and the number of columns."""
    fields = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    return wanted in [field.strip() for field in fields], len(fields)


def _parquet(path: Path, where: str) -> Table:
    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            total = sum(group.total_byte_size for group in groups)
            if total > MOST_BYTES:
                raise DataError(f"{where} holds {total:,} bytes; at most {MOST_BYTES:,} are read. Split it.")
            _check_header(file.schema_arrow.names, where)
            return {name: list(_texts(file, name, where)) for name in file.schema_arrow.names if name}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DataError(f"{where} is not a Parquet file, or is damaged ({reason}). Write it again.") from error


def _texts(file: parquet.ParquetFile, name: str, where: str) -> Iterator[str]:
    kind = file.schema_arrow.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise DataError(f"{where}: the column '{name}' is of type {kind}. Expected text or numbers; leave it out.")
    pool: dict[str, str] = {}
    for batch in file.iter_batches(_BATCH_ROWS, columns=[name]):
        for text in batch.column(0).cast(pa.string()).to_pylist():
            yield pool.setdefault(text, text) if text else ""


def _check_header(names: list[str], where: str) -> None:
    if not names:
        raise DataError(f"{where} is empty. Expected {_EXPECTED} with a header.")
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{where} has {len(names):,} columns; at most {MOST_COLUMNS:,} are read. Leave some out.")
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(f"{where} has several columns '{repeated[0]}'. Rename all but one.")
