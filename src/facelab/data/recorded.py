"""The images of a finished run, loaded again from its config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facelab.config.build import build
from facelab.config.check import check
from facelab.data.faces import FaceSet
from facelab.data.source import FaceSource
from facelab.data.splits.base import Split, Splits, prepare
from facelab.errors import ConfigError


@dataclass(frozen=True)
class _Recorded:
    """The part of a run's config that says which images it used."""

    data: FaceSource
    split: Split


def recorded_faces(config: Mapping[str, Any]) -> tuple[FaceSet, Splits]:
    """The face set of a run and its split.

    Args:
        config: of the run, not yet checked.

    Raises:
        ConfigError: the config has no data or split, or names what this version of facelab does not have.
        DataError: the images are not where they were, or are unusable.
    """
    lacking = [key for key in ("data", "split") if key not in config]
    if lacking:
        raise ConfigError(f"the run's config has no {lacking[0]}. Train the model again.")
    recorded = _Recorded(**build(check({key: config[key] for key in ("data", "split")}, _Recorded)))
    return prepare(recorded.data.load(), recorded.split)
