import numpy as np
import pytest

from isoflop.fitting.kriging.run_value import Laws, design_condition, value_runs

LAWS = Laws(
    E=np.array([1.8, 1.7, 1.9]),
    A=np.array([480.0, 300.0, 800.0]),
    B=np.array([2100.0, 1500.0, 4000.0]),
    alpha=np.array([0.35, 0.32, 0.38]),
    beta=np.array([0.37, 0.35, 0.40]),
)
TARGET = 1e22 / 6


def grid(budgets, ratios):
    """N and D at FLOPs and tokens per param, all with all."""
    C, ratio = (values.ravel() for values in np.meshgrid(budgets, ratios, indexing="ij"))
    N = np.sqrt(C / 6 / ratio)
    return N, ratio * N


TRAINED = grid([1e18, 4e18], [5.0, 20.0, 80.0])
CANDIDATES = grid([1e18, 1e19, 1e20], [5.0, 10.0, 20.0, 40.0, 80.0])


@pytest.fixture(scope="module")
def before():
    return value_runs(LAWS, TRAINED, CANDIDATES, TARGET)


def test_each_trained_run_lowers_the_variance_under_every_law(before):
    now = before
    for candidate in (2, 9, 12, 4):
        after = now.trained(candidate)
        assert np.all(after.variance < now.variance)
        assert np.all(after.variance > 0)
        now = after


def test_the_predicted_variance_is_the_variance_once_the_run_is_trained(before):
    for candidate in range(len(CANDIDATES[0])):
        assert before.variance_after[:, candidate] == pytest.approx(
            before.trained(candidate).variance, rel=1e-9
        )


@pytest.mark.parametrize("candidate", [0, 7, 14])
def test_a_run_that_counts_as_trained_equals_a_trained_run(before, candidate):
    longer = tuple(
        np.append(values, of[candidate]) for values, of in zip(TRAINED, CANDIDATES, strict=True)
    )
    others = tuple(np.delete(of, candidate) for of in CANDIDATES)
    anew, known = value_runs(LAWS, longer, others, TARGET), before.trained(candidate)
    assert anew.variance == pytest.approx(known.variance, rel=1e-6)
    assert anew.variance_after == pytest.approx(
        np.delete(known.variance_after, candidate, axis=1), rel=1e-6
    )


def test_the_joint_covariance_stays_symmetric_and_positive(before):
    now = before
    for candidate in (14, 0, 7, 10):
        now = now.trained(candidate)
        for joint in now.joint:
            unit = joint / np.sqrt(np.outer(np.diag(before.joint[0]), np.diag(before.joint[0])))
            assert joint == pytest.approx(joint.T, rel=1e-6, abs=1e-9)
            assert np.linalg.eigvalsh(unit).min() > -1e-7


def test_another_ratio_of_tokens_to_params_is_worth_more_than_a_copy():
    ladder = grid([1e18, 2e18, 4e18, 8e18], [20.0])
    copy, other = (ladder[0][-1:], ladder[1][-1:]), grid([8e18], [80.0])
    values = value_runs(
        LAWS, ladder, tuple(map(np.concatenate, zip(copy, other, strict=True))), TARGET
    )
    assert np.all(values.variance_after[:, 1] < values.variance_after[:, 0])


def test_a_larger_run_is_worth_more_than_a_smaller_one_at_the_same_ratio():
    values = value_runs(LAWS, TRAINED, grid([1e18, 1e20], [40.0]), TARGET)
    assert np.all(values.variance_after[:, 1] < values.variance_after[:, 0])


def test_a_farther_target_is_less_sure():
    near, far = (
        value_runs(LAWS, TRAINED, CANDIDATES, factor * TARGET).variance for factor in (0.01, 1.0)
    )
    assert np.all(near < far)


def test_laws_are_spread_evenly_over_the_resamples_that_have_an_answer():
    invalid = Laws(LAWS.E, LAWS.A, np.array([2100.0, np.nan, 4000.0]), LAWS.alpha, LAWS.beta)
    assert Laws.of(invalid, 8).E.tolist() == [1.8, 1.9]
    assert Laws.of(LAWS, 2).E.tolist() == [1.8, 1.9]


def test_the_condition_number_is_small_for_a_grid_and_large_for_one_ratio():
    assert design_condition(*grid([1e18, 1e19, 1e20], [5.0, 20.0, 80.0])) < 100
    assert design_condition(*grid(np.geomspace(1e18, 1e20, 9), [20.0])) > 1e4


def test_the_condition_number_has_no_unit():
    N, D = grid([1e18, 3e18, 1e19], [5.0, 20.0, 80.0])
    assert design_condition(1e-6 * N, 1e-9 * D) == pytest.approx(design_condition(N, D))


def test_fewer_than_five_runs_have_no_condition_number():
    assert design_condition(*grid([1e18], [5.0, 10.0, 20.0, 40.0])) == np.inf
