"""Trials and their parameters as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from sweeper.config.flat import flatten
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialRow, TrialState
from sweeper.study.pareto import in_order, pareto_front

if TYPE_CHECKING:
    from sweeper.inference.autoencoder_export import AutoencoderReport
    from sweeper.inference.export import ExportReport
    from sweeper.inference.export_config import Variant
    from sweeper.inference.source import MergeTry
    from sweeper.study.findings import Finding

COLORS = {
    TrialState.COMPLETE: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAILED: "red",
    TrialState.RUNNING: "cyan",
    TrialState.WAITING: "dim",
}


def ranked_table(rows: Sequence[TrialRow], sweep: SweepConfig, limit: int | None = None) -> Table:
    """Return finished trials best first, then pruned ones, with the hyperparameters that differ.

    Of several objectives the trials on the Pareto front come first and are marked.
    """
    order = in_order(rows, sweep)[:limit]
    names = _told_apart_by(order)
    others = [goal.metric for goal in sweep.goals if goal.metric != sweep.objective.metric]
    front = pareto_front(rows, sweep.goals) if others else frozenset()
    table = Table(box=SIMPLE_HEAD)
    for heading in ("rank", "trial", sweep.objective.metric, *others, *["front"] * bool(others), "best epoch", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    for rank, row in enumerate(order, 1):
        cells = [str(rank), str(row.number), score(row.value), *(_value(row, metric) for metric in others)]
        cells += ["*" if row.number in front else ""] * bool(others)
        cells += [_epochs(row, sweep), duration(row.seconds)]
        table.add_row(*cells, _state(row), _parameters(row, names))
    return table


def status_table(rows: Sequence[TrialRow], sweep: SweepConfig) -> Table:
    """Return every trial by number, with its state and why it is so."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("trial", justify="right")
    table.add_column("state", no_wrap=True)
    for heading in (f"best {sweep.objective.metric}", "epoch", "duration"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in rows:
        epoch = f"{row.epochs}/{sweep.budget.epochs}"
        table.add_row(str(row.number), _state(row), score(row.value), epoch, duration(row.seconds), _reason(row))
    return table


def params_table(row: TrialRow, rows: Sequence[TrialRow]) -> Table:
    """Return all hyperparameters of a trial; those in which the trials differ stand out."""
    table = Table(box=SIMPLE_HEAD, show_header=False)
    searched = _told_apart_by(rows)
    for name, value in _settings(row).items():
        table.add_row(name, short(value), style="bold" if name in searched else "dim")
    return table


def verification_table(report: ExportReport) -> Table:
    """Return what each format of an export scores on the validation split, beside the logged accuracy."""
    check = report.verification
    table = Table(box=SIMPLE_HEAD)
    for heading in ("format", "val/accuracy", "predictions changed", "allowed"):
        table.add_column(heading, justify="left" if heading == "format" else "right", no_wrap=True)
    table.add_row("logged", f"{check.weights.logged:.6f}", "", "")
    weights = check.weights
    table.add_row(weights.file, f"{weights.accuracy:.6f}", str(weights.off), str(weights.allowed))
    for item in check.formats:
        table.add_row(item.file, f"{item.accuracy:.6f}", str(item.changed), str(item.allowed))
    return table


def quality_table(report: AutoencoderReport) -> Table:
    """Return what each file of an autoencoder's export gives on the validation split, and by how much it differs."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("file", "val/psnr", "expected", "difference", "allowed"):
        table.add_column(heading, justify="left" if heading == "file" else "right", no_wrap=True)
    for check in report.checks:
        numbers = (f"{check.difference:.2g}", f"{check.allowed:g}")
        table.add_row(check.file, score(check.value), score(check.expected), *numbers)
    return table


def variants_table(variants: Sequence[Variant]) -> Table:
    """Return what smaller ONNX files cost and save, by the best method for each."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("file", "method", "accuracy lost", "size", "one image", "kept"):
        table.add_column(heading, no_wrap=True)
    for variant in variants:
        best = variant.best
        lost = escape(best.failure) if best.failure else f"{best.lost:.2%} ± {best.margin:.2%}"
        sizes = f"{size(variant.bytes)} of {size(variant.full_bytes)}" if variant.kept else ""
        times = f"{variant.milliseconds:.2f} ms, was {variant.full_milliseconds:.2f}" if variant.kept else ""
        table.add_row(variant.file, variant.method, lost, sizes, times, "yes" if variant.kept else "[red]LEFT OUT[/]")
    return table


def merge_line(tried: MergeTry) -> str:
    """Tell in a line how a soup or an ensemble stands to the winner."""
    considered = ", ".join(map(str, tried.considered))
    if len(tried.members) < 2:
        return f"{tried.kind}: of the trials {considered} none makes the winner better; it is shipped alone"
    figures = (
        f"accuracy {tried.accuracy:.4f} against the winner's {tried.winner_accuracy:.4f} on {tried.judged_on:,} images "
        f"that did not choose it, {tried.gained} won and {tried.lost} lost, p = {tried.p:.3g}"
    )
    verdict = "shipped" if tried.kept else "not shipped"
    return f"{tried.kind} of the trials {', '.join(map(str, tried.members))} out of {considered}: {figures}; {verdict}"


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return what the doctor looked at, what is wrong with it and what mends it."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("remedy", overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.sound else "[red]wrong[/]"
        table.add_row(mark, finding.subject, escape(finding.what), escape(finding.remedy or ""))
    return table


def _told_apart_by(rows: Sequence[TrialRow]) -> list[str]:
    """Return the hyperparameters that have different values in these trials, in the order of the configuration."""
    seen: dict[str, Any] = {}
    apart: set[str] = set()
    for row in rows:
        if row.config_json is not None:
            _compare(json.loads(row.config_json), seen, apart)
    return [name for name in flatten(seen) if name in apart]


def _compare(config: dict[str, Any], seen: dict[str, Any], apart: set[str], within: str = "") -> None:
    """Add the names of values that differ from those seen first; parts that are equal are not looked into."""
    for key, value in config.items():
        first = seen.setdefault(key, value)
        if value == first:
            continue
        if isinstance(value, dict) and isinstance(first, dict):
            seen[key] = first = dict(first)
            _compare(value, first, apart, f"{within}{key}.")
        else:
            apart.add(f"{within}{key}")


def _settings(row: TrialRow) -> dict[str, Any]:
    return flatten(row.config.model_dump(mode="json")) if row.config else {}


def _parameters(row: TrialRow, names: Sequence[str]) -> str:
    settings = _settings(row)
    return " ".join(f"{name}={short(settings[name])}" for name in names if name in settings)


def _state(row: TrialRow) -> str:
    return f"[{COLORS[row.state]}]{row.state}[/]"


def _reason(row: TrialRow) -> str:
    outside = f"history, outside the search space now: {row.outside}" if row.outside else ""
    return "; ".join(filter(None, (outside, row.reason)))


def _value(row: TrialRow, metric: str) -> str:
    value = row.outcome.value_of(metric) if row.outcome else None
    return f"{value:,.0f}" if value is not None and metric == "parameters" else score(value)


def _epochs(row: TrialRow, sweep: SweepConfig) -> str:
    return f"{row.best_epoch or '-'}/{sweep.budget.epochs}"


def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def short(value: Any) -> str:
    """Return a parameter's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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


def sending(left: int) -> str:
    """Say how many runs are still to arrive in MLflow after the last trial."""
    return f"sending to MLflow: {left} runs left"


def size(count: float) -> str:
    """Return bytes as `0.0 MB`, `12.3 MB` or `4.56 GB`."""
    megabytes = count / 1e6
    return f"{megabytes / 1000:.2f} GB" if megabytes >= 1000 else f"{megabytes:.1f} MB"
