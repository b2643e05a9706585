"""Trials and their parameters as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sweeper.config.sweep import AS_MANY_AS_FIT, SweepConfig
from sweeper.display.cells import add_column, add_row, cell, clipped, new_table
from sweeper.display.settings import in_brief, in_full, settings_of, short, told_apart_by
from sweeper.results import TrialRow, TrialState
from sweeper.safeguards.quantity import quantity
from sweeper.standings.pareto import in_order, pareto_front

if TYPE_CHECKING:
    from sweeper.display.answers import StudyAnswer
    from sweeper.export.autoencoder_export import AutoencoderReport
    from sweeper.export.export import ExportReport
    from sweeper.export.export_config import Variant
    from sweeper.export.export_input import MergeTry
    from sweeper.upkeep.finding import Finding

SHORTEST_NAME = 10
"""Columns that the names of studies have in the narrowest terminal; they go on in further lines."""

COLORS = {
    TrialState.COMPLETE: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAILED: "red",
    TrialState.RUNNING: "cyan",
    TrialState.PAUSED: "magenta",
    TrialState.WAITING: "dim",
}


def ranked_table(rows: Sequence[TrialRow], sweep: SweepConfig, limit: int | None = None, *, brief: bool) -> Table:
    """Return finished trials best first, then pruned ones, with the hyperparameters that differ.

    Of several objectives the trials on the Pareto front come first and are marked. Where it is to be `brief`, each has
    one line, and the hyperparameters are cut where there is no room.
    """
    order = in_order(rows, sweep)[:limit]
    names = told_apart_by(order)
    others = [goal.metric for goal in sweep.goals if goal.metric != sweep.objective.metric]
    front = pareto_front(rows, sweep.goals) if others else frozenset()
    table = new_table()
    judged = ["± folds", "folds"] if sweep.dataset.folds else ["best epoch"]
    for heading in ("rank", "trial", sweep.objective.metric, *others, *["front"] * bool(others), *judged, "time"):
        add_column(
            table, heading, right=True, fold=heading == "best epoch", least=5 if heading == "best epoch" else None
        )
    add_column(table, "state")
    add_column(table, "settings" if others else "parameters", fold=True, least=8)  # a cost is called parameters, too
    for rank, row in enumerate(order, 1):
        cells = [str(rank), str(row.number), score(row.value), *(_value(row, metric) for metric in others)]
        cells += ["*" if row.number in front else ""] * bool(others)
        cells += [*_judged(row, sweep), duration(row.seconds)]
        settings = clipped(in_brief(row.config, names)) if brief else cell(in_full(row.config, names))
        add_row(table, *cells, state_cell(row), settings)
    return table


def studies_table(studies: Sequence[StudyAnswer]) -> Table:
    """Return one study a row."""
    table = new_table()
    add_column(table, "study", fold=True, least=SHORTEST_NAME)
    add_column(table, "state", fold=True)
    for heading in ("trials", "best trial", "value"):
        add_column(table, heading, right=True, fold=heading == "best trial")
    add_column(table, "objective", fold=True)
    for study in studies:
        best = study.best
        whole = study.ended <= study.budget < AS_MANY_AS_FIT
        trials = f"{study.ended}/{study.budget}" if whole else str(study.ended)
        number, value = (str(best.number), score(best.value)) if best else ("", "")
        add_row(table, study.study, "paused" if study.paused else study.state, trials, number, value, study.objective)
    return table


def status_table(rows: Sequence[TrialRow], sweep: SweepConfig) -> Table:
    """Return every trial by number, with its state and why it is so."""
    table = new_table()
    add_column(table, "trial", right=True)
    add_column(table, "state")
    for heading in (f"best {sweep.objective.metric}", sweep.reported, "duration"):
        add_column(table, heading, right=True)
    add_column(table, "reason", fold=True)
    for row in rows:
        epoch = f"{row.epochs}/{sweep.reports}"
        add_row(table, str(row.number), state_cell(row), score(row.value), epoch, duration(row.seconds), _reason(row))
    return table


def params_table(row: TrialRow, rows: Sequence[TrialRow]) -> Table:
    """Return all hyperparameters of a trial: first those in which the trials differ, if any do, then the others."""
    table = new_table(header=False)
    add_column(table, "")
    add_column(table, "", fold=True)
    settings, apart = settings_of(row.config), told_apart_by(rows)
    differing = [name for name in settings if name in apart]
    parts = {"the trials differ in": (differing, "bold"), "and are equal in": (settings.keys() - apart, "dim")}
    for title, (names, style) in parts.items():
        if differing:
            add_row(table, title, "", style=style)
        for name in (name for name in settings if name in names):
            add_row(table, f"  {name}" if differing else name, short(settings[name]), style=style)
    return table


def verification_table(report: ExportReport) -> Table:
    """Return what each format of an export scores on the validation split, beside the logged accuracy."""
    check = report.verification
    table = new_table()
    for heading in ("format", "val/accuracy", "predictions changed", "allowed"):
        add_column(table, heading, right=heading != "format")
    add_row(table, "logged", f"{check.weights.logged:.6f}", "", "")
    weights = check.weights
    add_row(table, weights.file, f"{weights.accuracy:.6f}", str(weights.off), str(weights.allowed))
    for item in check.formats:
        add_row(table, item.file, f"{item.accuracy:.6f}", str(item.changed), str(item.allowed))
    return table


def quality_table(report: AutoencoderReport) -> Table:
    """Return what each file of an autoencoder's export gives on the validation split, and by how much it differs."""
    table = new_table()
    for heading in ("file", "val/psnr", "expected", "difference", "allowed"):
        add_column(table, heading, right=heading != "file")
    for check in report.checks:
        numbers = (f"{check.difference:.2g}", f"{check.allowed:g}")
        add_row(table, check.file, score(check.value), score(check.expected), *numbers)
    return table


