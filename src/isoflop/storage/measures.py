"""What a column's name says that it measures: a loss, a perplexity, or a score that rises."""

import re
from shlex import quote

from isoflop.display.format import one_line
from isoflop.errors import DataError

__all__ = ["PERPLEXITY", "is_name_of", "plain_name", "refuse_measure"]

# Prefixes of trackers: config.n_params of W&B, params.n_params and metrics.eval_loss of MLflow.
_PREFIX = re.compile(r"(config|summary|params|metrics|hparams?)[./]", re.IGNORECASE)

PERPLEXITY = re.compile(r"(^|_)(ppl|perplexity)($|_)")
_SCORE = re.compile(
    r"(^|_)(acc|accuracy|f1|bleu|rouge|auc|auroc|iou|miou|map|exact_match|pass_at_1|score)($|_)"
)
_ERROR = re.compile(r"(^|_)(loss|nll|error|err|entropy|ce|xent|bpb|bits)($|_)")


def refuse_measure(name: str) -> None:
    """Raise DataError for a column whose name says that it is no loss, with the conversion."""
    plain, short = plain_name(name), one_line(name, 40)
    if _ERROR.search(plain):
        return
    if PERPLEXITY.search(plain):
        what, conversion = "a perplexity", f"log({short})"
    elif _SCORE.search(plain):
        what, conversion = "a score, which rises", f"1 - {short}"
    else:
        return
    raise DataError(
        f"The loss must be a mean that falls as models improve, but {short!r} is named as {what}; "
        f"give columns={{'loss': {conversion!r}}} (--column {quote(f'loss={conversion}')})."
    )


def is_name_of(column: str, name: str) -> bool:
    """Whether two names differ only in a tracker's prefix, in case and in punctuation."""
    return plain_name(column) == plain_name(name)


def plain_name(name: str) -> str:
    """A column's name for comparison: without a tracker's prefix, in lower case."""
    bare = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
    return re.sub(r"[^a-z0-9]+", "_", bare.lower()).strip("_")
