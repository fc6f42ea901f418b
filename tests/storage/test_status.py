from dataclasses import replace

import isoflop
from isoflop.storage.status import UNPLANNED, clear_failed, stage_statuses

SPEC = isoflop.RunSpec(num_params=100, num_tokens=2000, flops=1.2e6, budget=1.2e6, size=4)
SPECS = [replace(SPEC, seed=seed) for seed in range(6)]


def record(store, spec, status):
    store.write_spec(spec)
    error = None if status == "completed" else f"it {status}"
    store.write_run(
        isoflop.Run(spec=spec, status=status, loss=2.0, num_tokens=2000, flops=1.2e6, error=error)
    )


def filled(path):
    store = isoflop.DirectoryStore(path)
    store.write_stage("first", tuple(SPECS[:4]), {})
    for spec, status in zip(
        SPECS[:2] + SPECS[4:5], ("completed", "failed", "diverged"), strict=True
    ):
        record(store, spec, status)
    store.write_spec(SPECS[2])
    store.write_spec(SPECS[5])
    return store


def ids(runs):
    return [run.id for run in runs]


def test_each_run_of_a_stage_has_ended_failed_is_under_way_or_waits(tmp_path):
    store = filled(tmp_path)
    with store.lease(SPECS[2].id, "somebody"):
        first, others = stage_statuses(store)
    assert (first.stage, first.num_runs) == ("first", 4)
    assert ids(first.ended) == [SPECS[0].id]
    assert ids(first.failed) == [SPECS[1].id]
    assert ids([spec for spec, _ in first.running]) == [SPECS[2].id]
    assert ids(first.waiting) == [SPECS[3].id]
    assert others.stage == UNPLANNED
    assert (ids(others.ended), ids(others.waiting)) == ([SPECS[4].id], [SPECS[5].id])


def test_a_failed_run_that_was_forgotten_waits_again(tmp_path):
    store = filled(tmp_path)
    assert ids(clear_failed(store)) == [SPECS[1].id]
    assert clear_failed(store) == []
    assert set(ids(stage_statuses(store)[0].waiting)) == {SPECS[1].id, SPECS[2].id, SPECS[3].id}


def test_an_empty_store_has_no_stages(tmp_path):
    assert stage_statuses(isoflop.DirectoryStore(tmp_path)) == []
