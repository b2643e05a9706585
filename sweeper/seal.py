"""Digests by which JSON of ours is known to be as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "seal"
"""The key under which the digest of everything else stands."""

LIST = "list"
"""The key under which a list stands that bears a seal."""


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the digest of what JSON says, whatever its seal and however it is laid out."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return JSON with its seal."""
    return json.dumps({**content, SEAL: seal_of(content)}).encode()


def unsealed(text: bytes) -> dict[str, Any]:
    """Return what sealed JSON says. Raises ValueError where it is not as it was written."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict) or content.pop(SEAL, None) != seal_of(content):
        raise ValueError("not as it was written")
    return content


def with_seal(text: bytes | str) -> bytes:
    """Return JSON, an object or a list, with a seal."""
    content = json.loads(text)
    return sealed({LIST: content} if isinstance(content, list) else content)


def without_seal(text: bytes) -> bytes:
    """Return JSON as it was before it got its seal; files of earlier versions have none.

    Raises ValueError where it is not as it was written.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if isinstance(content, dict) and SEAL in content:
        content = unsealed(text)
        return json.dumps(content[LIST] if content.keys() == {LIST} else content).encode()
    if content == []:  # an empty list of an earlier version looks the same as one that lost its content
        raise ValueError("it holds nothing")
    return text


def sealed_text(text: str) -> str:
    """Return a JSON object as text with its digest, which is quick to look at: thousands are read at once."""
    return f"{text[:-1]}{_at_the_end(text)}"


def unsealed_text(text: str) -> str:
    """Return such a text as it was before; texts of earlier versions have no digest.

    Raises ValueError where it is not as it was written.
    """
    content, parted, _ = text.rpartition(f',"{SEAL}":"')
    if not parted:
        return text
    content += "}"
    if text != content[:-1] + _at_the_end(content):
        raise ValueError("not as it was written")
    return content


def _at_the_end(text: str) -> str:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f',"{SEAL}":"{digest}"}}'
