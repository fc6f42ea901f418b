import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from made import SCRIPT, make_run, make_sweep, tiny_task

import isoflop
from isoflop.answers.predict import Estimate, predict
from isoflop.display.format import format_count, format_flops, format_number
from isoflop.errors import StoreError
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import SetAside, fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import PowerLaw
from isoflop.laws.frontier import FrontierLaw
from isoflop.notes.note import Note
from isoflop.reporting.page import render, report
from isoflop.reporting.reproduction import facts, formula
from isoflop.reporting.sections import MANY_ROWS
from isoflop.storage.tables import read_runs
from known_law import a_sweep


class Outline(HTMLParser):
    """Tags, attributes and visible words of a page; complains of tags that are not closed in order."""

    VOID = frozenset({"meta", "path", "use", "br", "input"})

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words, self._open = [], [], [], []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def page(fitted, answer):
    return render(fitted, answer)


def test_report_writes_one_file_and_gives_its_path(page, fitted, answer, tmp_path):
    path = report(fitted, answer, path=tmp_path / "deep" / "report.html")

    assert path == tmp_path / "deep" / "report.html"
    assert path.read_text() == page
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_a_store_error(words, fitted, answer, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="Cannot write"):
        report(fitted, answer, path=tmp_path / "file" / "report.html")


def test_the_answer_stands_first_with_its_intervals(page, answer):
    text = Outline(page).text
    first = text[: text.index("Why believe it")]

    assert (
        f"Train {format_count(answer.num_params.value)} params on {format_count(answer.num_tokens.value)} tokens."
        in first
    )
    for estimate in (answer.num_params, answer.num_tokens):
        assert (
            f"{format_count(estimate.low)} to {format_count(estimate.high)}, 90 % interval" in first
        )
    assert f"{format_number(answer.loss.low, 4)} to {format_number(answer.loss.high, 4)}" in first
    assert "times beyond the largest run" in first


def test_a_size_that_can_be_built_leads_the_answer(words, fitted, answer):
    sized = replace(
        answer, size=512, size_num_params=98_000_000, size_num_tokens=1.5e9, unit="byte"
    )

    assert "Train size 512, 98.0M params, on 1.50B bytes." in Outline(words(fitted, sized)).text


def test_an_answer_without_loss_band_or_regret_is_shown_without_them(words, fitted, answer):
    unknown = Estimate(math.nan, math.nan, math.nan)
    bare = Outline(
        words(fitted, replace(answer, loss=None, band=None, regret=unknown, extrapolation=0.0))
    ).text

    first = bare[: bare.index("Why believe it")]

    assert not any(word in first for word in ("waste", "1 % more compute", "Loss"))
    assert "The target lies within the compute of the runs." in bare


def test_a_tiny_waste_is_said_in_words(words, fitted, answer):
    sure = replace(answer, regret=Estimate(1e-9, 0.0, 1e-8))

    assert "expected to waste less than 0.01 % of the compute" in Outline(words(fitted, sure)).text


def test_every_note_of_the_answer_is_shown(words, fitted, answer):
    texts = ("The largest budget is one-sided.", "Two runs pull the answer.")
    notes = tuple(Note("high-loss", text) for text in texts)
    noted = replace(answer, notes=notes)

    text = Outline(words(fitted, noted)).text

    assert "The largest budget is one-sided." in text
    assert "Two runs pull the answer." in text


def test_an_answer_to_another_question_shows_the_compute_that_it_needs(words, fitted):
    wanted = predict(fitted, loss=2.5)
    needed = wanted.flops_needed

    assert (
        f"{format_flops(needed.low)} to {format_flops(needed.high)}, 90 % interval"
        in Outline(words(fitted, wanted)).text
    )


def test_an_answer_that_serves_from_finite_data_says_both_and_how_to_get_it_again(words, fitted):
    best = predict(fitted, flops=1e20, served_tokens=1e11, unique_tokens=1e9)
    shown = Outline(words(fitted, best)).text

    assert "Training and serving 100B tokens with" in shown
    assert "from 1.00B distinct ones" in shown
    times = format_number(best.serving.overtraining.value)
    assert (
        f"It trains {times} times the tokens per param of the compute-optimal run of the same loss"
        in shown
    )
    assert (
        "isoflop.predict(fit, flops=1e+20, served_tokens=100000000000.0, unique_tokens=1000000000.0)"
        in shown
    )
    assert "by the same law, with nothing served or repeated." in shown


