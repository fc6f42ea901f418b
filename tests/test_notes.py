import copy
import pickle

import pytest

from isoflop.notes import answer, law, plan, rates, sweep
from isoflop.notes.merging import BudgetNote, merged
from isoflop.notes.note import KINDS, Note


def test_a_note_reads_as_its_text_and_knows_its_kind():
    note = Note("far-target", "The target is 40 times the largest run.")
    assert note == "The target is 40 times the largest run."
    assert (note.code, note.severity) == ("far-target", "doubt")
    assert "train a larger budget" in note.remedy


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda note: pickle.loads(pickle.dumps(note))])
def test_a_copy_keeps_the_code(copied):
    note = copied(BudgetNote("flat", 1e18, "is flat."))
    assert (note, note.code) == ("Budget 1e+18 is flat.", "flat")
    assert note.predicate == "is flat."


def test_an_unknown_code_is_refused():
    with pytest.raises(KeyError):
        Note("no-such-code", "A sentence.")


def test_codes_are_unique():
    assert len(KINDS) == sum(len(module.KINDS) for module in (plan, sweep, rates, law, answer))


def test_a_note_about_several_budgets_is_one_note():
    flat = [BudgetNote("flat", budget, "is flat.") for budget in (1e18, 1e19, 1e18)]
    other = Note("set-aside", "1 run set aside.")
    assert merged([*flat, other, other]) == (
        "Each of the budgets 1e+18 and 1e+19 is flat.",
        "1 run set aside.",
    )
    assert merged(flat)[0].code == "flat"


def test_very_many_notes_of_one_kind_are_one_short_note():
    many = [BudgetNote("no-minimum", k * 1e18, f"has no minimum at {k}.") for k in range(1, 601)]
    (note,) = merged(many)
    assert note.startswith("Budget 1e+18 has no minimum at 1; likewise 599 more budgets (2e+18, ")
    assert len(note) < 150
