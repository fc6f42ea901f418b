from dataclasses import replace
from pathlib import Path

import pytest
from browser import Watched, browser
from made import SCRIPT, make_sweep

from isoflop.answers.predict import predict
from isoflop.display.format import format_count, format_number
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.reporting.page import report

AXE = [Path(folder) / "axe-core/axe.min.js" for folder in ("node_modules", "../node_modules")]


def value_of(count):
    return float(count[:-1]) * {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[count[-1]]


@pytest.fixture(scope="module")
def kriged(sweep):
    return fit(sweep)


@pytest.fixture(scope="module")
def chromium():
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def path(kriged, tmp_path_factory):
    return report(
        kriged, predict(kriged, flops=1e20), path=tmp_path_factory.mktemp("page") / "report.html"
    )


@pytest.fixture
def opened(chromium, path):
    watched = Watched(chromium, path)
    yield watched
    watched.context.close()


@pytest.mark.parametrize(
    ("width", "dark", "flops"), [(400, False, 3e18), (900, True, 2.5e19), (1400, False, 7e20)]
)
def test_the_page_answers_for_another_compute_as_predict_does(
    chromium, path, kriged, width, dark, flops
):
    watched = Watched(chromium, path, width=width, dark=dark)
    watched.page.fill("#target", f"{flops:g}")
    answer, shown = predict(kriged, flops=flops), watched.shown()

    assert shown["Params"][0] == format_count(answer.num_params.value)
    assert shown["Tokens"][0] == format_count(answer.num_tokens.value)
    assert shown["Loss"][0] == format_number(answer.loss.value, 4)
    assert value_of(shown["Params"][1].split(" to ")[0]) == pytest.approx(
        answer.num_params.low, rel=0.01
    )
    assert value_of(shown["Tokens"][1].split(" to ")[1].split(",")[0]) == pytest.approx(
        answer.num_tokens.high, rel=0.01
    )
    assert watched.faults == []
    assert watched.requests == [path.as_uri()]
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    watched.context.close()


def test_slider_and_field_move_each_other_and_the_marks(opened):
    page = opened.page
    assert page.locator("svg.overlay .dot").count() == 0
    page.focus("#slider")

    page.keyboard.press("ArrowLeft")

    assert page.input_value("#target") != "1e+20"
    assert page.get_attribute("#slider", "aria-valuetext") == f"{page.input_value('#target')} FLOPs"
    assert page.locator("svg.overlay .dot").count() == 3
    page.click("#back")
    assert page.input_value("#target") == "1e+20"
    assert page.locator("svg.overlay .dot").count() == 0


def test_a_compute_out_of_reach_or_no_number_is_marked_and_changes_nothing(opened):
    before = opened.shown()
    for wrong in ("1e40", "many", ""):
        opened.page.fill("#target", wrong)

        assert opened.page.get_attribute("#target", "aria-invalid") == "true"
        assert opened.shown() == before


def test_a_compute_below_the_runs_is_told_from_one_among_them(opened, kriged):
    for flops, words in (
        (kriged.smallest / 1.3, "1.3 times below the smallest run."),
        (kriged.smallest * 1.3, "Within the compute of the runs."),
        (kriged.largest * 1.3, "1.3 times beyond the largest run."),
    ):
        opened.page.fill("#target", f"{flops!r}")

        assert words in opened.page.inner_text("#what-if-more")


def test_runs_can_be_pointed_at_and_walked_with_the_keyboard(opened, kriged):
    page, run = opened.page, min(kriged.runs, key=lambda run: run.flops)
    assert page.locator("circle.run").count() == len(kriged.runs)
    page.locator("circle.run").first.hover()
    assert f"loss {format_number(run.loss, 4)}" in page.inner_text(".tip")

    page.locator("circle.run").first.focus()
    first = page.inner_text(".tip")
    page.keyboard.press("ArrowRight")

    assert page.inner_text(".tip") != first
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()


def test_a_budget_can_be_hidden_and_shown(opened):
    page = opened.page
    curve = page.locator('[id="curves-budget-0-o"]')
    page.locator("#switches input").first.uncheck()

    assert curve.is_hidden()
    assert page.locator("circle.run:visible").count() == 21
    page.locator("#switches input").first.check()
    assert curve.is_visible()


def test_a_press_on_a_heading_sorts_the_runs(opened, kriged):
    table = opened.page.locator("table", has=opened.page.locator("th button"))
    for direction in (1, -1):
        table.locator("th button", has_text="loss").click()
        values = table.locator("tbody tr td:last-child").evaluate_all(
            "cells => cells.map(cell => cell.dataset.value)"
        )

        assert [float(value) for value in values] == sorted(run.loss for run in kriged.runs)[
            ::direction
        ]


def test_scripts_in_names_and_units_are_shown_and_not_obeyed(chromium, tmp_path):
    fitted = fit(make_sweep(group=SCRIPT, size="</script><script>alert(2)</script>"), Parametric())
    named = replace(predict(fitted, flops=1e20), unit=SCRIPT)
    path = report(fitted, named, path=tmp_path / "report.html")
    watched = Watched(chromium, path)
    asked = []
    watched.page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    watched.page.reload()
    watched.page.locator("circle.run").first.hover()

    assert asked == watched.faults == []
    assert SCRIPT in watched.page.inner_text(".tip")
    assert SCRIPT.capitalize() + "s" in watched.shown()
    watched.context.close()


def test_nothing_bars_readers_who_use_a_keyboard_or_a_screen_reader(chromium, path):
    axe = next((found for found in AXE if found.exists()), None)
    if axe is None:
        pytest.skip("axe-core is not installed (npm install axe-core)")
    for dark in (False, True):
        watched = Watched(chromium, path, dark=dark)
        watched.page.add_script_tag(path=str(axe))
        found = watched.page.evaluate("axe.run()")["violations"]

        assert [
            (fault["id"], fault["impact"])
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ] == []
        watched.context.close()


def test_the_page_prints_without_its_controls(opened):
    opened.page.emulate_media(media="print")

    assert opened.page.locator("#what-if").is_hidden()
    assert opened.page.locator("#switches").is_hidden()
    assert len(opened.page.pdf()) > 20_000


def test_the_page_is_small(path):
    assert path.stat().st_size < 600_000
