"""Every exercise: the reference gets all points, the released file none, wrong answers fewer."""

from __future__ import annotations

import pytest

from ibbook.book.course import bank, exercises, proof

SOURCES = exercises.exercises()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_exercises_are_as_nbgrader_and_the_bank_need_them(source):
    assert [*exercises.faults(source), *bank.faults(source)] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_marks_follow_what_an_answer_knows(source):
    found = list(proof.trials(source))
    assert [trial for trial in found if not trial.holds] == []
    assert {trial.wanted for trial in found} == {"all", "none", "fewer"}
