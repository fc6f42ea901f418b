"""Figures of a fit, for papers and for the page.

Each function takes `ax` and returns it; without one it creates its own.
"""

from isoflop.reporting.figures import (
    collapse_plot,
    isoflop_curves,
    loss_frontier,
    loss_surface,
    optimum_law,
    regret_curve,
    residuals,
    side_by_side,
    valleys_of,
)

__all__ = [
    "collapse_plot",
    "isoflop_curves",
    "loss_frontier",
    "loss_surface",
    "optimum_law",
    "regret_curve",
    "residuals",
    "side_by_side",
    "valleys_of",
]