def test_an_answer_without_notes_says_so(words, fitted, answer):
    assert (
        "None of isoflop's checks speaks against it."
        in Outline(words(fitted, replace(answer, notes=()))).text
    )


def test_the_check_on_the_held_out_budget_is_shown(page):
    assert (
        "Predicted from the smaller budgets alone, budget 3e+18 (3.0x beyond the rest): params off by"
        in Outline(page).text
    )


def test_nothing_is_fetched(page):
    outline = Outline(page)
    addresses = [
        value
        for _, name, value in outline.attributes
        if name in ("href", "src", "action", "xlink:href")
    ]

    assert "http" not in page
    assert "@import" not in page
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not {"link", "img", "iframe", "object"} & set(outline.tags)


@pytest.mark.parametrize("extras", [{"group": SCRIPT}, {"size": SCRIPT}])
def test_a_run_named_as_a_script_shows_as_text(alone, extras):
    fitted = fit(make_sweep(**extras), Parametric())
    page = render(fitted, predict(fitted, flops=1e20))

    assert SCRIPT not in page
    assert SCRIPT in Outline(page).text
    assert (
        Outline(page).tags.count("script") == 3
    )  # sorting, the numbers, the answers for another compute


def test_scripts_in_notes_units_reasons_and_sizes_show_as_text(alone, fitted, answer):
    aside = SetAside(make_run(1e6, 2e7, 4.0, status="failed"), reason=SCRIPT)
    page = render(
        replace(fitted, set_aside=(aside,)),
        replace(
            answer,
            notes=(Note("high-loss", SCRIPT),),
            unit=SCRIPT,
            size=SCRIPT,
            size_num_params=1,
            size_num_tokens=1.0,
        ),
    )

    assert SCRIPT not in page
    assert Outline(page).text.count(SCRIPT) >= 4


def test_the_page_is_good_html(page):
    outline = Outline(page)

    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert (
        outline.tags.count("h1") == outline.tags.count("main") == outline.tags.count("title") == 1
    )
    assert outline.tags.index("h1") < outline.tags.index("h2")
    names = [value for _, name, value in outline.attributes if name == "id"]
    assert len(names) == len(set(names))
    used = [value for _, name, value in outline.attributes if name == "aria-labelledby"]
    assert set(used) <= set(names)


def test_figures_are_vector_text_that_is_read_aloud(page):
    outline = Outline(page)

    assert (
        outline.tags.count("svg") == 7
    )  # curves, law, loss, approaches, waste, residuals, surface
    assert [
        value for tag, name, value in outline.attributes if tag == "svg" and name == "role"
    ] == ["img"] * 7
    assert "Best params and tokens against compute" in page
    assert "<style" not in page[page.index("<svg") :]


def test_every_colour_of_the_figures_has_its_stand_in_on_dark_paper(page):
    used = set(re.findall(r"var\((--c-[0-9a-f]{6})", page))
    dark = page[page.index("prefers-color-scheme: dark) { :root { --c-") :]

    assert used
    assert all(f"{name}: #" in dark for name in used)


def test_runs_without_budgets_still_make_a_page(sweep):
    fitted = fit(
        [make_run(run.num_params, run.num_tokens, run.loss) for run in sweep], Parametric()
    )
    outline = Outline(render(fitted, predict(fitted, flops=1e20)))

    assert outline.tags.count("svg") == 6
    assert "Budgets" not in outline.text
    assert "diamonds" not in outline.text


def test_a_budget_that_is_not_bracketed_says_why(words, sweep):
    fitted = fit([*sweep[:21], *sweep[24:]], Parametric())

    assert (
        "its minimum is not bracketed; add smaller sizes"
        in Outline(words(fitted, predict(fitted, flops=1e20))).text
    )


def test_runs_are_sortable_by_their_unrounded_values(page, fitted):
    values = [
        value
        for tag, name, value in Outline(page).attributes
        if tag == "td" and name == "data-value"
    ]

    assert str(fitted.runs[0].num_params) in values


