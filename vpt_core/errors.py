"""The one exception whose text is written for the person at the keyboard."""

from __future__ import annotations


class UserError(ValueError):
    """Something a person asked for cannot be done; the message says what is wrong and what to do.

    The page shows the message as it is and the command line prints it without a traceback.
    Any other exception is a bug and is treated as one.
    """
