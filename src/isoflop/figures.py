"""Figures of a fit, for papers and for the page.

Each function takes `ax` and returns it; without one it creates its own. Figures only draw: the
numbers come from `fitting`, `predict` and `frontier`.
"""

from isoflop.reporting.figures.approaches import side_by_side
from isoflop.reporting.figures.collapse import collapse_plot
from isoflop.reporting.figures.curves import isoflop_curves, valleys_of
from isoflop.reporting.figures.law import loss_frontier, optimum_law
from isoflop.reporting.figures.residuals import residuals
from isoflop.reporting.figures.surface import loss_surface
from isoflop.reporting.figures.waste import regret_curve

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
