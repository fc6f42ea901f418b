"""Tables in units that nothing says are refused with the units that explain them; names and hints of trackers' tables."""

import numpy as np
import pandas as pd
import pytest

import isoflop
from isoflop.errors import DataError
from isoflop.storage.tables import read_runs

LAW = isoflop.ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def table(budgets=(1e18, 3e18, 1e19)):
    rows = [(N, C / 6 / N) for C in budgets for N in LAW.optimum(C)[0] * np.geomspace(0.25, 4, 7)]
    return pd.DataFrame(
        [{"params": N, "tokens": D, "loss": float(LAW.loss(N, D))} for N, D in rows]
    )


def refusal(frame, **options):
    with pytest.raises(DataError) as caught:
        read_runs(frame, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "units",
    [
        {"tokens": 1e9},
        {"tokens": 1e6},
        {"params": 1e6},
        {"params": 1e9},
        {"params": 1e6, "tokens": 1e9},
        {"params": 1e6, "tokens": 1e6},
        {"params": 1e9, "tokens": 1e12},
    ],
)
def test_units_that_nothing_says_are_refused_with_those_that_mend_them(units):
    plain = table((1e21, 1e22)) if units.get("tokens") == 1e12 else table()
    scaled = plain.assign(**{field: plain[field] / unit for field, unit in units.items()})
    columns = {field: f"{field} * 1e{round(np.log10(unit))}" for field, unit in units.items()}
    assert f"give columns={columns} (--column " in refusal(scaled)
    read = read_runs(scaled, columns=columns)
    assert [run.num_params for run in read] == pytest.approx(plain.params.tolist())
    assert [run.num_tokens for run in read] == pytest.approx(plain.tokens.tolist())


def test_flops_in_petaflop_days_are_refused_with_their_factor():
    days = table().assign(flops=lambda t: 6 * t.params * t.tokens / 8.64e19)
    assert "columns={'flops': 'flops * 8.64e19'}" in refusal(days)
    assert read_runs(days, columns={"flops": "flops * 8.64e19"})[0].flops == pytest.approx(1e18)


def test_millions_beside_billions_are_refused_without_a_factor_for_all():
    frame = table().assign(
        params=lambda t: np.where(t.params < 3e8, t.params / 1e6, t.params / 1e9)
    )
    assert "write each with its unit, as in 350M and 1.3B" in refusal(frame)


def test_what_the_user_says_of_a_unit_is_taken_at_its_word():
    scaled = table().assign(tokens=lambda t: t.tokens / 1e9)
    both = {"params": "params * 1", "tokens": "tokens * 1"}
    assert read_runs(scaled, columns=both)[0].num_tokens == pytest.approx(scaled.tokens[0])
    written = scaled.assign(tokens=[f"{tokens:.2f}" for tokens in scaled.tokens]).rename(
        columns={"tokens": "tokens_B"}
    )
    assert read_runs(written)[0].num_tokens > 1e9


@pytest.mark.parametrize(
    ("params", "per_param", "per_6nd"),
    [
        (300, 0.3, 1.0),
        (300, 300.0, 1.0),
        (8e7, 1.0, 1.0),
        (1e9, 20.0, 1 / 50),
        (1e7, 20.0, 2000.0),
        (1e6, 1e5, 1.0),
    ],
)
def test_odd_tables_that_are_in_plain_counts_are_read(params, per_param, per_6nd):
    N = np.round(params * np.geomspace(0.5, 2, 5))
    D = N * per_param * np.geomspace(2, 0.5, 5)
    frame = pd.DataFrame({"params": N, "tokens": D, "flops": 6 * N * D * per_6nd, "loss": 3.0})
    assert len(read_runs(frame)) == 5


def test_a_hint_names_no_column_that_cannot_be_the_field():
    frame = table().rename(columns={"params": "weights"})
    assert "columns={'params': 'my_column'}" in refusal(frame.assign(d_params=256))
    assert "columns={'params': 'param_total'}" in refusal(
        frame.assign(d_params=256, param_total=frame.weights)
    )
    perplexity = table().assign(val_ppl=lambda t: np.exp(t.loss)).drop(columns="loss")
    assert "columns={'loss': 'log(val_ppl)'} (--column 'loss=log(val_ppl)')" in refusal(perplexity)
    read = read_runs(perplexity, columns={"loss": "log(val_ppl)"})
    assert [run.loss for run in read] == pytest.approx(table().loss.tolist())
    assert "columns={'loss': 'val_bpb'}" in refusal(perplexity.assign(val_bpb=1.0))


def test_the_names_that_trackers_put_before_a_name_are_looked_through():
    read = read_runs(table())
    mlflow = table().rename(
        columns={
            "params": "params.n_params",
            "tokens": "params.train_tokens",
            "loss": "metrics.eval_loss",
        }
    )
    assert read_runs(mlflow.assign(**{"params.d_model": 256})) == read
    wandb = table().rename(
        columns={"params": "config.n_params", "tokens": "train/tokens", "loss": "summary.eval/loss"}
    )
    assert read_runs(wandb) == read
    levels = table().set_axis(
        pd.MultiIndex.from_tuples([("model", "params"), ("data", "tokens"), ("eval", "loss")]),
        axis=1,
    )
    assert read_runs(levels) == read
