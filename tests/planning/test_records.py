"""A plan that is read back from a store is the plan."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from staged import LADDER, SIZES, made

import isoflop
from isoflop.compute.phrases import parse_hardware
from isoflop.notes.note import Note
from isoflop.planning.candidates import Place
from isoflop.planning.forecast import Forecast, Simulation
from isoflop.planning.records import plan_of, sweep_of
from isoflop.storage.directory import DirectoryStore

pytestmark = pytest.mark.train
PLACES = [Place(float(N), C / (6 * float(N)), C, C) for C in (1e17, 1e18) for N in SIZES[30:60:5]]
RUNS = made(PLACES[:6])


def a_sweep(hardware=None, **ladder):
    specs = tuple(replace(run.spec, size=(int(run.num_params), 2)) for run in made(PLACES[6:]))
    return isoflop.Sweep(
        specs=specs,
        checks=(replace(specs[0], lr=0.1, checked_lr=0.2),),
        notes=(Note("small-models", "Be careful."),),
        seconds={spec.id: 0.1 + spec.num_params for spec in specs},
        memory_bytes={spec.id: 16 * spec.num_params for spec in specs},
        mfu={spec.id: 0.3 for spec in specs},
        hardware=None if hardware is None else parse_hardware(hardware),
        unit="image",
        simulation=Simulation(1e20, replace(LADDER, **ladder), tuple(RUNS)),
    )


@pytest.mark.parametrize("hardware", [None, "8xH100 at 40% MFU at $2.50/hour", "4xTPU v5p"])
def test_a_stored_plan_has_every_field_and_prints_as_before(tmp_path, hardware):
    sweep, store = a_sweep(hardware).with_forecast(), DirectoryStore(tmp_path)
    store.write_stage("first", sweep.specs, plan_of(sweep))
    read = sweep_of(*store.read_stage("first"), RUNS[::-1] + made(PLACES[6:8]))
    assert read == sweep
    assert read.simulation.known == sweep.simulation.known
    assert str(read) == str(sweep)
    assert "Expected precision at 1e+20 FLOPs" in str(read)


def test_what_the_ladder_allows_is_kept(tmp_path):
    for most in (math.inf, 1e9):
        sweep, store = a_sweep(most_tokens=most), DirectoryStore(tmp_path / str(most))
        store.write_stage("first", sweep.specs, plan_of(sweep))
        ladder = sweep_of(*store.read_stage("first"), RUNS).simulation.ladder
        assert ladder.most_tokens == most
        assert np.array_equal(ladder.num_params, LADDER.num_params)
        assert np.array_equal(ladder.flops_per_token, LADDER.flops_per_token)


def test_a_plan_that_was_stored_without_a_check_has_none():
    plan = {name: value for name, value in plan_of(a_sweep()).items() if name != "checks"}
    assert sweep_of(a_sweep().specs, plan, RUNS) == replace(a_sweep(), checks=())


def test_a_finished_sweep_is_kept_too(tmp_path):
    empty, store = (
        isoflop.Sweep(specs=(), notes=(Note("finished", "The sweep is finished."),)),
        DirectoryStore(tmp_path),
    )
    store.write_stage("last", (), plan_of(empty))
    assert sweep_of(*store.read_stage("last"), []) == empty


def test_a_sweep_from_another_process_is_not_simulated_yet_either():
    copy = pickle.loads(pickle.dumps(a_sweep()))
    assert plan_of(copy)["forecast"] is None
    assert isinstance(copy.with_forecast().forecast, Forecast)
