"""What was tried in the cells of a tuning, as a table, and notes on cells that found no best."""

from collections.abc import Iterator, Sequence

from isoflop.display.format import align_columns, format_count, format_number, format_percent
from isoflop.fitting.noisy_rule import BestSetting
from isoflop.notes.note import Note
from isoflop.training.tuning_search import Cell

__all__ = ["cells_table", "edge_notes"]


def edge_notes(cells: Sequence[Cell], best: Sequence[BestSetting], setting: str) -> Iterator[Note]:
    """Notes on cells whose best value may be another one than those tried."""
    for cell, one in zip(cells, best, strict=True):
        if edge := _edge(cell, one):
            value = cell.lowest.value if edge == "edge" else one.value
            where = "at the edge of" if edge == "edge" else "beyond"
            yield Note(
                "tuned-at-edge",
                f"The best {setting} of size {cell.place.sized.size} on "
                f"{format_count(cell.place.num_tokens)} tokens lies {where} the values tried "
                f"({format_number(value, 2)}): allow a larger share, or start from a better rule.",
            )


def _edge(cell: Cell, best: BestSetting) -> str:
    """Where the lowest loss or the best value is not among the values tried; "" for inside."""
    if not cell.is_inside:
        return "edge"
    is_among = cell.first[0].value < best.value < cell.first[-1].value
    return "" if is_among else "beyond"


def cells_table(cells: Sequence[Cell], best: Sequence[BestSetting], setting: str) -> str:
    """One row for each cell."""
    header = (
        "size",
        "params",
        "tokens",
        f"{setting} tried",
        "best",
        "known to (90 %)",
        "lowest loss",
        "twice as high costs",
    )
    return align_columns([header, *map(_row, cells, best)])


def _row(cell: Cell, best: BestSetting) -> tuple[str, ...]:
    return (
        str(cell.place.sized.size),
        *map(format_count, cell.at),
        f"{format_number(cell.first[0].value, 2)} to {format_number(cell.first[-1].value, 2)}",
        format_number(best.value, 2) + (f" ({edge})" if (edge := _edge(cell, best)) else ""),
        f"×/÷{format_number(best.factor_90, 2)}",
        format_number(cell.lowest.loss, 4),
        format_percent(best.cost(2 * best.value)),
    )
