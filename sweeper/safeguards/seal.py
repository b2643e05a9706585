"""Digests by which JSON of ours is known to be as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "seal"
"""The key under which the digest of everything else stands."""


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
