"""How far into its run a logged quantity goes."""

import numpy as np

from isoflop.storage.readers.tracked import Series, Span

__all__ = ["reach"]

_AT_END = 0.9
"""Share of a run's time from which a value is one of its end: what follows takes time as well."""


def reach(series: Series, span: Span) -> float:
    """Share of the run after which the last value was logged; 1 at the end.

    Some trackers let each quantity count its own steps, so that a loss may be logged by epoch, or
    once and without a step. Where a quantity has every whole step, and times are known, the time of
    its last value counts as well.
    """
    share = float(series.steps[-1]) / span.last if span.last > 0 else 1.0
    if series.times is None or span.times is None or not _may_be_epochs(series):
        return share
    begin, end = span.times
    by_time = (float(series.times[-1]) - begin) / (end - begin) if end > begin else 1.0
    return 1.0 if by_time >= _AT_END else max(share, by_time)


def _may_be_epochs(series: Series) -> bool:
    return len(series.steps) < 2 or float(np.median(np.diff(series.steps))) == 1.0
