"""Families: sizes from a dict, a table, a function or models; planned and answered as tasks are."""

import math

import numpy as np
import pandas as pd
import pytest

import isoflop
from isoflop.counting.sizes_of import sizes_of
from ladder import BUDGETS, WIDTHS, cost, ladder, loss_of


def runs_of(sweep):
    return [
        isoflop.Run(
            spec=spec,
            status="completed",
            loss=loss_of(spec),
            num_tokens=spec.num_tokens,
            flops=spec.flops,
        )
        for spec in sweep.specs
    ]


def test_sizes_are_the_same_from_a_dict_a_table_and_a_function(tmp_path):
    rows = [(width, *cost(width)) for width in WIDTHS]
    frame = pd.DataFrame(rows, columns=["size", "params", "flops_per_token"])
    frame.to_csv(tmp_path / "sizes.csv", index=False)
    given = {width: cost(width) for width in WIDTHS}
    families = [
        isoflop.Family(given),
        isoflop.Family(frame),
        isoflop.Family(tmp_path / "sizes.csv"),
        isoflop.Family(WIDTHS, cost=cost),
        isoflop.Family(np.array(WIDTHS), cost=lambda width: cost(int(width))),
        isoflop.Family(
            {w: {"num_params": cost(w)[0], "flops_per_token": cost(w)[1]} for w in WIDTHS}
        ),
    ]
    ids = [[spec.id for spec in isoflop.plan(family, budgets=BUDGETS).specs] for family in families]
    assert all(one == ids[0] for one in ids)
    assert repr(families[0]) == "Family(11 sizes from 12.3k to 12.6M params)"


def test_sizes_of_a_parquet_file_are_those_of_its_frame(tmp_path):
    pytest.importorskip("pyarrow", reason="needs isoflop[tables]")
    rows = [(width, *cost(width)) for width in WIDTHS]
    frame = pd.DataFrame(rows, columns=["size", "params", "flops_per_token"])
    frame.to_parquet(tmp_path / "sizes.parquet")
    families = [isoflop.Family(frame), isoflop.Family(str(tmp_path / "sizes.parquet"))]
    ids = [[spec.id for spec in isoflop.plan(family, budgets=BUDGETS).specs] for family in families]
    assert ids[0] == ids[1]


def test_other_columns_are_arguments_of_each_size(tmp_path):
    path = tmp_path / "sizes.csv"
    lines = [f"d{d},{12 * d * 4096},{d},{64 * d},gelu" for d in (2, 4, 8, 16)]
    path.write_text("\n".join(["size,params,depth,width,activation", *lines]))
    family = isoflop.Family(path, tokens_per_example=128)
    sweep = isoflop.plan(family, budgets=[1e13])
    spec = next(spec for spec in sweep.specs if spec.size == "d4")
    assert spec.arguments == {"size": "d4", "depth": 4, "width": 256, "activation": "gelu"}
    assert "FLOPs per token of 4 sizes are taken as 6 x the params" in str(sweep)
    assert spec.flops == pytest.approx(6 * spec.num_params * spec.num_tokens)


def test_examples_of_one_token_are_said_where_nobody_said_so():
    sizes = {width: cost(width) for width in WIDTHS}
    plans = [
        isoflop.plan(isoflop.Family(sizes, **fields), budgets=[1e12])
        for fields in ({}, {"tokens_per_example": 1}, {"unit": "image"})
    ]
    noted = [any(note.code == "one-token-examples" for note in plan.notes) for plan in plans]
    assert noted == [True, False, False]


def test_experts_cost_what_a_token_uses():
    family = isoflop.Family(
        pd.DataFrame(
            {
                "size": ["a", "b", "c"],
                "params": ["1B", "2B", "4B"],
                "active_params": ["100M", "200M", "400M"],
            }
        )
    )
    counted = sizes_of(family).count("b")
    assert (counted.num_params, counted.flops_per_token) == (2_000_000_000, 1.2e9)


