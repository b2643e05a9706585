"""The report of a study as one HTML file that needs no network: data, styles, scripts and Plotly in it.

Names are escaped on their way into the page, and its script only ever writes them as text: they may
hold anything. A content security policy in the page forbids it to fetch anything.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import sweeper
from sweeper.credentials import hide_credentials
from sweeper.paths import Workspace
from sweeper.report.backbones import backbone_ranking
from sweeper.report.payload import blob, confusions_payload, images_payload, params_payload, trials_payload
from sweeper.report.pictures import find_files
from sweeper.report.records import TrialRecord, class_names, read_records
from sweeper.report.selection import select, totals_payload
from sweeper.results import TrialRow
from sweeper.safeguards.printable import one_line, printable
from sweeper.search.study_store import StudyStore
from sweeper.standings.no_winner import has_finished, without_winner
from sweeper.standings.winner import confirmed
from sweeper.study.card import read_card
from sweeper.study.expected import expected_of_study
from sweeper.study.recorded import own_folder, records_of
from sweeper.tracking.study_records import StudyRecords

SCRIPTS = ("core.js", "charts.js", "table.js", "parallel.js", "matrix.js", "images.js", "report.js")
LIBRARIES = ("torch", "timm", "optuna", "mlflow", "numpy")


def study_page(
    workspace: Workspace, store: StudyStore, tracking_uri: str | None = None, hourly_price: float | None = None
) -> str:
    """Return the report of a study. Raises TrackingError when MLflow cannot be reached.

    Args:
        hourly_price: What an hour of a worker costs, in any currency; without it only time is shown.
    """
    logged = records_of(workspace, store, tracking_uri)
    importances = store.importances()  # first: what it takes of the memory serves the rows then
    rows = store.rows()
    shown = select(rows, store.sweep)
    records = read_records(workspace, store, logged, shown.rows)
    payload = _payload(workspace, store, rows, records, class_names(records, logged.store))
    sweep = store.sweep
    payload |= {"importances": importances, "price": hourly_price}
    payload |= {"ranking": backbone_ranking(store, rows)}
    content = sweep.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return render(
        "report.html",
        SCRIPTS,
        title=f"{sweep.study}: report",
        study=sweep.study,
        confirmed=_confirmed(store) or _no_winner(store, rows),
        expected=_expected(workspace, store, logged, records),
        shown=shown.note(),
        payload=payload,
        space=yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
        facts=_facts(workspace, store, rows),
    )


def _expected(workspace: Workspace, store: StudyStore, logged: StudyRecords, records: Sequence[TrialRecord]) -> str:
    """Return what the best reaches on new images; nothing where that is not known."""
    runs = {record.row.number: record.run for record in records if record.run is not None}
    found = expected_of_study(workspace, store, logged, runs)
    told = str(found) if found is not None else ""
    return told[:1].upper() + told[1:]


def _confirmed(store: StudyStore) -> str:
    """Return what training the leaders again has shown; nothing where that was not done."""
    found = confirmed(store)
    if found is None or found.winner.mean is None:
        return ""
    winner = found.winner
    return (
        f"Trained again with {len(winner.values)} fresh seeds, trial {winner.trial} is best, with a mean of "
        f"{winner.mean:.4f}, and represents the study; {found.verdict()}"
    )


def _no_winner(store: StudyStore, rows: list[TrialRow]) -> str:
    """Return why no trial has finished; nothing where one has, or none has ended yet."""
    ended = any(row.state.ended for row in rows)
    return without_winner(store.sweep.study, rows) if ended and not has_finished(rows) else ""


def _payload(
    workspace: Workspace,
    store: StudyStore,
    rows: list[TrialRow],
    records: list[TrialRecord],
    classes: tuple[str, ...],
) -> dict[str, Any]:
    sweep = store.sweep
    return {
        "study": sweep.study,
        "winner": judged.winner.trial if (judged := confirmed(store)) is not None else None,
        "metric": sweep.objective.metric,
        "maximize": sweep.objective.direction == "maximize",
        "budget": None if sweep.budget.open_ended else store.budget,
        "step": sweep.reported,
        "steps": sweep.reports,
        "classes": classes,
        "params": params_payload([record.row for record in records], sweep),
        "trials": trials_payload(records, rows, sweep),
        "all": totals_payload(rows, sweep),
        "images": images_payload(records, sweep, len(classes), partial(find_files, sweep.dataset, workspace)),
        "confusions": confusions_payload(records, sweep, len(classes)),
    }


def _facts(workspace: Workspace, store: StudyStore, rows: list[TrialRow]) -> dict[str, dict[str, str]]:
    """Return the data set and the environment, by heading."""
    sweep, card = store.sweep, read_card(own_folder(workspace, store))
    dataset = {"source": sweep.dataset.builtin or str(sweep.dataset.path)}
    environment = {
        "page written": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "sweeper": sweeper.__version__,
        "Python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in LIBRARIES},
    }
    devices = {f"{row.outcome.device}, {row.outcome.precision}" for row in rows if row.outcome is not None}
    environment["trained on"] = "; ".join(sorted(devices)) or "-"
    if card is not None:
        profile = card.dataset["profile"]
        dataset |= {"name": str(card.dataset["name"]), "digest": str(card.dataset["digest"])}
        dataset |= {f"{split} images": f"{count:,}" for split, count in profile["images"].items()}
        dataset["classes"] = f"{profile['classes']:,}"
        environment["MLflow"] = hide_credentials(card.tracking_uri)
        environment["git commit"] = card.tags.get("mlflow.source.git.commit", "-")
    return {"Data set": dataset, "Environment": environment}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def render(template: str, scripts: tuple[str, ...], payload: Mapping[str, Any], **content: Any) -> str:
    """Put a page together from a template, the shared styles and scripts, and Plotly."""
    pages = Environment(
        loader=PackageLoader("sweeper.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    pages.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}  # in our order, not sorted
    return pages.get_template(template).render(
        style=_asset("page.css"),
        scripts=[_asset(name) for name in scripts],
        plotly=_plotly(),
        payload=_shown(payload),
        **content,
    )


def _shown(value: Any) -> Any:
    """Return plain JSON whose texts, keys too, are each one line that can be shown."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, Mapping):
        return {one_line(str(key)): _shown(inner) for key, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list | tuple) else value


def _asset(name: str) -> Markup:
    """Return one of our own files as it is: none of them holds foreign text."""
    return Markup(files("sweeper.report").joinpath(name).read_text(encoding="utf-8"))  # noqa: S704


@cache
def _plotly() -> str:
    """Return Plotly's bundle, 4.8 MB of script, as 1.9 MB of text that the page inflates when it first draws."""
    return blob(files("plotly").joinpath("package_data", "plotly.min.js").read_bytes())
