"""Errors that are meant to be read by a user, without a traceback."""


class TasktraceError(Exception):
    """Something a user can put right; the message names it, what is allowed, what was found and what to do.

    Attributes:
        exit_status: Of a verb that ends with it.
    """

    exit_status = 1


class ConfigError(TasktraceError):
    """The configuration says something that cannot be run."""


class DataError(TasktraceError):
    """Raw or prepared data is absent, incomplete or altered."""


class DamagedFileError(TasktraceError):
    """A file that tasktrace wrote is not what was written."""


class BusyError(TasktraceError):
    """Another process is working in the same run folder."""
