"""Errors a user can fix. Each message says what happened, what was expected and what to type."""


class FacelabError(Exception):
    """Base class of errors shown to the user as a message, without a traceback."""


class ConfigError(FacelabError):
    """The config has a wrong key, type or choice."""


class DataError(FacelabError):
    """The images or the split are unusable."""


class TrackingError(FacelabError):
    """The tracking store is unreachable or not writable."""


class RunInUseError(TrackingError):
    """Another process trains the run."""


class TrainingError(FacelabError):
    """Training failed, for example because the loss became NaN."""


class CheckpointError(FacelabError):
    """A checkpoint cannot be written, or no usable checkpoint exists."""


class Interrupted(BaseException):
    """The user or the system requested a stop. Not a KeyboardInterrupt, on which Lightning exits the process."""
