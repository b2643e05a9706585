"""The model hub where pretrained weights come from by name: whether it is out of reach, and what is here of it."""

from __future__ import annotations

import os
import socket
import urllib.error
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sweeper.errors import chain_of

SHOWN = 8  # names of weights that a message lists
OURS = "timm/"  # the hub's repositories that timm takes weights from
HUB = "https://huggingface.co"
PATIENCE_S = 3.0


def is_out_of_reach(error: BaseException) -> bool:
    """Return whether an error comes from a network that does not answer, or from a setting to use none."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    kinds = (ConnectionError, TimeoutError, socket.gaierror, urllib.error.URLError, LocalEntryNotFoundError)
    return any(isinstance(cause, kinds) for cause in chain_of(error))


def out_of_reach(name: str, error: BaseException) -> str:
    """Say what can be done without the hub."""
    return offline_problem(name, f" ({type(error).__name__})")


def offline_problem(name: str, how: str = "") -> str:
    """Say that weights are not here and the hub is not there, `how` it is known, and what can be done."""
    return (
        f"the pretrained weights of {name} are not on this machine and the model hub cannot be reached"
        f"{how}. Set search.pretrained to a file with them, or fill the hub's cache on a machine "
        f"that reaches it and bring it here (HF_HOME says where it lies); {_what_is_here()}"
    )


def _what_is_here() -> str:
    names = cached_names()
    if not names:
        return "the cache holds no weights now"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"the cache holds those of {', '.join(names[:SHOWN])}{more}"


def cached_names() -> list[str]:
    """Return the architectures, with their tags, whose weights are in the hub's cache on this machine."""
    return sorted(cached_sizes())


def cached_sizes() -> dict[str, int]:
    """Return the same with how many bytes each takes."""
    return {name.removeprefix(OURS): size for name, size in _repositories().items() if name.startswith(OURS)}


def _repositories() -> dict[str, int]:
    """Return the repositories of the hub that have files in its cache here, and how many bytes each takes."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir().repos
    except (CacheNotFound, OSError, ValueError):
        return {}
    return {repository.repo_id: repository.size_on_disk for repository in found if repository.nb_files}


def in_cache(name: str) -> bool:
    """Return whether the hub's cache on this machine holds the weights of this name, as `hub_name` gives it."""
    return any(repository.removeprefix(OURS) == name for repository in _repositories())


def hub_answers() -> bool:
    """Return whether the model hub takes a connection; by a setting to use none it does not.

    Behind a proxy nobody knows before the first download, and it is taken to answer.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    parts = urlsplit(os.environ.get("HF_ENDPOINT") or HUB)
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
        return True
    try:
        socket.create_connection(
            (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)), PATIENCE_S
        ).close()
    except OSError:
        return False
    return True
