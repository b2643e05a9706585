"""How SQLite makes the study's storage last: by a write-ahead log while a sweep runs.

A trial is some twenty commits. The default journal makes and removes a file and waits for the disk
several times in each; the log waits once, and what is committed survives a power cut just the same.
Measured beside each other: docs/performance.md.
"""

from __future__ import annotations

import logging
from pathlib import Path

import psutil
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

logger = logging.getLogger(__name__)

LOCAL_DISKS = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
"""File systems of one machine. Over a network the log would break: its index is memory that processes share."""


def begin_log(engine: Engine) -> None:
    """Let an SQLite database on a disk of this machine use a write-ahead log."""
    if _is_on_local_disk(engine):
        _set_mode(engine, "WAL")


def end_log(engine: Engine) -> None:
    """Make an SQLite database a single file again, which can be copied, and read where nothing can be written.

    Another program that has it open keeps the log in place until a later sweep ends.
    """
    if engine.dialect.name == "sqlite":
        engine.dispose()  # connections that wait for use keep the log in place too
        _set_mode(engine, "DELETE")


def _is_on_local_disk(engine: Engine) -> bool:
    file = engine.url.database
    if engine.dialect.name != "sqlite" or not file or file == ":memory:" or file.startswith("file:"):
        return False
    path = Path(file).resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[folder] for folder in path.parents if folder in mounts), "") in LOCAL_DISKS


def _set_mode(engine: Engine, mode: str) -> None:
    """Change the journal unless another program is in the way: that is not worth waiting or stopping for."""
    with engine.connect() as connection:
        patience = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        try:
            connection.exec_driver_sql(f"PRAGMA journal_mode = {mode}")
        except OperationalError as error:
            logger.debug("%s keeps its journal: %s", engine.url.database, error)
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")
