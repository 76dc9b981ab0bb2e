"""The one exception that users are meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: the file or key, what it got, what was expected, and the unit.
    `tubepet.logs.start_log` prints it alone; the traceback goes to the log file.
    """
