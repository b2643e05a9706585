"""Names that become names of files and folders."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from sweeper.config.trial_name import STUDY


def is_a_plain_name(value: str) -> str:
    if not re.fullmatch(STUDY, value):
        raise ValueError(
            "should be 1 to 100 letters from A to Z or a to z, digits, dots, dashes and underscores, and begin with a "
            "letter or digit, since it names folders"
        )
    return value


PlainName = Annotated[str, AfterValidator(is_a_plain_name)]
