"""Tables that people and programs might hand over: a sound one, the same in other notations, and spoilt ones."""

import csv
import io
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from isoflop.laws.additive import ChinchillaLaw

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
FIELDS = ("params", "tokens", "flops", "compute_budget", "loss")


@dataclass(frozen=True)
class Made:
    """A table as text: its header, its rows of cells, and how it is written."""

    header: list[str]
    rows: list[list[str]]
    delimiter: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    tail: bytes = b""
    rates: dict[str, str] = field(default_factory=dict)

    def bytes(self):
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.newline)
        writer.writerows([self.header, *self.rows])
        return text.getvalue().encode(self.encoding, errors="replace") + self.tail

    def write(self, folder, name="runs.csv"):
        path = folder / name
        path.write_bytes(self.bytes())
        return path


def numbers(seed=0, budgets=(1e18, 3e18, 1e19), sizes=6, noise=0.002):
    """Runs of a law: params and tokens in whole thousands and millions, so that every notation holds them exactly."""
    random = np.random.default_rng(seed)
    found = []
    for budget in budgets:
        for N in LAW.optimum(budget)[0] * np.geomspace(0.25, 4, sizes):
            N = round(float(N), -4)
            D = round(budget / 6 / N, -6)
            loss = round(float(LAW.loss(N, D) * np.exp(noise * random.standard_normal())), 4)
            found.append(
                {
                    "params": N,
                    "tokens": D,
                    "flops": 6 * N * D,
                    "compute_budget": budget,
                    "loss": loss,
                }
            )
    return found


def plain(runs, fields=FIELDS):
    """The runs as programs write them."""
    return Made(list(fields), [[repr(run[name]) for name in fields] for run in runs])


def grouped(value, sign):
    return f"{round(value):,}".replace(",", sign)


