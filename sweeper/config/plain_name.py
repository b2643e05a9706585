"""Names that become names of files and folders."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator


def is_a_plain_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("should be 1 to 100 letters, digits, dots, dashes and underscores, since it names folders")
    return value


PlainName = Annotated[str, AfterValidator(is_a_plain_name)]