def test_a_very_long_table_is_cut_and_counted(words, fitted, answer):
    many = replace(fitted, set_aside=tuple(SetAside(run, "too many") for run in fitted.runs * 50))

    assert (
        f"{len(fitted.runs) * 51 - MANY_ROWS} more runs are not shown."
        in Outline(words(many, answer)).text
    )


def test_the_runs_can_be_taken_from_the_page_without_loss(page, fitted, tmp_path):
    (link,) = [
        value for tag, name, value in Outline(page).attributes if tag == "a" and name == "href"
    ]
    path = tmp_path / "runs.csv"
    path.write_bytes(base64.b64decode(link.partition(",")[2]))

    assert read_runs(path)[: len(fitted.runs)] == list(fitted.runs)


def test_a_page_of_very_many_runs_does_not_carry_them(words, fitted, answer):
    many = replace(fitted, set_aside=tuple(SetAside(run, "too many") for run in fitted.runs * 200))

    assert "data:text/csv" in words(fitted, answer)
    assert "data:text/csv" not in words(many, answer)


def test_the_method_names_what_papers_leave_out(fitted):
    shown = facts(fitted)

    assert shown["FLOPs"] == "6·N·D, forward and backward"
    assert shown["Training"] == "batch size, learning rate, schedule and epochs not recorded"
    assert shown["Seeds"] == shown["Trained with"] == "not recorded"
    assert shown["Runs"] == "28 used, 1 set aside"
    assert "numpy" in shown["Fitted with"]


def test_the_method_tells_what_runs_recorded(fitted):
    spec = replace(fitted.runs[0].spec, batch=8, lr=0.001, seed=3, fingerprint="f", flops=9e16)
    run = replace(fitted.runs[0], spec=spec, flops=9e16, versions={"torch": "2.0"}, device="cpu")
    shown = facts(replace(fitted, runs=(run,)))

    assert (
        shown["Training"]
        == "batch size and learning rate recorded with each run; schedule and epochs not recorded"
    )
    assert (shown["Seeds"], shown["Trained with"]) == ("3", "torch 2.0 and cpu")
    assert shown["FLOPs"] == "counted, 0.900 to 0.900 times 6·N·D"


def test_the_hash_depends_on_what_was_measured_and_not_on_its_order(fitted):
    def digest(runs):
        return facts(replace(fitted, runs=tuple(runs)))["Hash of the runs"]

    changed = replace(fitted.runs[0], loss=9.0)

    assert digest(reversed(fitted.runs)) == digest(fitted.runs)
    assert digest((changed, *fitted.runs[1:])) != digest(fitted.runs)


def test_laws_are_written_as_formulas(sweep):
    chinchilla = Outline(
        formula(ChinchillaLaw(E=1.8172, A=477.84, B=2143.9, alpha=0.34731, beta=0.36718))
    ).text
    powers = Outline(formula(fit(sweep, IsoFLOP()).law)).text

    assert chinchilla == "L = 1.817 + 477.8 / N0.3473 + 2144 / D0.3672"
    assert powers.startswith("N = ")
    assert Outline(
        formula(FrontierLaw(PowerLaw(2.0, 0.5), PowerLaw(3.0, 0.5), PowerLaw(60.0, -0.08, 1.5)))
    ).text == ("N = 2.000 C0.5000D = 3.000 C0.5000L = 1.500 + 60.00 C−0.08000")
    assert "a smooth discrepancy" in Outline(formula(fit(sweep, Kriging()).law)).text
    assert (
        "around the largest runs, and a path that may bend" in Outline(formula(fit(sweep).law)).text
    )


def test_the_calls_that_gave_the_answer_can_be_run_again(page, fitted, answer, sweep):
    calls = Outline(page).text.split("Hash of the runs")[1]
    call = re.search(r"fit = (isoflop\.fit\(.*?\)) isoflop\.predict", calls)[1]

    assert eval(call, {"isoflop": isoflop, "runs": sweep}).law == fitted.law


def test_the_numbers_of_the_law_are_given_in_full(page, fitted):
    assert f"alpha {fitted.law.alpha}" in page


