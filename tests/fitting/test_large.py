"""What keeps large inputs small: the rows that are held at a time, and that short cuts change no number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sweeps import LAW, a_run

from isoflop.fitting.approaches import envelope
from isoflop.fitting.approaches.envelope import CANDIDATES, lower_hull
from isoflop.fitting.kriging import exponents
from isoflop.fitting.screening.screen import screen
from isoflop.laws.points import Points


def whole_chain(x, y):
    """Andrew's chain over all rows, none left out before."""
    corners = []
    for row in np.lexsort((y, x)):
        while len(corners) > 1 and envelope._turns_right(x, y, corners[-2], corners[-1], row):
            corners.pop()
        corners.append(int(row))
    found = np.array(corners)
    return found[: int(np.argmin(y[found])) + 1]


coordinates = arrays.arrays(
    float, st.tuples(st.just(2), st.integers(1, 60)), elements=st.integers(-9, 9).map(float)
)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(coordinates | coordinates.map(lambda places: places + np.sin(places * 7.0)))
def test_the_hull_of_the_rows_that_may_be_on_it_is_that_of_all_rows(places):
    assert lower_hull(*places).tolist() == whole_chain(*places).tolist()


@pytest.mark.parametrize("number", [1, CANDIDATES, CANDIDATES + 1, 5000])
def test_the_lowest_rows_are_those_of_a_full_sort(number):
    height = np.random.default_rng(number).normal(size=number)
    assert envelope._lowest(height).tolist() == np.argsort(height)[:CANDIDATES].tolist()


def test_a_hull_of_many_curves_holds_no_table_of_directions_by_rows(monkeypatch):
    held = []
    monkeypatch.setattr(
        envelope,
        "_lowest",
        lambda height: held.append(height.shape) or np.argsort(height)[:CANDIDATES],
    )
    runs = [
        a_run(N, D, float(LAW.loss(N, D)))
        for N in np.geomspace(1e6, 1e9, 20)
        for D in N * np.geomspace(2, 200, 20)
    ]
    envelope._Curves.of(Points.of(runs)).refit(np.ones((3, len(runs))))
    assert held == [(len(runs),)] * envelope.SLOPES


def test_a_first_law_holds_the_columns_of_so_many_runs_at_a_time_and_is_the_same(monkeypatch):
    random = np.random.default_rng(0)
    x, y, loss = random.normal(size=(3, 1000))
    whole = exponents.restricted_alone(np.ones(1000), x, y, loss + 9, np.linspace(-2, 0, 5))
    seen, columns = [], exponents._columns
    monkeypatch.setattr(exponents, "PART", 300)
    monkeypatch.setattr(
        exponents, "_columns", lambda *given: seen.append(len(given[0])) or columns(*given)
    )
    parts = exponents.restricted_alone(np.ones(1000), x, y, loss + 9, np.linspace(-2, 0, 5))
    assert seen == [300, 300, 300, 100]
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-9)


def test_copies_are_found_wherever_they_stand():
    runs = [a_run(N, 20 * N, float(LAW.loss(N, 20 * N))) for N in np.geomspace(1e6, 1e9, 9)]
    screened = screen([*runs[3:], *runs, runs[0]])
    assert screened.points.runs == (*runs[3:], *runs[:3])
    assert "7 runs repeat another row in every number and count once." in screened.notes
