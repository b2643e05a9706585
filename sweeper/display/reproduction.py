"""Whether a trial came out again as it was logged."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from sweeper.confirm.reproduction import Reproduction
from sweeper.display.cells import add_column, add_row, new_table
from sweeper.safeguards.quantity import quantity


def reproduction_table(found: Reproduction, tolerance: float) -> Table:
    """Return the metrics that came out otherwise, each at the epoch where it is farthest off."""
    table = new_table()
    for heading in ("metric", found.logged.sweep.reported, "logged", "again", "difference", "within tolerance"):
        add_column(table, heading, right=heading != "metric")
    for one in found.deviations:
        again = "-" if one.again is None else f"{one.again:.6f}"
        off = "-" if one.again is None else f"{one.again - one.logged:+.2e}"
        within = "yes" if one.within(tolerance) else "no"
        add_row(table, one.metric, str(one.epoch), f"{one.logged:.6f}", again, off, within)
    return table


def reproduction_lines(found: Reproduction, tolerance: float) -> Iterator[str]:
    """Say in words what came out."""
    name, count, step = found.logged.name, len(found.logged.curves), found.logged.sweep.reported
    if not found.deviations:
        compared = f"its only {step}" if found.epochs == 1 else f"all {found.epochs} {step}s"
        same = quantity(count, "metric is", "metrics are")
        yield f"{name} is reproduced: {same} the same to the last digit in {compared}"
        return
    verdict = "is reproduced within the tolerance" if found.matches(tolerance) else "is not reproduced"
    yield f"{name} {verdict}: {len(found.deviations)} of {count} metrics differ"
    if found.same_conditions:
        yield "processor, versions and threads are those of the run, so every digit should be the same"
    else:
        logged = found.logged.environment or "not logged"
        yield f"the conditions are not those of the run ({logged}), or it used a GPU; up to {tolerance:g} may differ"
