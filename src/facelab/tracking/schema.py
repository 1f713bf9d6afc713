"""Create the tables of a sqlite store, and detect stores of another version of MLflow and half-made ones."""

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from facelab.errors import TrackingError

_NEWEST_RUN = """
SELECT tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid
WHERE tags.key = 'version.mlflow' ORDER BY runs.start_time DESC LIMIT 1
"""


def create_tables(database: Path) -> None:
    """Create a sqlite store's tables in a file beside it and rename that, so that an interruption leaves no store.

    One process at a time.

    Args:
        database: the sqlite file, which does not exist.

    Raises:
        OSError, SQLAlchemyError: it cannot be written.
    """
    import sqlalchemy  # late: only the first run of a store needs them
    from mlflow.store.db.utils import _initialize_tables

    draft = database.with_name(f"{database.name}.new")
    _remove(database, "-wal", "-shm", "-journal")  # sqlite would replay the log of a file that was deleted
    _remove(draft, "", "-journal")
    engine = sqlalchemy.create_engine(f"sqlite:///{draft}")
    try:
        _initialize_tables(engine)
        engine.dispose()
        draft.replace(database)
    finally:
        engine.dispose()
        _remove(draft, "", "-journal")


def _remove(file: Path, *endings: str) -> None:
    for ending in endings:
        file.with_name(f"{file.name}{ending}").unlink(missing_ok=True)


def is_half_made(database: Path) -> bool:
    """Whether a sqlite store has tables but no experiment, not even MLflow's default one, and so no runs either."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            known = "experiments" in tables and connection.execute("SELECT 1 FROM experiments LIMIT 1").fetchone()
    except sqlite3.Error:
        return False
    return bool(tables) and not known


def refuse_other_version(database: Path) -> None:
    """Raise if another version of MLflow created a sqlite store.

    MLflow itself would migrate some of them on opening, silently and without a backup.

    Args:
        database: the sqlite file; a database without runs is accepted.

    Raises:
        TrackingError: the schema differs from that of the installed MLflow.
    """
    found = _first_value(database, "SELECT version_num FROM alembic_version")
    if found is None or _first_value(database, "SELECT run_uuid FROM runs LIMIT 1") is None:
        return
    from alembic.script import ScriptDirectory  # late: MLflow needs it only for a database
    from mlflow.store.db.utils import _get_alembic_config

    migrations = ScriptDirectory.from_config(_get_alembic_config(""))
    if found in migrations.get_heads():
        return
    recorded_by, installed = _first_value(database, _NEWEST_RUN), version("mlflow")
    details = f"its schema is {found}; its newest run was recorded by MLflow {recorded_by or 'of unknown version'}"
    if found in {script.revision for script in migrations.walk_revisions()}:
        raise TrackingError(
            f"{database} was created by an older MLflow than the installed {installed} ({details}). When no other "
            "program uses it, back it up and migrate it:\n"
            f"  cp '{database}' '{database}.backup' && mlflow db upgrade 'sqlite:///{database}'\n"
            "Or choose another folder with tracking.folder=<folder>."
        )
    newer = recorded_by if recorded_by and recorded_by != installed else "<its version>"
    raise TrackingError(
        f"{database} was migrated by a newer MLflow than the installed {installed} ({details}). Install the newer one "
        f"with: pip install mlflow=={newer}\nOr choose another folder with tracking.folder=<folder>."
    )


def _first_value(database: Path, query: str) -> str | None:
    """First value of a query's result; None if it is empty, or there is no such table."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:
        return None
    return None if row is None else str(row[0])
