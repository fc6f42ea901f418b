import re

import isoflop
from isoflop.reporting.reproduction import facts
from isoflop.training.executors.simulated import Simulated
from tasks import BUDGETS, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)


def said_of(runs):
    fit = isoflop.fit(runs, isoflop.Parametric())
    return facts(fit)["Exponent by what is counted"]


def test_the_exponent_under_each_convention_is_disclosed():
    task = mlp_task()
    sweep = isoflop.plan(task, budgets=BUDGETS)
    runs = isoflop.train(
        task, sweep, store=isoflop.MemoryStore(), executor=Simulated(LAW.loss), progress=False
    )
    assert [
        name in said_of(runs)
        for name in ("(matmul params)", "(non-embedding params)", "(total params)")
    ] == [True] * 3


def test_the_rate_that_plans_start_with_is_disclosed_unless_it_is_the_users_own(
    words, fitted, answer
):
    own = isoflop.Recipe(lr=0.01)
    pages = [
        words(fitted, answer, task=mlp_task(recipe=recipe, sizes=[32, 64, 128]))
        for recipe in (isoflop.Recipe(), own)
    ]
    assert ["the start for MLPs" in page for page in pages] == [True, False]


def test_runs_that_carry_one_count_say_so():
    rows = [
        isoflop.RunSpec(num_params=n, num_tokens=c / (6 * n), flops=c, budget=c)
        for c in (1e18, 1e19, 1e20)
        for n in (1e8, 2e8, 4e8, 8e8)
    ]
    runs = [
        isoflop.Run(
            spec=spec,
            status="completed",
            loss=LAW.loss(spec.num_params, spec.num_tokens),
            num_tokens=spec.num_tokens,
            flops=spec.flops,
        )
        for spec in rows
    ]
    assert said_of(runs) == "not known: the runs carry one count of params"


def test_the_call_repeats_the_limit_of_a_devices_memory(words, fitted):
    answer = isoflop.predict(fitted, flops=1e21, device_memory="2 GB")
    page = words(fitted, answer)
    call = page[page.index("isoflop.predict(fit, ") :].partition("<")[0]
    (memory,) = re.findall(r"device_memory=([\d.e+]+)", call)
    again = isoflop.predict(fitted, flops=1e21, device_memory=float(memory))

    assert any(note.code == "memory-limited" for note in answer.notes)
    assert again.num_params == answer.num_params
