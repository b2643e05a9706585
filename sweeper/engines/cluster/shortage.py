"""What is said where a cluster has no room for a trial: at the start, and while nothing can be trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from sweeper.engines.cluster.nodes import Node, described
from sweeper.engines.cluster.places import Share
from sweeper.engines.cluster.slot import Slot
from sweeper.errors import StudyError
from sweeper.safeguards.quantity import amount

logger = logging.getLogger(__name__)

TOLD_AFTER_S = 15.0  # without room for a trial


def require_room(nodes: Sequence[Node], share: Share, *, spread: bool) -> None:
    """Raise StudyError where no node has room for a trial, nor for one of its devices where it may be spread."""
    if any(share.whole(node) or (spread and share.parts(node)) for node in nodes):
        return
    what = "one device of a trial" if spread else "a trial"
    parts = share.devices if spread else 1
    unspread = share.devices > 1 and not spread
    hint = ", or engine.spread: true, by which a trial may be on several nodes" if unspread else ""
    raise StudyError(
        f"no node of the Ray cluster has room for {what} with {amount(share.cpus / parts, 'CPU')} and "
        f"{amount(share.gpus / parts, 'GPU')}; it has {described(nodes)}. Set engine.cpus_per_trial or "
        f"engine.gpus_per_trial{hint}"
    )


class Waiting:
    """Says, once, that nothing is trained before more nodes join, or others free what they have."""

    def __init__(self, share: Share, *, spread: bool):
        self._share, self._spread = share, spread
        self._told = False

    def look(self, slots: Sequence[Slot], nodes: Sequence[Node]) -> None:
        share = self._share
        waits = not slots
        full = bool(slots) and not any(slot.reached for slot in slots)
        full = full and time.monotonic() - slots[0].begun_s > TOLD_AFTER_S
        if full and not self._told:
            logger.warning(
                "the Ray cluster has no room for a trial now, which needs %s and %s: others use it (%s). "
                "Waiting until there is room; `ray status` says what is in use",
                amount(share.cpus, "CPU"),
                amount(share.gpus, "GPU"),
                described(nodes),
            )
        elif waits and not self._told:
            parts = sum(share.parts(node) for node in nodes)
            devices = f"{share.devices} devices, and the Ray cluster has room for {parts} of them"
            whole = f"{amount(share.cpus, 'CPU')} and {amount(share.gpus, 'GPU')}, and no node has room for it"
            remedy = "; to go on without them, stop this run and set devices_per_trial to fewer" if self._spread else ""
            wants = devices if self._spread else whole
            logger.warning("a trial wants %s (%s): waiting for nodes to join%s", wants, described(nodes), remedy)
        if waits or full or any(slot.reached for slot in slots):
            self._told = waits or full
