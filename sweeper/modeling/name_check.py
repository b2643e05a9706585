"""Checking the names in a search space without timm and torch in this process.

They take seconds to import and most of a gigabyte, which a driver would hold for as long as the study
runs. So a short-lived process imports them, while this one does what it must do in any case.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from sweeper.child_process import live_with_parent, prepare_processes, start_prepared
from sweeper.config.names import NamesUsed

Problems = list[tuple[str, str]]


def check_apart(used: NamesUsed, meanwhile: Callable[[], object]) -> Problems:
    """Return a key and a message for every name that cannot be used; `meanwhile` is called in between."""
    if "torch" in sys.modules:  # there is nothing to be spared
        return check(used)
    prepare_processes()
    meanwhile()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = start_prepared(_answer, (theirs, used), "sweeper-names")
    theirs.close()
    try:
        problems: Problems = ours.recv()
    except EOFError:  # it was killed, or failed as this process is to fail
        return check(used)
    finally:
        process.kill()
        process.join()
        ours.close()
    return problems


def check(used: NamesUsed) -> Problems:
    from sweeper.modeling.registry import check_names

    return check_names(used.backbones, used.optimizers, used.model_files, used.pretrained, decoder=used.decoder)


def _answer(connection: Connection, used: NamesUsed) -> None:
    live_with_parent()
    connection.send(check(used))
