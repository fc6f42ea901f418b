import pytest
from made import make_run, make_sweep

from isoflop.answers import by_approach
from isoflop.answers.predict import predict
from isoflop.display.html import Html
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.reporting import page_figures as drawings
from isoflop.reporting.page import render

FIGURES = (
    "isoflop_curves", "optimum_law", "loss_frontier", "regret_curve", "residuals", "loss_surface", "collapse_plot",
    "side_by_side",
)  # fmt: skip


@pytest.fixture(scope="session")
def sweep():
    return make_sweep()


@pytest.fixture(scope="session")
def fitted(sweep):
    return fit([*sweep, make_run(1e7, 1e9, float("nan"), budget=1e17)], Parametric())


@pytest.fixture(scope="session")
def fitted_by_valleys(sweep):
    return fit(sweep, IsoFLOP())


@pytest.fixture(scope="session")
def answer(fitted):
    return predict(fitted, flops=1e20)


@pytest.fixture
def alone(monkeypatch):
    """Pages ask no other approach: for tests of what the answer's own brings."""
    monkeypatch.setattr(by_approach, "APPROACHES", ())


@pytest.fixture
def words(monkeypatch, alone):
    """`render` without its figures, which other tests look at: for what the sections say."""
    monkeypatch.setattr(drawings, "inline_svg", lambda ax, name, label: Html(""))
    for name in FIGURES:
        monkeypatch.setattr(drawings, name, lambda *arguments, **options: None)
    monkeypatch.setattr(drawings, "_points", lambda ax, found: [])
    return render
