"""Names that timm does not know, found in its source: to import timm takes seconds, a typing mistake is told at once.

Only what is surely unknown is told here. Whoever has timm imported asks it (`modeling/registry.py`).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeper.config.names_to_check import Named, NamesUsed
from sweeper.config.nearest_name import meant
from sweeper.config.optimizer import OWN_OPTIMIZERS

ARCHITECTURE = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)
OPTIMIZER = re.compile(r"^\s+name='(\w+)'", re.MULTILINE)


def surely_unknown(used: NamesUsed) -> list[tuple[str, str]]:
    """Return a key and a message for every backbone and optimizer that timm has in no line of its source.

    Nothing with model files, which may register any name, nor where timm's source is not found.
    """
    timm = _folder_of_timm()
    if timm is None or used.model_files:
        return []
    networks, optimizers = _text(timm / "models"), _text(timm / "optim")
    return [
        *_unknown("architecture", used.backbones, networks, ARCHITECTURE.findall(networks)),
        *_unknown("optimizer", used.optimizers, optimizers, [*OWN_OPTIMIZERS, *OPTIMIZER.findall(optimizers)]),
    ]


def _unknown(kind: str, names: Named, source: str, known: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key, name in names if source else []:
        bare = name.partition(".")[0]
        elsewhere = f"'{bare}'" in source or f'"{bare}"' in source  # renamed, or registered in another way
        if bare not in known and not elsewhere:
            yield key, f"unknown {kind} {name}{meant(bare, known)}"


def _folder_of_timm() -> Path | None:
    found = importlib.util.find_spec("timm")  # which imports nothing
    return Path(found.origin).parent if found is not None and found.origin else None


def _text(folder: Path) -> str:
    """Return all modules of a package as one text; nothing where they are not plain files."""
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))
