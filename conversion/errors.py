"""The one exception of this package."""


class ConversionError(Exception):
    """Something the user can put right; the message is one sentence that says what and how."""