def test_the_same_answer_gives_the_same_page(page, fitted, answer):
    assert render(fitted, answer) == page


def test_estimates_of_other_levels_say_so(words, fitted, answer):
    half = replace(answer, level=0.5, num_params=Estimate(1e9, 0.9e9, 1.1e9))

    assert "900M to 1.10B, 50 % interval" in Outline(words(fitted, half)).text


def data_of(page):
    return json.loads(
        re.search(r'<script type="application/json" id="numbers">(.*?)</script>', page)[1]
    )


def test_the_table_of_the_page_holds_what_predict_says(page, fitted):
    known = data_of(page)

    for row in (0, 60, -1):
        answer = predict(fitted, flops=known["flops"][row])
        for column, estimate in (
            ("params", answer.num_params),
            ("tokens", answer.num_tokens),
            ("loss", answer.loss),
        ):
            shown = [part[row] for part in known[column]]
            assert shown == pytest.approx([estimate.value, estimate.low, estimate.high], rel=2e-3)


def test_no_text_of_a_user_leaves_the_numbers_of_the_page(alone, fitted, answer):
    bad = "</script><script>alert(1)</script><!--"
    named = tuple(replace(run, group=bad) for run in fitted.runs)
    page = render(replace(fitted, runs=named), replace(answer, unit=bad))

    assert data_of(page)["unit"] == bad
    assert bad not in page
    assert Outline(page).tags.count("script") == 3


def test_an_approach_without_a_loss_makes_a_page_without_one(sweep):
    fitted = fit(sweep, Envelope())
    page = render(fitted, predict(fitted, flops=1e20))

    assert data_of(page)["loss"] is None
    assert Outline(page).tags.count("svg") == 3  # curves, law, approaches


@pytest.fixture(scope="module")
def of_a_task(fitted):
    """A task, the answer in its sizes, and the page of both."""
    pytest.importorskip("torch")
    task = tiny_task()
    answer = predict(fitted, flops=1e13, task=task)
    return task, answer, render(fitted, answer, task=task)


def test_sizes_of_a_task_are_those_that_predict_builds(of_a_task, fitted):
    task, _, page = of_a_task
    known = data_of(page)

    def nearest(num_params):
        return min(known["sizes"], key=lambda size: abs(math.log(size[1] / num_params)))

    for row in (40, 90, 140):
        asked = predict(fitted, flops=known["flops"][row], task=task)
        name, num_params, per_token = nearest(known["params"][0][row])
        assert (name, num_params) == (str(asked.size), asked.size_num_params)
        assert known["flops"][row] / per_token == pytest.approx(asked.size_num_tokens, rel=1e-3)
        assert known["params"][0][row] == pytest.approx(asked.num_params.value, rel=2e-3)
        for end, value in ((1, asked.num_params.low), (2, asked.num_params.high)):
            assert known["params"][end][row] == pytest.approx(value, rel=0.03)


def test_the_page_says_one_thing_about_the_answer_wherever_it_does(of_a_task, words, fitted):
    _, answer, page = of_a_task
    near = f"{format_count(answer.band[0])} to {format_count(answer.band[1])}"
    assert near in page.partition("Doubt")[2]  # in the figure of the waste too
    costs = "a token costs what the runs record, not what is counted"
    assert costs in words(fitted, answer)
    assert costs not in page


def test_a_loss_that_rises_with_compute_leaves_the_waste_open_and_says_why(alone):
    random = np.random.default_rng(9)

    def noisy(run):
        decades = np.log10(run.flops / 1e18)
        away = np.log(run.num_params / (5e7 * 10 ** (decades / 2)))
        loss = 3 - 0.02 * decades + 0.1 * random.standard_normal() + 0.01 * away**2
        return replace(run, loss=float(loss))

    fitted = fit([noisy(run) for run in a_sweep()])
    answer = predict(fitted, flops=1e21)
    (note,) = [note for note in answer.notes if note.code == "waste-unknown"]

    assert math.isnan(answer.regret.value)
    assert answer.band is None
    assert "does not fall with compute at 1e+21 FLOPs" in note
    assert note in Outline(render(fitted, answer)).words
