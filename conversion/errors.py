"""The one exception of this package."""


class ConversionError(Exception):
    """An error the user can fix; the message is one sentence that says what is wrong and how."""