def lettered(value):
    for unit, letter in ((1e18, "E"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.12g}{letter}"
    return repr(value)


NOTATIONS = {
    "plain": repr,
    "digits": lambda value: f"{value:.0f}",
    "commas": lambda value: grouped(value, ","),
    "dots": lambda value: grouped(value, "."),
    "spaces": lambda value: grouped(value, " "),
    "hard spaces": lambda value: grouped(value, "\u00a0"),
    "narrow spaces": lambda value: grouped(value, "\u202f"),
    "apostrophes": lambda value: grouped(value, "'"),
    "underscores": lambda value: grouped(value, "_"),
    "letters": lettered,
    "small letters": lambda value: lettered(value).lower() if value < 1e18 else lettered(value),
    "blanks": lambda value: f"  {value!r} ",
    "exponent": lambda value: f"{value:.12e}",
}
UNITS = {"": 1.0, "_K": 1e3, " (M)": 1e6, "_millions": 1e6, "_B": 1e9, " (1e9)": 1e9}


def decimal_comma(text):
    """The same number as a European spreadsheet writes it."""
    return text.translate(str.maketrans(".,", ",."))


WILD = [
    "", "NA", "n/a", "inf", "-inf", "nan", "0", "-5", "1e400", "1e-310", "5e-324", "1,300", "1.300", "200.000",
    "1.300.000", "1 300 000", "1_300_000", "1'300'000", "1\u00a0300\u00a0000", "\u22125", "\uff5e70M", "70 B params",
    "5%", "$5", "350m", "0.35B", "1e9", "\uff11\uff12\uff13", "\u0663\u0664", "=1+1", "x" * 1000, "\x00",
    "\x1b[31mred", '"', "a\nb", "1,3", "1e9 ", "1.3e", "--", "True", "None", "1/3", "0x10", "1e5e5", "1.2.3", "1,,3",
    "1_3", "1e308", "1e-30", "9" * 400, "1,30,000", "1.300,5", "1,300.5", "\u202e12", "1e+", "e", ".", ",", "'1300",
    "1.3×10^9", "1.3E+09", "0,125", "0.125", "12.345", "5", "3", "305", "-2.7e8",
]  # fmt: skip
FACTORS = [10.0**k for k in (-18, -12, -9, -6, -3, 3, 6, 9, 12, 18)]
NAMES = [
    "N", "D", "C", "L", "Params (M)", "tokens_B", "params_K", "loss", "", " ", "params", "tokens", "val_loss", "accuracy",
    "x" * 5000, "a\nb", "\x1b[2J", "parms", "FLOPs (1e18)", "status", "run", "size", "loss_stderr", "\ufeffparams", "PARAMS",
]  # fmt: skip


@st.composite
def spoilt(draw):
    """A sound table after one to four changes that people, programs or bad luck make."""
    made = plain(
        numbers(draw(st.integers(0, 3)), sizes=draw(st.integers(1, 7))),
        draw(st.sampled_from(COLUMNS)),
    )
    for _ in range(draw(st.integers(1, 4))):
        made = draw(st.sampled_from(CHANGES))(draw, made)
    return made


COLUMNS = [
    FIELDS, ("params", "tokens", "loss"), ("params", "flops", "loss"), ("params", "compute_budget", "loss"),
    ("params", "tokens", "flops", "loss"), ("compute_budget", "loss", "params", "tokens"),
]  # fmt: skip


def _at(draw, made):
    return draw(st.integers(0, max(len(made.rows) - 1, 0))), draw(
        st.integers(0, len(made.header) - 1)
    )


def _with_cells(made, change):
    rows = [[change(r, c, cell) for c, cell in enumerate(row)] for r, row in enumerate(made.rows)]
    return replace(made, rows=rows)


def _wild_cell(draw, made):
    at, cell = (
        _at(draw, made),
        draw(st.sampled_from(WILD) | st.text(max_size=12).filter(_is_written)),
    )
    return _with_cells(made, lambda r, c, old: cell if (r, c) == at else old)


def _is_written(text):
    return not any(0xD800 <= ord(letter) < 0xE000 for letter in text)


def _wild_column(draw, made):
    _, column = _at(draw, made)
    cells = draw(st.lists(st.sampled_from(WILD), min_size=1, max_size=3))
    return _with_cells(made, lambda r, c, old: cells[r % len(cells)] if c == column else old)


def _number(cell, change):
    try:
        return repr(change(float(cell)))
    except (ValueError, OverflowError):
        return cell


def _scaled_cell(draw, made):
    at, factor = _at(draw, made), draw(st.sampled_from(FACTORS))
    return _with_cells(
        made, lambda r, c, old: _number(old, lambda x: x * factor) if (r, c) == at else old
    )


def _scaled_column(draw, made):
    (_, column), factor = _at(draw, made), draw(st.sampled_from(FACTORS))
    return _with_cells(
        made, lambda r, c, old: _number(old, lambda x: x * factor) if c == column else old
    )


def _notation(draw, made):
    (row, column), one = _at(draw, made), draw(st.booleans())
    write = draw(st.sampled_from([*NOTATIONS.values()]))
    return _with_cells(
        made,
        lambda r, c, old: _renoted(old, write) if c == column and (r == row or not one) else old,
    )


def _renoted(cell, write):
    try:
        return write(float(cell))
    except (ValueError, OverflowError):
        return cell


def _comma(draw, made):
    return replace(_with_cells(made, lambda r, c, old: decimal_comma(old)), delimiter=";")


def _header(draw, made):
    _, column = _at(draw, made)
    names = [*made.header]
    names[column] = draw(st.sampled_from(NAMES))
    return replace(made, header=names)


def _drop_rows(draw, made):
    return replace(made, rows=made.rows[: draw(st.integers(0, len(made.rows)))])


def _same_rows(draw, made):
    return replace(made, rows=[*made.rows, *made.rows[: draw(st.integers(1, 20))]])


def _same_value(draw, made):
    _, column = _at(draw, made)
    value = draw(
        st.sampled_from([*WILD, *(row[column] for row in made.rows[:2] if column < len(row))])
    )
    return _with_cells(made, lambda r, c, old: value if c == column else old)


def _ragged(draw, made):
    row, _ = _at(draw, made)
    rows = [
        cells[:-1] if draw(st.booleans()) and r == row else cells
        for r, cells in enumerate(made.rows)
    ]
    return replace(made, rows=rows)


def _written(draw, made):
    return replace(
        made,
        delimiter=draw(st.sampled_from([",", "\t", ";", "|", " "])),
        encoding=draw(
            st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"])
        ),
        newline=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        tail=draw(
            st.sampled_from(
                [b"", b"\xff", b"\x00\x00", b'"', b",,,\n", b"total,1,2,3\n", b"\n\n\n"]
            )
        ),
    )


def _more_columns(draw, made):
    number, cell = draw(st.sampled_from([1, 30])), draw(st.sampled_from(WILD))
    names = [f"{draw(st.sampled_from(NAMES))} {k}" for k in range(number)]
    return replace(
        made, header=[*made.header, *names], rows=[[*row, *[cell] * number] for row in made.rows]
    )


def _one_column(draw, made):
    _, column = _at(draw, made)
    return replace(
        made, header=[made.header[column]], rows=[row[column : column + 1] for row in made.rows]
    )


CHANGES = [
    _wild_cell, _wild_cell, _wild_column, _scaled_cell, _scaled_cell, _scaled_column, _notation, _notation, _comma,
    _header, _drop_rows, _same_rows, _same_value, _ragged, _written, _more_columns, _one_column,
]  # fmt: skip
