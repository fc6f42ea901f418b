"""How runs were trained, read from a table's columns; losses that are none."""

import math

import pandas as pd
import pytest

from isoflop.errors import DataError
from isoflop.storage.groups import read_groups
from isoflop.storage.tables import read_runs

TABLE = pd.DataFrame(
    {"params": [1e6, 2e6, 4e6], "tokens": [2e7, 4e7, 8e7], "loss": [4.5, 4.2, 4.0]}
)


@pytest.mark.parametrize(
    ("column", "cells", "field", "values"),
    [
        ("lr", [1e-3, 2e-3, 3e-3], "lr", [1e-3, 2e-3, 3e-3]),
        ("config.learning_rate", ["1e-3", "", "x"], "lr", [1e-3, None, None]),
        ("bsz", [32, 64, 128], "batch", [32, 64, 128]),
        ("batch_tokens", ["0.5M", "1M", "2M"], "batch", [500_000, 1_000_000, 2_000_000]),
        ("seed", [1, 2, 3.5], "seed", [1, 2, 0]),
        ("wd", [0.1, 0.0, -1], "weight_decay", [0.1, 0.0, None]),
        ("lr_scheduler_type", ["Cosine", "", "constant"], "schedule", ["cosine", None, "constant"]),
        ("epochs", [1, 2, 4], "unique_tokens", [None, 2e7, 2e7]),
        ("unique_tokens", [4e7, 4e7, 2e7], "epochs", [1.0, 1.0, 4.0]),
        ("unique_tokens_M", [40, 40, 20], "unique_tokens", [4e7, 4e7, 2e7]),
    ],
)
def test_a_setting_is_read_where_a_table_has_it(column, cells, field, values):
    runs = read_runs(TABLE.assign(**{column: cells}))
    assert [getattr(run.spec, field) for run in runs] == values


def test_two_columns_of_one_setting_are_no_error():
    run = read_runs(TABLE.assign(batch_size=8, batch_tokens=8192))[0]
    assert run.spec.batch == 8


def test_a_metric_whose_name_resembles_a_setting_is_a_metric():
    assert read_runs(TABLE.assign(v=1.5), columns={"speed": "v"})[0].metrics == {"speed": 1.5}


@pytest.mark.parametrize(("column", "given"), [(None, 80), ("vocab_size", None)])
def test_a_loss_worse_than_guessing_is_a_failed_run(column, given):
    table = TABLE if column is None else TABLE.assign(**{column: 80})
    runs = read_runs(table, vocabulary=given)
    assert [run.status for run in runs] == ["failed", "completed", "completed"]
    assert runs[0].error == "its loss of 4.5 is worse than guessing among 80 tokens, 4.382"


def test_losses_that_are_mostly_worse_than_guessing_are_refused():
    with pytest.raises(DataError, match="must be a mean per token in nats, but 3 rows"):
        read_runs(TABLE.assign(loss=TABLE.loss * 512), vocabulary=50_257)


def test_a_perplexity_is_refused_with_its_conversion():
    table = TABLE.assign(ppl=[90.0, 67.0, 55.0]).drop(columns="loss")
    with pytest.raises(DataError, match=r"named as a perplexity; give columns=\{'loss': 'log\(ppl"):
        read_runs(table, columns={"loss": "ppl"})
    assert read_runs(table, columns={"loss": "log(ppl)"})[0].loss == pytest.approx(math.log(90))


def test_an_accuracy_is_refused_with_its_conversion():
    table = TABLE.assign(top1_acc=[0.2, 0.3, 0.4]).drop(columns="loss")
    with pytest.raises(DataError, match="named as a score, which rises; .*1 - top1_acc"):
        read_runs(table, columns={"loss": "top1_acc"})
    assert read_runs(table, columns={"loss": "1 - top1_acc"})[0].loss == pytest.approx(0.8)


def test_groups_are_the_runs_by_a_column():
    groups = read_groups(TABLE.assign(arch=["a", "b", "a"]), by="arch")
    assert {name: [run.loss for run in runs] for name, runs in groups.items()} == {
        "a": [4.5, 4.0],
        "b": [4.2],
    }


def test_an_unknown_column_of_groups_is_refused():
    with pytest.raises(DataError, match="has no column 'arch'; it has params, tokens and loss"):
        read_groups(TABLE, by="arch")
