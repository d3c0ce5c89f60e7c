"""What a check of this machine or this checkout found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    is_fine: bool
    text: str
    mend: str = ""  # a command
