"""Keep user names, passwords and signatures of addresses out of everything that is shown or stored."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from types import TracebackType

from sweeper.safeguards.printable import printable

USER_INFO = re.compile(r"(?<=://)(?!/)\S*@")  # SQLAlchemy allows / and quotes in a password; a path has no user

PORT = r"\d{1,5}(?:[/?#:;,.)\s'\"]|$)"
WITH_BLANKS = re.compile(rf"(?<=://)[^\s:@/?#'\"]*:(?!\s|{PORT})(?:(?!://)[^\n])*@")
"""A user name and a password with blanks in it; to the last @ of the line, since a password may hold that too."""

ENCODED = re.compile(r"(?i)(?<=%3A%2F%2F)(?!%2F)\S*?%40")
"""The same in an address that stands within another one."""

SEPARATOR = r"(?:[?&;#]|%3F|%26)"
NAME = r"(?:(?!%3D|%26)[^=&\s;])*?"
KEY = r"key(?:-pair-id|id)?(?==|%3D)"
SECRET = (
    rf"(?:pass|pwd|secret|token|signature|credential|auth(?!or(?!i))|policy|accessid|(?<![a-z]){KEY}"
    rf"|(?:access|account|api|private|shared|sas)[-_]?{KEY}|(?:(?<=[?&;#_-])|(?<=%3F)|(?<=%26))sig(?==|%3D))"
)
IN_QUERY = re.compile(rf"(?i)({SEPARATOR}{NAME}{SECRET}{NAME}(?:=|%3D))(?:(?!%26)[^&\s'\"])+")
"""Of common stores: S3 (X-Amz-Signature, X-Amz-Credential, AWSAccessKeyId), Azure (sig, AccountKey), Google
(X-Goog-Signature, GoogleAccessId), CloudFront (Signature, Policy, Key-Pair-Id), and log-ins of any kind."""

OUTRIGHT = re.compile(
    r"(?i)(?<![\w.])((?:password|passwd|pwd|secret|api_?key|account_?key|shared_?access_?(?:key|signature)"
    r"|aws_[a-z_]*(?:key|token)[a-z_]*)\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s;&'\"]+)"
)
"""In connection strings, which are not addresses: `host=db password='a b'`, `AccountName=x;AccountKey=y`."""

HEADER = re.compile(
    r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer|token)\s+)?|\bbearer\s+(?=\S*\d))[\w.~+/=-]{8,}"
)


def hide_credentials(text: str) -> str:
    """Replace what stands before the @ of every address in a text, and the secrets of its query, by ***."""
    for pattern in (USER_INFO, WITH_BLANKS):
        text = pattern.sub("***@", text)
    text = ENCODED.sub("***%40", text)
    for pattern in (IN_QUERY, OUTRIGHT, HEADER):
        text = pattern.sub(r"\1***", text)
    return text


class HidingFormatter(logging.Formatter):
    """A log formatter that keeps credentials, and what would steer a terminal, out of messages and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(hide_credentials(super().format(record)))


def log_without_credentials(level: int, line: str) -> None:
    """Send log records, warnings and the traceback of an unexpected error to stderr, with all credentials hidden."""
    handler = logging.StreamHandler()
    handler.setFormatter(HidingFormatter(line))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = _tell_traceback


def log_more(*, debug: bool) -> None:
    """Show what sweeper notes while it works; to `debug` it, more of that, and what the libraries note."""
    logging.getLogger("sweeper").setLevel(logging.DEBUG if debug else logging.INFO)
    if debug:
        logging.getLogger().setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(HidingFormatter("%(asctime)s %(name)s: %(message)s"))


def hide_in(*libraries: str) -> None:
    """Let the log handlers that libraries have brought along hide the same."""
    for handler in (handler for name in libraries for handler in logging.getLogger(name).handlers):
        handler.setFormatter(HidingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def _tell_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(printable(hide_credentials(text)))
