import pytest

from isoflop.training.schedule import lr_factor


def test_the_rate_rises_in_a_line_to_its_peak():
    assert [lr_factor("cosine", 0.1, step, 100) for step in (0, 4, 9)] == pytest.approx(
        [0.1, 0.5, 1.0]
    )


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_rate_falls_to_zero_at_the_runs_own_end(schedule):
    assert lr_factor(schedule, 0.1, 55, 100) == pytest.approx(0.5)
    assert lr_factor(schedule, 0.1, 100, 100) == pytest.approx(0.0)
    assert 0 < lr_factor(schedule, 0.1, 99, 100) < 0.02


def test_a_constant_rate_stays():
    assert {lr_factor("constant", 0.0, step, 100) for step in range(100)} == {1.0}


def test_no_warm_up_starts_at_the_peak():
    assert lr_factor("cosine", 0.0, 0, 10) == 1.0
