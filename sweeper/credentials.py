"""Keep user names and passwords of addresses out of everything that is shown or stored."""

from __future__ import annotations

import logging
import re

USER_INFO = re.compile(r"(?<=://)\S*@")  # SQLAlchemy allows / and quotes in a password
IN_QUERY = re.compile(r"(?i)([?&;][^=&\s]*(?:pass|pwd|secret|token|key)[^=&\s]*=)[^&\s'\"]+")


def hide_credentials(text: str) -> str:
    """Replace what stands before the @ of every address in a text, and the secrets of its query."""
    return IN_QUERY.sub(r"\1***", USER_INFO.sub("***@", text))


class HidingFormatter(logging.Formatter):
    """A log formatter that keeps the credentials of addresses out of messages and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_credentials(super().format(record))


def log_without_credentials(level: int, line: str) -> None:
    """Send log records to stderr, as `logging.basicConfig` does, with all credentials hidden."""
    handler = logging.StreamHandler()
    handler.setFormatter(HidingFormatter(line))
    logging.basicConfig(level=level, handlers=[handler])