def test_a_plan_has_the_tokens_that_the_budget_pays_for_in_whole_batches():
    sweep = isoflop.plan(ladder(), budgets=BUDGETS)
    assert len({spec.budget for spec in sweep.specs}) == 2
    for spec in sweep.specs:
        assert spec.flops == pytest.approx(spec.budget, rel=0.01)
        assert spec.num_tokens % (spec.batch * 64) == 0
        assert spec.batch * spec.tokens_per_example == 4096
        assert spec.flops == pytest.approx(cost(spec.size)[1] * spec.num_tokens)
    assert not sweep.seconds  # they are trained elsewhere


def test_finite_data_bind_the_plan():
    short = ladder(unique_tokens=1e6, recipe=isoflop.Recipe(batch_tokens=4096))
    with pytest.raises(isoflop.PlanError, match="pass over 1.00M tokens"):
        isoflop.plan(short, budgets=BUDGETS)
    sweep = isoflop.plan(
        ladder(unique_tokens=1e6, recipe=isoflop.Recipe(batch_tokens=4096, epochs=None)),
        budgets=BUDGETS,
    )
    assert (
        max(spec.epochs for spec in sweep.specs)
        == max(spec.num_tokens for spec in sweep.specs) / 1e6
    )
    assert any(note.code == "repeated-data" for note in sweep.notes)


def test_memory_that_is_given_binds_on_named_hardware():
    sizes = {w: {"params": cost(w)[0], "memory_bytes": 1e9 * w} for w in WIDTHS}
    sweep = isoflop.plan(
        isoflop.Family(sizes, recipe=isoflop.Recipe(batch_tokens=4096)),
        budgets=[1e12],
        hardware="H100",
    )
    assert max(spec.size for spec in sweep.specs) == 64
    assert any("needs 96" in n and "one H100 SXM has 80.0 GB" in n for n in sweep.notes)


def test_recipes_seeds_and_rules_become_fields_of_the_specs():
    recipe = isoflop.Recipe(
        lr=lambda n, d: 1 / math.sqrt(n), seeds=(1, 2), batch_tokens=4096, schedule="wsd"
    )
    sweep = isoflop.plan(ladder(recipe=recipe), budgets=[1e12])
    assert {1, 2} <= {spec.seed for spec in sweep.specs}
    assert all(spec.lr == pytest.approx(spec.num_params**-0.5) for spec in sweep.specs)
    assert {spec.schedule for spec in sweep.specs} == {"wsd"}


def test_answers_come_in_sizes_of_the_family():
    family = ladder()
    fitted = isoflop.fit(runs_of(isoflop.plan(family, budgets=[1e12, 3e12, 1e13])))
    answer = isoflop.predict(fitted, flops=3e13, task=family)
    assert answer.size in WIDTHS
    assert answer.size_num_params == cost(answer.size)[0]
    assert answer.size_num_tokens * cost(answer.size)[1] == pytest.approx(3e13)
    assert not any(note.code == "other-task" for note in answer.notes)
    assert {run.spec.fingerprint for run in fitted.runs} == {family.fingerprint}
    renamed = isoflop.predict(fitted, flops=3e13, task=ladder(name="another"))
    assert any(note.code == "other-task" for note in renamed.notes)


def test_more_sizes_keep_the_ids_of_those_that_were_there():
    few = isoflop.plan(ladder(), budgets=[1e12])
    more = isoflop.Family(
        {width: cost(width) for width in sorted((*WIDTHS, 40, 80))},
        tokens_per_example=64,
        recipe=isoflop.Recipe(batch_tokens=4096, epochs=None),
    )
    assert {spec.id for spec in isoflop.plan(more, budgets=[1e12]).specs} & {
        spec.id for spec in few.specs
    }


