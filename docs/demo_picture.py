"""The picture of the demo's answer, on light and on dark paper: `make picture`.

Left, the IsoFLOP curves of the demo's runs, which `make demo` has trained; right, the law of the
best size and the answer.
"""

import sys
from io import StringIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

import isoflop
from isoflop import figures
from isoflop.reporting.colours import DARK, ramp

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from python_source_gpt import BUDGETS, STORE, TARGET, demo_task  # noqa: E402


def drawn(fit: isoflop.Fit, answer: isoflop.Optimum) -> str:
    """The figure on light paper as an SVG, the same text each time."""
    figure = Figure(figsize=(10, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    figures.isoflop_curves(fit, left)
    figures.optimum_law(fit, answer, right)
    figure.get_layout_engine().set(wspace=0.06)
    text = StringIO()
    with rc_context({"svg.hashsalt": "demo"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def on_dark(svg: str, num_budgets: int) -> str:
    """The same with each colour replaced by its counterpart for dark paper."""
    pairs = {
        **DARK,
        **dict(zip(ramp(num_budgets), ramp(num_budgets, dark=True), strict=True)),
    }
    for light, dark in pairs.items():
        svg = svg.replace(light, dark)
    return svg


def main() -> None:
    runs = isoflop.read_runs(STORE)
    # but for the one of a fourth budget, which came after the answer
    fit = isoflop.fit(
        run for run in runs if run.budget in BUDGETS or run.spec.checked_lr
    )
    light = drawn(fit, isoflop.predict(fit, flops=TARGET, task=demo_task()))
    for name, svg in (("light", light), ("dark", on_dark(light, len(BUDGETS)))):
        (ROOT / f"docs/_static/demo-{name}.svg").write_text(svg)


if __name__ == "__main__":
    main()
