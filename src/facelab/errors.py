"""What can go wrong in ways a user can mend. Each message says what happened, what was expected and what to do."""


class FacelabError(Exception):
    """Base of all errors that are shown as a message, without a traceback."""


class ConfigError(FacelabError):
    """A key, a type or a choice of the config is wrong."""


class DataError(FacelabError):
    """Images or splits cannot be used as they are."""


class TrackingError(FacelabError):
    """The tracking store cannot be reached or written."""


class TrainingError(FacelabError):
    """Training stopped because going on would be of no use."""


class CheckpointError(FacelabError):
    """A checkpoint cannot be written, or none can be used."""


class Interrupted(BaseException):
    """The user or the system asks the program to stop. Not KeyboardInterrupt, which Lightning answers with an exit."""