@pytest.mark.train
def test_a_model_is_counted_without_data_and_never_built_off_the_meta_device():
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.embed = nn.Embedding(50, width)
            self.mix = nn.Linear(width, width)
            self.out = nn.Linear(width, 50)

        def forward(self, ids):
            assert ids.is_meta or len(self.embed.weight) * self.mix.in_features < 50e6
            return self.out(torch.relu(self.mix(self.embed(ids))))

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    batch = torch.zeros(4, 32, dtype=torch.long), torch.zeros(4, 32, dtype=torch.long)
    family = isoflop.Family.of_model(
        Net, "width", batch, loss=loss, recipe=isoflop.Recipe(batch_tokens=1024, epochs=None)
    )
    assert family.name == "Net"
    sweep = isoflop.plan(family, budgets=[1e10, 1e11])
    for spec in sweep.specs:
        width = spec.size
        assert spec.num_params == 50 * width + width * width + width + 50 * width + 50
        # the embedding is looked up; the first product needs its gradient too
        assert spec.flops / spec.num_tokens == pytest.approx(6 * (width**2 + 50 * width))
        assert spec.tokens_per_example == 32
        assert spec.num_tokens % 1024 == 0
    big = isoflop.plan(family, budgets=[1e20, 1e21])
    assert max(spec.num_params for spec in big.specs) > 1e9


BAD = {
    "nothing": (lambda: isoflop.Family({}), "at least one size"),
    "no mapping": (lambda: isoflop.Family(7), "must be a dict size"),
    "a list without cost": (lambda: isoflop.Family([8, 16]), "sizes with cost="),
    "no params": (lambda: isoflop.Family({8: {"flops_per_token": 1e6}}), "must have params"),
    "zero params": (lambda: isoflop.Family({8: (0, 1e6)}), "must be a number from 1"),
    "text for params": (lambda: isoflop.Family({8: ("many", 1e6)}), "must be a number from 1"),
    "NaN for FLOPs": (lambda: isoflop.Family({8: (1e6, math.nan)}), "must be a number from 1"),
    "FLOPs below params": (lambda: isoflop.Family({8: (1e9, 6.0)}), "6 FLOPs per param"),
    "two sizes alike": (lambda: isoflop.Family({8: 1e6, 9: 1e6}), "different params"),
    "sizes not growing": (
        lambda: isoflop.Family({8: 2e6, 16: 1e6}),
        "params must grow with the size",
    ),
    "more active than all": (
        lambda: isoflop.Family({8: {"params": 1e6, "active_params": 2e6}}),
        "at most as many active params",
    ),
    "a cost that raises": (
        lambda: isoflop.Family([8, 16], cost=lambda size: 1 / 0),
        "ZeroDivisionError",
    ),
    "a cost that is no pair": (
        lambda: isoflop.Family([8, 16], cost=lambda size: "big"),
        "must be a number from 1",
    ),
    "no such table": (lambda: isoflop.Family("nowhere.csv"), "There is no file"),
    "a table without params": (
        lambda: isoflop.Family(pd.DataFrame({"size": [1, 2], "N": [1e6, 2e6]})),
        "must have a column 'params'",
    ),
    "a unit that is no word": (lambda: ladder(unit=""), "unit"),
    "no tokens per example": (lambda: ladder(tokens_per_example=0), "tokens_per_example"),
    "negative data": (lambda: ladder(unique_tokens=-1), "unique_tokens"),
    "branches": (
        lambda: ladder(recipe=isoflop.Recipe(branches=True, schedule="wsd")),
        "for isoflop's own training",
    ),
    "a recipe that is none": (lambda: ladder(recipe={"lr": 1}), "an isoflop.Recipe"),
    "two sizes": (
        lambda: isoflop.plan(isoflop.Family({8: 1e6, 16: 2e6}), budgets=[1e15]),
        "at least 3 sizes",
    ),
    "trained without a trainer": (
        lambda: isoflop.train(
            ladder(), isoflop.plan(ladder(), budgets=BUDGETS), store=isoflop.MemoryStore()
        ),
        "a trainer of yours",
    ),
    "the class": (lambda: isoflop.plan(isoflop.Family, budgets=[1e12]), "Task or an isoflop.Fam"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_families_are_refused_in_one_sentence(name):
    call, words = BAD[name]
    with pytest.raises(isoflop.IsoflopError) as caught:
        call()
    assert words in str(caught.value)
    assert len(str(caught.value)) <= 300
