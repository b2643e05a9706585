"""Keep user names and passwords of addresses out of everything that is shown or stored."""

from __future__ import annotations

import re

USER_INFO = re.compile(r"(?<=://)[^\s/'\"]*@")


def hide_credentials(text: str) -> str:
    """Replace what stands before the @ of every address in a text."""
    return USER_INFO.sub("***@", text)
