"""A plan, as lines and a table."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.table import Table

from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.display.cells import add_column, add_row, new_table
from sweeper.display.tables import duration, size
from sweeper.planning.costs import Costs
from sweeper.planning.plan import Plan
from sweeper.safeguards.quantity import quantity


def branches_line(plan: Plan) -> str:
    """Return how many branches were tried, and whether all of them work."""
    tried = f"{quantity(plan.branches, 'branch', 'branches')} of the search space tried"
    return f"{tried}: {'all work' if not plan.failures else f'{len(plan.failures):,} cannot work'}"


def failure_lines(plan: Plan) -> list[str]:
    return [f"cannot work: {failure.where}: {failure.why}" for failure in plan.failures]


def networks_table(plan: Plan) -> Table:
    """Return one measured network a row."""
    several = len({one.trainable for one in plan.measured}) > 1
    table = new_table()
    add_column(table, "backbone", fold=True)
    for heading in ("pixels", "batch", *["learns"] * several, "parameters", "memory", "images/s"):
        add_column(table, heading, right=True)
    for one in plan.measured:
        batch = f"{one.batch_size}" if one.at_once == one.batch_size else f"{one.batch_size}, {one.at_once} at once"
        learns = [one.trainable] * several
        memory = size(one.peak_mb * 2**20)
        learns_on_features = one.learned_per_s is not None and one.trainable != "head"
        rate = f"{one.learned_per_s if learns_on_features else one.images_per_s:,.0f}"
        cells = (str(one.image_size), batch, *learns, f"{one.parameters:,}", memory, rate)
        add_row(table, one.backbone, *cells)
    return table


def cost_lines(plan: Plan, costs: Costs, sweep: SweepConfig) -> Iterator[str]:
    """Yield the time and the disk that a study takes, each with what it is made of."""
    at_once = f", {plan.workers} at once" if plan.workers > 1 else ""
    each = f" of {duration(costs.epoch_s)}" if costs.epoch_s else ""
    trials = f"{quantity(costs.trials, 'trial')} of {quantity(sweep.budget.epochs, 'epoch')}{each}{at_once}"
    if sweep.budget.open_ended and costs.limit_s:
        whole = f"{duration(costs.limit_s)} as the budget says, confirming and exporting included"
        yield f"time: {whole}; about {trials} fit{', with half of the epochs trained' if costs.pruned_s else ''}"
    else:
        pruned = f"; about {duration(costs.pruned_s)} where half of the epochs are trained" if costs.pruned_s else ""
        yield f"time: {duration(costs.whole_s)} for {trials}{pruned}"
        if costs.features_s:
            yield f"      of it {duration(costs.features_s)} for features, computed once"
        if costs.limit_s and costs.limit_s < (costs.pruned_s or costs.whole_s):
            yield f"      the budget ends the search after {duration(costs.limit_s)}"
    if any(teacher.name != "none" for teacher in options(sweep.search.teacher)):
        yield "      counted without the teacher: it adds one forward pass of its networks for every image of a step"
    parts = {
        "decoded images": costs.images_bytes,
        "features": costs.features_bytes,
        "weights in MLflow": costs.weights_bytes,
        "checkpoints while it runs": costs.checkpoint_bytes,
    }
    told = ", ".join(f"{size(count)} {what}" for what, count in parts.items() if count)
    yield f"disk: {size(costs.disk_bytes)} ({told}); {size(costs.free_bytes)} free"


def energy_line(costs: Costs, sweep: SweepConfig) -> str:
    """Return the energy for the times of `cost_lines`, or that it is not known."""
    if costs.whole_kwh is None:
        return "energy: not known, since this machine does not tell its power"
    drawn = f"at {costs.watts:,.0f} W of {costs.powered}"
    fits = sweep.budget.open_ended or (costs.limit_kwh or math.inf) < (costs.pruned_kwh or costs.whole_kwh)
    if costs.limit_kwh is not None and fits:
        return f"energy: about {_energy(costs.limit_kwh)} until the budget ends the search, {drawn}"
    pruned = f", {_energy(costs.pruned_kwh)} where half of the epochs are trained" if costs.pruned_kwh else ""
    return f"energy: about {_energy(costs.whole_kwh)}{pruned}, {drawn}"


def _energy(kwh: float) -> str:
    value, unit = (kwh, "kWh") if kwh >= 0.1 else (1000 * kwh, "Wh")
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def disk_warning(costs: Costs) -> str | None:
    """Return what is wrong where the disk has no room for the study."""
    if costs.disk_bytes < costs.free_bytes:
        return None
    return (
        f"{size(costs.disk_bytes)} are needed and {size(costs.free_bytes)} are free here; free some space, or run it "
        "in a folder on another disk"
    )
