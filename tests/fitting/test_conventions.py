import pytest

import isoflop
from isoflop.fitting.conventions import exponents_by_convention
from isoflop.training.executors.simulated import Simulated
from tasks import BUDGETS, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)


def test_the_exponent_depends_on_what_is_counted():
    task = mlp_task()
    sweep = isoflop.plan(task, budgets=BUDGETS)
    runs = isoflop.train(
        task, sweep, store=isoflop.MemoryStore(), executor=Simulated(LAW.loss), progress=False
    )
    found = exponents_by_convention(runs)
    assert set(found) == {"total", "non_embedding", "matmul"}
    assert found["total"] == found["non_embedding"] == pytest.approx(0.4 / 0.9, abs=0.06)
    assert found["matmul"] == pytest.approx(found["total"], abs=0.03)


def test_runs_without_counts_have_no_conventions():
    spec = isoflop.RunSpec(num_params=10, num_tokens=20, flops=1200)
    assert (
        exponents_by_convention(
            [isoflop.Run(spec=spec, status="completed", loss=2.0, num_tokens=20, flops=1200)]
        )
        == {}
    )
    assert exponents_by_convention([]) == {}
