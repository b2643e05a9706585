"""Copying an example out of the package: its search space, and the networks that it names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from sweeper.commands.terminal import out, say

if TYPE_CHECKING:
    from sweeper.errors import ConfigError
    from sweeper.proposal.examples import Example


def copy_example(name: str, to: Path | None, *, force: bool) -> None:
    """Copy an example, as a file of its own name unless `to` is one, and say how to run it; without a name list all.

    Raises ConfigError for an unknown example, or where another file is in the way; then nothing is written.
    """
    from sweeper.proposal.examples import SPACES, examples
    from sweeper.safeguards.outputs import EXAMPLE, NETWORK, Output

    known = examples()
    if not name:
        _list(known)
        return
    if name not in known:
        raise _unknown(name, known)
    found = known[name]
    space = to or Path(SPACES) / f"{name}.yaml"
    networks = [
        (Output(file, NETWORK, "--example", force=force), found.source(file).read_bytes()) for file in found.files
    ]
    wanted = [(Output(space, EXAMPLE, "--out", force=force), found.text.encode()), *networks]
    missing = [(output, content) for output, content in wanted if not _is_there(output.path, content)]
    for output, _ in missing:
        output.require_free()
    for output, content in missing:
        output.write(content)
        say(f"written to {output.path}")
    say(f"next: sweeper run {shlex.quote(str(space))}")


def _list(known: Mapping[str, Example]) -> None:
    """Show one example a line."""
    width = max(map(len, known))
    for one in known.values():
        say(f"{one.name:<{width}}  {shorten(one.about, max(30, out.width - width - 2), placeholder=' …')}")
    say("\nnext: sweeper init --example NAME")


def _unknown(name: str, known: Mapping[str, Example]) -> ConfigError:
    from sweeper.config.nearest_name import meant
    from sweeper.errors import ConfigError, Problem

    _list(known)
    return ConfigError([Problem("--example", "", f"no example is called {name}{meant(name, known)}")])


def _is_there(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
