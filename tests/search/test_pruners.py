"""The pruners of a search space, by what they do to a trial."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from sweeper.config.pruner import MedianConfig, PatientConfig
from sweeper.search.pruners import build_pruner


@pytest.mark.parametrize("patience", [1, 3])
def test_a_patient_pruner_waits_for_as_many_worse_epochs_as_it_says(patience: int) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=0.9, intermediate_values=dict.fromkeys(range(1, 9), 0.9)))
    config = PatientConfig(name="patient", patience=patience, pruner=MedianConfig(name="median", startup_trials=1))
    pruner = build_pruner(config, 8)

    def ends(*values: float) -> bool:
        judged = create_trial(state=OptunaState.RUNNING, intermediate_values=dict(enumerate(values, 1)))
        judged.number = 1
        return pruner.prune(study, judged)

    worse = [0.4] * patience
    assert ends(0.3, 0.5, *worse)
    assert not ends(0.3, 0.5, *worse[1:])
    assert not ends(0.3, 0.5, 0.5, *worse[1:])
