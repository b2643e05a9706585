"""What a trial's run is called, and what MLflow's page says of it."""

from __future__ import annotations

from sweeper.results import TrialOutcome, TrialSpec
from sweeper.safeguards.quantity import quantity
from sweeper.tracking.tags import REPEATED_TAG


def run_name(spec: TrialSpec) -> str:
    again = spec.repeats
    return f"confirm-{again.trial:04d}-seed-{again.seed_number}" if again else f"trial-{spec.number:04d}"


def note(outcome: TrialOutcome) -> str:
    """Return what MLflow's page shows as the description of a trial."""
    reached = "" if outcome.best_value is None else f", {outcome.best_value:.4f} {outcome.reached_in}"
    trained = "" if outcome.folds or not outcome.epochs else f" of {quantity(outcome.epochs, 'epoch')}"
    took = f", {outcome.seconds:.0f} s" if outcome.seconds else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"**{outcome.state}**{reached}{trained}{took}{reason}"


def repeated(spec: TrialSpec) -> dict[str, str]:
    return {REPEATED_TAG: str(spec.repeats.trial)} if spec.repeats else {}
