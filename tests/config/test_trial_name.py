"""A trial's name is read in one way, whatever command it is given to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.trial_name import TrialName, parse_trial_name
from sweeper.config.weights import study_reference

STUDIES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(STUDIES, st.none() | st.integers(0, 10**9 - 1))
def test_what_a_name_is_written_as_is_read_as_the_same(study: str, number: int | None) -> None:
    name = TrialName(study, number)
    assert parse_trial_name(str(name)) == name
    assert study_reference(f"study:{name}") == name


@given(STUDIES)
def test_a_study_alone_is_its_best_trial(study: str) -> None:
    assert parse_trial_name(study) == parse_trial_name(f"{study}/best")


def test_the_slash_that_a_shell_adds_to_a_name_changes_nothing() -> None:
    assert parse_trial_name("a/") == parse_trial_name("a")


def test_a_run_is_known_by_its_32_digits() -> None:
    assert parse_trial_name("0123456789abcdef" * 2) == TrialName(run="0123456789abcdef" * 2)


@pytest.mark.parametrize("text", ["", "a/b/1", "a//", "/1", "a/-1", "a/1.5", "a/Best", "../a", "a b", "a/1\n", "-a"])
def test_what_has_no_such_form_is_refused_with_all_forms(text: str) -> None:
    with pytest.raises(ValueError, match="STUDY, STUDY/best, STUDY/NUMBER, or the id of an MLflow run"):
        parse_trial_name(text)
