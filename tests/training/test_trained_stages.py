import pytest

import isoflop
from isoflop.counting.sizes_of import sizes_of
from isoflop.planning.question import sweep_question
from isoflop.stages import MOST_EXTENSIONS, stage_name, train_stages
from isoflop.storage.directory import DirectoryStore
from isoflop.training.executors.simulated import Simulated
from tasks import MLP, examples, loss, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)
QUESTION = sweep_question(target=1e10, spend=1e9, check_rates=None)


class Counted(Simulated):
    """Simulated runs that are counted; it stops after some."""

    def __init__(self, law=LAW.loss, most=10**9):
        super().__init__(law, noise=0.002)
        object.__setattr__(self, "trained", [])
        object.__setattr__(self, "most", most)

    def run(self, spec):
        if len(self.trained) == self.most:
            raise KeyboardInterrupt
        self.trained.append(spec.id)
        return super().run(spec)


def stages(store, executor, question=QUESTION):
    return train_stages(mlp_task(), question, store=store, executor=executor)


def values(found):
    return {run.id: run.loss for run in found.runs}


def find(store, executor):
    return isoflop.find_optimal(
        MLP,
        "width",
        train_data=examples(4000),
        val_data=examples(500, seed=1),
        loss=loss,
        target=1e10,
        spend=1e9,
        recipe=isoflop.Recipe(epochs=None),
        store=store,
        executor=executor,
    )


@pytest.fixture(scope="module")
def undisturbed():
    return stages(isoflop.MemoryStore(), Counted())


def test_stages_go_on_until_the_sweep_says_why_it_ends(undisturbed):
    assert len(undisturbed.runs) >= 12
    assert undisturbed.notes[0].startswith("The sweep is finished: ")


def test_a_second_call_trains_nothing_and_answers_the_same(tmp_path):
    first, second = Counted(), Counted()
    answer, again = find(tmp_path, first), find(tmp_path, second)
    assert len(list((tmp_path / "stages").iterdir())) >= 4
    assert len(first.trained) >= 12
    assert second.trained == []
    assert str(again) == str(answer)
    assert any("The sweep is finished" in note for note in answer.notes)


@pytest.mark.parametrize("most", [2, 3, 8])
def test_a_sweep_that_is_stopped_goes_on_with_the_same_runs(undisturbed, tmp_path, most):
    store = isoflop.DirectoryStore(tmp_path)
    broken, whole = Counted(most=most), Counted()
    with pytest.raises(KeyboardInterrupt):
        stages(store, broken)
    assert values(stages(store, whole)) == values(undisturbed)
    assert not set(broken.trained) & set(whole.trained)
    assert len(broken.trained) == most


def test_each_stage_is_told_before_it_is_trained():
    told, executor = [], Counted()

    def on_stage(sweep, runs):
        assert [run.id for run in runs] == executor.trained
        told.append((len(sweep), len(executor.trained)))

    train_stages(
        mlp_task(), QUESTION, store=isoflop.MemoryStore(), executor=executor, on_stage=on_stage
    )
    before = 0
    for number, trained in told:
        assert trained == before
        before += number
    assert before == len(executor.trained)


def test_a_stage_that_goes_on_is_told_the_runs_that_it_has(tmp_path):
    store, told = isoflop.DirectoryStore(tmp_path), []
    with pytest.raises(KeyboardInterrupt):
        stages(store, Counted(most=4))
    train_stages(
        mlp_task(),
        QUESTION,
        store=store,
        executor=Counted(),
        on_stage=lambda _, runs: told.append(len(runs)),
    )
    assert told[:2] == [4, 5]


def test_other_questions_are_other_stages_of_the_store():
    task = mlp_task()
    questions = [
        QUESTION,
        sweep_question(target=1e10, spend=2e9),
        sweep_question(target=1e10, spend=1e9, design="lean"),
        sweep_question(target=1e10, spend=1e9, hardware="H100"),
    ]
    names = [
        stage_name(sizes_of(task), question, stage) for question in questions for stage in (0, 1)
    ]
    assert len(set(names)) == len(names)


def test_a_grid_is_extended_at_its_edges_twice_at_most():
    far = Counted(lambda N, D: 1 + 30 / N**0.5)
    found = stages(isoflop.MemoryStore(), far, sweep_question(budgets=[1e7, 1e8], check_rates=None))
    near = stages(
        isoflop.MemoryStore(), Counted(), sweep_question(budgets=[1e7, 1e8], check_rates=None)
    )
    planned = 2 * 7 + 2  # two budgets of seven sizes, and two more seeds of one
    assert len(near.runs) == planned
    assert planned < len(found.runs) <= planned + 2 * 3 * MOST_EXTENSIONS


def test_a_resumed_sweep_is_the_one_that_the_first_call_planned(tmp_path):
    question, seen = (
        sweep_question(budgets=[1e7, 3e7], hardware="8xH100 at 40% MFU at $2.50/hour"),
        [],
    )

    def stopped(sweep, _):
        seen.append(sweep)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_stages(mlp_task(), question, store=DirectoryStore(tmp_path), on_stage=stopped)
    first, again = seen
    assert again == first
    assert again.seconds
    assert again.simulation.target == first.simulation.target
    assert (
        again.simulation.ladder.num_params.tolist() == first.simulation.ladder.num_params.tolist()
    )
