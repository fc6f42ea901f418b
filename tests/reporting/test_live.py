import re

import pytest
from made import make_run

from isoflop.answers.predict import predict
from isoflop.errors import StoreError
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.planning.sweep import Sweep
from isoflop.reporting.live import live_report

pytestmark = pytest.mark.train


def said(path):
    return re.sub(r"<[^>]*>", " ", path.read_text().split("<main>")[1])


@pytest.fixture
def planned(sweep):
    return Sweep(specs=tuple(run.spec for run in sweep))


def test_the_page_is_there_before_the_first_run(planned, tmp_path):
    live_report(tmp_path / "page.html", target=1e20, sweep=planned)

    assert "0 of 28 runs" in said(tmp_path / "page.html")
    assert "No answer yet." in said(tmp_path / "page.html")
    assert 'http-equiv="refresh"' in (tmp_path / "page.html").read_text()


def test_a_path_that_cannot_be_written_is_found_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="Cannot write"):
        live_report(tmp_path / "file" / "page.html", target=1e20)


def test_runs_are_shown_before_they_allow_an_answer(planned, sweep, tmp_path):
    redraw = live_report(tmp_path / "page.html", target=1e20, sweep=planned, seconds=0)

    for run in sweep[:2]:
        path = redraw(run)

    assert "2 of 28 runs" in said(path)
    assert "No answer yet." in said(path)
    assert path.read_text().count("<tr>") == 3


def test_the_answer_appears_as_soon_as_there_is_one_and_the_last_run_ends_the_view(
    words, planned, sweep, tmp_path
):
    redraw = live_report(
        tmp_path / "page.html",
        target=1e20,
        sweep=planned,
        runs=sweep[:26],
        approach=Parametric(),
        seconds=0,
    )
    path = redraw(sweep[26])

    assert "27 of 28 runs" in said(path)
    assert "Train" in said(path)
    assert 'http-equiv="refresh"' in path.read_text()

    redraw(sweep[27])

    assert "under way" not in said(path)
    assert 'http-equiv="refresh"' not in path.read_text()


def test_the_last_page_is_the_report_of_all_runs(words, sweep, planned, tmp_path):
    redraw = live_report(
        tmp_path / "page.html",
        target=1e20,
        sweep=planned,
        runs=sweep[:1],
        approach=Parametric(),
        seconds=1e9,
    )
    for run in sweep[1:]:
        path = redraw(run)
    whole = fit(sweep, Parametric())

    assert path.read_text() == words(whole, predict(whole, flops=1e20))


def test_runs_that_end_close_together_are_drawn_once(planned, sweep, tmp_path):
    redraw = live_report(tmp_path / "page.html", target=1e20, sweep=planned, seconds=1e9)
    redraw(sweep[0])

    path = redraw(sweep[1])

    assert "1 of 28 runs" in said(path)


def test_without_a_sweep_runs_are_counted(tmp_path):
    redraw = live_report(tmp_path / "page.html", target=1e20, seconds=0)

    assert "1 run so far" in said(redraw(make_run(1e6, 2e7, 4.0)))


def test_a_page_that_fails_later_warns_and_does_not_end_the_training(planned, sweep, tmp_path):
    redraw = live_report(tmp_path / "deep" / "page.html", target=1e20, sweep=planned, seconds=0)
    (tmp_path / "deep" / "page.html").unlink()
    (tmp_path / "deep" / "page.html").mkdir()
    with pytest.warns(UserWarning, match="could not be drawn, and training goes on"):
        redraw(sweep[0])
