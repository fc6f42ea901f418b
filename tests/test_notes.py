import copy
import pickle

import pytest

from isoflop.notes import answer, law, plan, sweep
from isoflop.notes.note import KINDS, Note


def test_a_note_reads_as_its_text_and_knows_its_kind():
    note = Note("far-target", "The target is 40 times the largest run.")
    assert note == "The target is 40 times the largest run."
    assert (note.code, note.severity) == ("far-target", "doubt")
    assert "train a larger budget" in note.remedy


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda note: pickle.loads(pickle.dumps(note))])
def test_a_copy_keeps_the_code(copied):
    note = copied(Note("flat", "Budget 1e+18 is flat."))
    assert (note, note.code) == ("Budget 1e+18 is flat.", "flat")


def test_an_unknown_code_is_refused():
    with pytest.raises(KeyError):
        Note("no-such-code", "A sentence.")


def test_codes_are_unique():
    assert len(KINDS) == sum(len(module.KINDS) for module in (plan, sweep, law, answer))