def variants_table(variants: Sequence[Variant]) -> Table:
    """Return what smaller ONNX files cost and save, by the best method for each."""
    table = new_table()
    for heading in ("file", "method", "accuracy lost", "size", "one image", "kept"):
        add_column(table, heading)
    for variant in variants:
        best = variant.best
        lost = best.failure if best.failure else f"{best.lost:.2%} ± {best.margin:.2%}"
        sizes = f"{size(variant.bytes)} of {size(variant.full_bytes)}" if variant.kept else ""
        times = f"{variant.milliseconds:.2f} ms, was {variant.full_milliseconds:.2f}" if variant.kept else ""
        add_row(
            table, variant.file, variant.method, lost, sizes, times, "yes" if variant.kept else cell("LEFT OUT", "red")
        )
    return table


def merge_line(tried: MergeTry) -> str:
    """Tell in a line how a soup or an ensemble stands to the winner."""
    considered = ", ".join(map(str, tried.considered))
    if len(tried.members) < 2:
        return f"{tried.kind}: of the trials {considered} none improves the best trial; it is exported alone"
    figures = (
        f"accuracy {tried.accuracy:.4f} against the winner's {tried.winner_accuracy:.4f} on {tried.judged_on:,} images "
        f"that did not choose it, {tried.gained} won and {tried.lost} lost, p = {tried.p:.3g}"
    )
    verdict = "shipped" if tried.kept else "not shipped"
    return f"{tried.kind} of the trials {', '.join(map(str, tried.members))} out of {considered}: {figures}; {verdict}"


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return what the doctor looked at, what is wrong with it and how to repair it."""
    table = new_table()
    add_column(table, "")
    add_column(table, "what")
    add_column(table, "found", fold=True)
    add_column(table, "remedy", fold=True)
    for finding in findings:
        mark = cell("ok", "green") if finding.sound else cell("wrong", "red")
        add_row(table, mark, finding.subject, finding.what, finding.remedy or "")
    return table


def state_cell(row: TrialRow) -> Text:
    return cell(row.state.value, COLORS[row.state])


def _reason(row: TrialRow) -> str:
    outside = f"history, outside the search space now: {row.outside}" if row.outside else ""
    return "; ".join(filter(None, (outside, row.reason)))


def _value(row: TrialRow, metric: str) -> str:
    value = row.outcome.value_of(metric) if row.outcome else None
    return f"{value:,.0f}" if value is not None and metric == "parameters" else score(value)


def _judged(row: TrialRow, sweep: SweepConfig) -> list[str]:
    """Return the best epoch of a trial; of a cross-validated one how far its folds are apart, and how many it has."""
    if sweep.dataset.folds:
        return [score(row.outcome.spread if row.outcome else None), f"{row.epochs}/{sweep.dataset.folds}"]
    return [f"{row.best_epoch or '-'}/{sweep.budget.epochs}"]


def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def duration(seconds: float | None) -> str:
    """Return seconds as `42s`, `3m10s` or `2h05m`."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def silent_for(seconds: float) -> str:
    """Say that a trial reports nothing, and what may be the cause."""
    return f"no epoch for {duration(seconds)}; its worker may be stopped, or its disk or GPU may hang"


def planned(epochs: int, before: int) -> str:
    """Say how many epochs trials have from now on, of those they had before."""
    each = quantity(epochs, "epoch")
    return f"trials have {each} from now on, not {before}: on this machine too few would fit into the time otherwise"


def retrying(numbers: Sequence[int]) -> str:
    """Say which failed trials are trained once more."""
    if not numbers:
        return "nothing to retry: no trial failed, or each was tried again"
    named = f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    return f"queued again under new numbers: the settings of {named}, which failed"


def sending(left: int) -> str:
    """Say how many runs are still to arrive in MLflow after the last trial."""
    return f"sending to MLflow: {quantity(left, 'run')} left"


def size(count: float) -> str:
    """Return bytes as `0.0 MB`, `12.3 MB` or `4.56 GB`."""
    megabytes = count / 1e6
    return f"{megabytes / 1000:.2f} GB" if megabytes >= 1000 else f"{megabytes:.1f} MB"
