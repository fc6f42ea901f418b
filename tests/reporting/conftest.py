import pytest
from made import make_run, make_sweep

from isoflop.answers.predict import predict
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit


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
