"""How to install what only some studies need: sweeper is on no package index, so its name alone installs nothing."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Return the commands that install an extra of the package, such as `ray`."""
    return (
        f"pip install -c constraints.txt -e '.[{extra}]' in the folder of sweeper, or with its wheel "
        f"pip install 'sweeper-VERSION-py3-none-any.whl[{extra}]'"
    )
