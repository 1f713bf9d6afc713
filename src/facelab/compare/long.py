"""The long table of a comparison, for pandas: a row for each run and metric."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import pyarrow as pa
from pyarrow import parquet

from facelab.compare.table import Study, recorded_metrics, value_of

Format = Literal["csv", "json", "parquet"]
NAME = "metrics"  # of the file, without its suffix
_ENDS = ("_low", "_high")
_BEFORE, _AFTER = ("run_id", "run_name", "status", "counts"), ("metric", "value", "low", "high")


def long_table(study: Study, metrics: Sequence[str] | None) -> pa.Table:
    """A row for each run and metric, also of runs that do not count.

    Columns: `run_id`, `run_name`, `status`; `counts`, whether the comparison counts the run; `trial`, of a search; the
    swept config keys, or those in which single runs differ; `seed`; `metric`; `value`, the last one, null if it is not
    finite; `low` and `high`, the ends of its 95 % interval, null where none is recorded.

    Args:
        study: the comparison.
        metrics: metrics to include; None for all.
    """
    keys = list(dict.fromkeys([*(key for row in study.rows for key in row.point), *_own_columns(study), "seed"]))
    counted = {run.id for run in study.counted}
    had = recorded_metrics(study.rows)
    names = [name for name in (metrics or sorted(had)) if not _is_end(name, had)]
    columns: dict[str, list[object]] = {name: [] for name in (*_BEFORE, *keys, *_AFTER)}
    for row in study.rows:
        config = {**row.params, "trial": "" if row.trial is None else str(row.trial), **row.point}
        for name in names:
            if name in row.metrics:
                own = [row.id, row.name, row.status, row.id in counted]
                ends = [value_of(row, f"{name}{end}") for end in _ENDS]
                values = [*own, *(config.get(key) for key in keys), name, value_of(row, name), *ends]
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    typed = {name: _typed(values) if name in keys else pa.array(values) for name, values in columns.items()}
    return pa.table({**typed, **{name: typed[name].cast(pa.float64()) for name in _AFTER[1:]}})


def as_bytes(table: pa.Table, form: Format) -> bytes:
    """The table as CSV, as a JSON list with an object a row, or as Parquet."""
    if form == "parquet":
        written = io.BytesIO()
        parquet.write_table(table, written)
        return written.getvalue()
    if form == "json":
        return (json.dumps(table.to_pylist(), indent=1, ensure_ascii=False) + "\n").encode()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow(["" if value is None else value for value in row.values()])
    return text.getvalue().encode()


def _own_columns(study: Study) -> Iterator[str]:
    return (column for column in study.columns if column != "run")


def _is_end(name: str, had: set[str]) -> bool:
    """Whether a metric is an end of another one's interval."""
    return any(name.endswith(end) and name.removesuffix(end) in had for end in _ENDS)


def _typed(texts: Sequence[object]) -> pa.Array:
    """A column of texts as integers or floats, if all of them are; empty ones are null."""
    kept = [None if text in (None, "") else str(text) for text in texts]
    kinds: tuple[Callable[[str], object], ...] = (int, float, str)
    for kind in kinds:
        try:
            return pa.array([None if text is None else kind(text) for text in kept])
        except (ValueError, OverflowError, pa.ArrowInvalid):
            continue
    raise AssertionError("every text is a str")
