"""Stores that another version of MLflow made."""

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from facelab.errors import TrackingError

_NEWEST_RUN = """
SELECT tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid
WHERE tags.key = 'version.mlflow' ORDER BY runs.start_time DESC LIMIT 1
"""


def refuse_other_version(database: Path) -> None:
    """Refuse a sqlite store that another version of MLflow made.

    MLflow itself would migrate some of them when it opens them, without a word and without a copy.

    Args:
        database: the sqlite file; one without runs is left to MLflow.

    Raises:
        TrackingError: says which version made it, and how to go on.
    """
    found = _asked(database, "SELECT version_num FROM alembic_version")
    if found is None or _asked(database, "SELECT run_uuid FROM runs LIMIT 1") is None:
        return
    from alembic.script import ScriptDirectory  # late: MLflow needs it only for a database
    from mlflow.store.db.utils import _get_alembic_config

    migrations = ScriptDirectory.from_config(_get_alembic_config(""))
    if found in migrations.get_heads():
        return
    recorded_by, installed = _asked(database, _NEWEST_RUN), version("mlflow")
    facts = f"its schema is {found}; its newest run was recorded by MLflow {recorded_by or 'of unknown version'}"
    if found in {script.revision for script in migrations.walk_revisions()}:
        raise TrackingError(
            f"{database} was made by an older MLflow than the installed {installed} ({facts}). When no other program "
            "uses it, keep a copy and migrate it:\n"
            f"  cp '{database}' '{database}.backup' && mlflow db upgrade 'sqlite:///{database}'\n"
            "Or choose another folder with tracking.folder=<folder>."
        )
    newer = recorded_by if recorded_by and recorded_by != installed else "<its version>"
    raise TrackingError(
        f"{database} was migrated by a newer MLflow than the installed {installed} ({facts}). Install the newer one "
        f"with: pip install mlflow=={newer}\nOr choose another folder with tracking.folder=<folder>."
    )


def _asked(database: Path, query: str) -> str | None:
    """First value of the answer; None where there is none, or no such table."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:
        return None
    return None if row is None else str(row[0])
