"""The contract of a store, as a class: subclass it with a fixture `store`, and it tests that store."""

import math
from dataclasses import replace

import isoflop
from isoflop.runs import Run, RunSpec
from isoflop.storage.status import clear_failed, stage_statuses
from isoflop.storage.store import RecordStore, Store

SPEC = RunSpec(num_params=100, num_tokens=2000, flops=1.2e6, budget=1.2e6, size=4, batch=8, lr=0.01)
RUN = Run(
    spec=SPEC,
    status="completed",
    loss=2.345678901234567,
    loss_stderr=0.01,
    curve=((1000.0, 3.0), (2000.0, 2.5)),
    num_tokens=2000,
    flops=1.2e6,
    seconds=1.5,
    wall_seconds=2.5,
    predicted_seconds=2.0,
    device="cpu",
    versions={"torch": "2"},
)
SPECS = [replace(SPEC, seed=seed) for seed in range(4)]
OTHER = replace(SPEC, seed=9)
FAILED = replace(RUN, spec=SPECS[1], status="failed", loss=math.nan, curve=(), error="it failed")


class StoreContract:
    """Each test gets a new, empty store from the fixture `store` of the subclass."""

    # -- records

    def test_a_store_has_every_method(self, store):
        assert isinstance(store, Store)
        assert isinstance(store, RecordStore)

    def test_a_recorded_run_comes_back_equal(self, store):
        store.write_run(RUN)
        assert store.read_run(RUN.id) == RUN
        assert store.read_runs() == [RUN]
        assert isoflop.read_runs(store) == [RUN]

    def test_a_size_of_several_numbers_comes_back_as_it_was(self, store):
        run = replace(RUN, spec=replace(SPEC, size=(64, 4)))
        store.write_run(run)
        assert store.read_run(run.id).size == (64, 4)

    def test_metrics_come_back(self, store):
        store.write_run(replace(RUN, metrics={"accuracy": 0.5, "recall": math.nan}))
        metrics = store.read_run(RUN.id).metrics
        assert metrics["accuracy"] == 0.5
        assert math.isnan(metrics["recall"])

    def test_losses_that_are_not_finite_come_back(self, store):
        store.write_run(replace(RUN, status="diverged", loss=math.nan))
        assert math.isnan(store.read_run(RUN.id).loss)

    def test_runs_are_in_the_order_of_their_ids(self, store):
        runs = [replace(RUN, spec=spec) for spec in SPECS]
        for run in runs:
            store.write_run(run)
        assert store.read_runs() == sorted(runs, key=lambda run: run.id)

    def test_a_run_that_is_not_there_is_none(self, store):
        assert store.read_run("0" * 16) is None
        assert store.read_runs() == []
        assert store.read_specs() == []

    def test_specs_are_those_of_all_runs_that_have_started(self, store):
        store.write_spec(SPECS[0])
        store.write_spec(SPECS[0])
        store.write_spec(SPECS[1])
        store.write_run(replace(RUN, spec=SPECS[1]))
        assert {spec.id for spec in store.read_specs()} == {SPECS[0].id, SPECS[1].id}
        assert store.read_specs(known={SPECS[1].id}) == [SPECS[0]]

    def test_a_run_that_is_recorded_again_replaces_its_record(self, store):
        store.write_run(FAILED)
        again = replace(RUN, spec=FAILED.spec)
        store.write_run(again)
        assert store.read_runs() == [again]

    def test_a_removed_record_leaves_its_run_started(self, store):
        store.write_spec(SPEC)
        store.write_run(RUN)
        store.remove_record(RUN.id)
        store.remove_record(RUN.id)
        assert store.read_run(RUN.id) is None
        assert store.read_specs() == [SPEC]

    def test_tasks_are_described_again_and_again(self, store):
        for model in ("GPT", "GPT", "CNN"):
            store.write_task({"model": model, "fingerprint": model})
        assert store.read_runs() == []

    # -- stages

    def test_a_stage_comes_back_with_its_plan(self, store):
        assert store.read_stage("first") is None
        assert store.read_stages() == {}
        plan = {"notes": ["careful"], "seconds": {SPEC.id: 1.5}, "spend": None}
        store.write_stage("first", tuple(SPECS), plan)
        assert store.read_stage("first") == (tuple(SPECS), plan)

    def test_stages_are_in_the_order_of_planning(self, store):
        store.write_stage("second by name", (SPECS[0],), {"purpose": "one"})
        store.write_stage("first by name", (SPECS[1],), {"purpose": "two"})
        stages = store.read_stages()
        assert list(stages) == ["second by name", "first by name"]
        assert stages["first by name"] == ((SPECS[1],), {"purpose": "two"})

    # -- workspace

    def test_a_curve_is_cut_back_to_the_tokens_of_a_checkpoint(self, store):
        store.append_curve(SPEC.id, [(1.0, 5.0), (2.0, 4.0)])
        store.append_curve(SPEC.id, [(3.0, 3.0)])
        assert store.cut_curve(SPEC.id, 2.0) == [(1.0, 5.0), (2.0, 4.0)]
        assert store.cut_curve(SPEC.id, 9.0) == [(1.0, 5.0), (2.0, 4.0)]
        assert store.cut_curve(SPECS[1].id, 9.0) == []

    def test_a_checkpoint_lies_in_the_folder_of_the_store_if_there_is_one(self, store):
        checkpoint = store.checkpoint(SPEC.id)
        assert checkpoint is None or store.folder in checkpoint.parents

    def test_a_checkpoint_is_dropped_with_the_record_of_a_run_that_ended(self, store):
        store.write_spec(SPEC)
        checkpoint = store.checkpoint(SPEC.id)
        if checkpoint is None:
            return
        checkpoint.write_bytes(b"state")
        store.write_run(replace(FAILED, spec=SPEC))
        store.remove_record(SPEC.id)
        assert checkpoint.exists()
        store.write_run(RUN)
        assert not checkpoint.exists()

    def test_one_session_at_a_time_holds_a_run(self, store):
        assert store.holder(SPEC.id) is None
        with store.lease(SPEC.id, "one") as free:
            assert free is None
            with store.lease(SPEC.id, "two") as holder:
                assert isinstance(holder, str)
            with store.lease(SPECS[1].id, "two") as other:
                assert other is None
            assert isinstance(store.holder(SPEC.id), str)
        with store.lease(SPEC.id, "two") as free:
            assert free is None
        assert store.holder(SPEC.id) is None

    def test_a_lease_ends_with_an_error(self, store):
        try:
            with store.lease(SPEC.id, "one"):
                raise RuntimeError
        except RuntimeError:
            pass
        assert store.holder(SPEC.id) is None

    # -- all three

    def test_results_from_elsewhere_are_recorded_by_id_where_the_store_takes_them(self, store):
        if not hasattr(store, "tell"):
            return
        store.write_stage("first", tuple(SPECS), {"purpose": "all"})
        store.write_spec(OTHER)
        for spec in (SPECS[0], OTHER):
            assert store.tell(spec.id, loss=2.5).spec == spec
        assert {run.id for run in store.read_runs()} == {SPECS[0].id, OTHER.id}

    def test_the_status_of_a_stage_counts_its_runs(self, store):
        store.write_stage("first", tuple(SPECS), {"purpose": "all"})
        store.write_run(RUN)
        store.write_run(FAILED)
        with store.lease(SPECS[2].id, "one"):
            (stage,) = stage_statuses(store)
        assert (stage.stage, stage.purpose) == ("first", "all")
        assert (stage.ended, stage.waiting) == ((RUN,), (SPECS[3],))
        assert [run.id for run in stage.failed] == [FAILED.id]
        assert [spec for spec, _ in stage.running] == [SPECS[2]]
        assert [run.id for run in clear_failed(store)] == [FAILED.id]
        assert len(stage_statuses(store)[0].waiting) == 3
