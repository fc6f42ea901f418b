"""Kinds of note on a law."""

from isoflop.notes.kind import Kind

__all__ = ["KINDS"]

KINDS = (
    Kind(
        "outlier",
        "law",
        "doubt",
        "*more than … standard deviations off the law of the others*",
        "look at these runs; the note gives the answer without them",
    ),
    Kind(
        "off-budget-curve",
        "law",
        "doubt",
        "*far off the curve of their budget*",
        "the default has left these runs out; find out what happened in them",
    ),
    Kind(
        "path-misses-minima",
        "law",
        "doubt",
        "*The path of the optimum misses minima of budgets*",
        (
            "train that budget's best sizes again with another seed; if they stay, its runs "
            "differ from the others"
        ),
    ),
    Kind(
        "no-power-law-yet",
        "law",
        "doubt",
        "*often does not follow a power law yet*",
        "read the interval of the loss as it stands; train larger models before relying on it",
    ),
    Kind(
        "waves",
        "law",
        "doubt",
        "*Near the optimum the losses leave the law in waves*",
        (
            "sizes next to each other are off alike: check the learning rate and the batch at "
            "each size"
        ),
    ),
    Kind(
        "unexplained-runs",
        "law",
        "doubt",
        "*that neither the law nor a smooth discrepancy explains*",
        "Kriging has left these runs out; find out what happened in them",
    ),
    Kind(
        "one-run-decides",
        "law",
        "doubt",
        "*One run moves the answer by itself*",
        "repeat it with another seed",
    ),
    Kind(
        "approaches-disagree",
        "law",
        "doubt",
        "*Approach 2 puts the best size at … this law at …*",
        "believe neither yet: add a budget, or look at the valleys",
    ),
    Kind(
        "break",
        "law",
        "doubt",
        "*The law breaks at the budget*",
        (
            "below it runs are of another regime, or were trained otherwise; fit the larger "
            "budgets alone"
        ),
    ),
    Kind(
        "changes-with-scale",
        "law",
        "doubt",
        "*The law changes with scale*",
        "the small runs are in another regime; drop them, or tune their learning rate",
    ),
    Kind(
        "correlated-residuals",
        "law",
        "doubt",
        "*Neighbouring runs miss the law in the same direction*",
        "the law is off by more than noise: use the default, whose interval allows for it",
    ),
    Kind(
        "misfit",
        "law",
        "doubt",
        "*The law misses the losses by about … beyond noise*",
        "look for what changes between the runs: learning rate, warm-up, batch",
    ),
    Kind(
        "exponent-outside",
        "law",
        "doubt",
        "*grows with FLOPs to the power … outside (0, 1)*",
        "add budgets or sizes; do not use the answer",
    ),
    Kind(
        "exponent-above-one",
        "law",
        "doubt",
        "*above 1, where no published law lies*",
        "the small runs may be in another regime",
    ),
    Kind(
        "no-irreducible-loss",
        "law",
        "doubt",
        "*The runs show no irreducible loss*",
        "nothing for N and D; do not rely on losses far beyond the runs",
    ),
    Kind(
        "irreducible-loss-unknown",
        "law",
        "doubt",
        "*The irreducible loss is hardly determined*",
        "do not rely on losses far beyond the runs; N and D suffer less",
    ),
    Kind(
        "at-bound",
        "law",
        "doubt",
        "*ended at the bound of its range*",
        "the runs do not determine it: do not extrapolate",
    ),
    Kind(
        "ill-conditioned",
        "law",
        "doubt",
        "*The fit is ill-conditioned*",
        "vary tokens per param more, or hold a number: `ChinchillaLaw(E=…)`",
    ),
    Kind(
        "rival-minima",
        "law",
        "doubt",
        "*of the solver's starts ended in the best minimum: it has rivals*",
        "different laws fit alike: add runs",
    ),
    Kind(
        "tokens-follow-params",
        "law",
        "doubt",
        "*Tokens follow from params in all runs*",
        "add runs of one size on different numbers of tokens; until then trust the given exponents",
    ),
    Kind(
        "not-converged",
        "law",
        "doubt",
        "*The solver did not converge*",
        "look at the runs; report it if they look right",
    ),
    Kind(
        "resamples-without-optimum",
        "law",
        "doubt",
        "*of the resamples have an optimum; the intervals are of those alone*",
        "the interval is too narrow: add runs",
    ),
    Kind(
        "thinned",
        "law",
        "info",
        (
            "*runs that lie nearest to the best loss at their compute and to the largest runs "
            "were used*"
        ),
        "nothing: more than 300 runs are thinned to those that count",
    ),
    Kind(
        "default-without-law",
        "law",
        "doubt",
        "*the answer is of Approach 3 alone, whose intervals take its law for true*",
        "look at the losses of the runs; do not trust the width of the intervals",
    ),
    Kind(
        "shared-exponents",
        "law",
        "info",
        "*The exponents are shared by … systems*",
        "nothing; to let each system have exponents of its own, fit it with `fit`",
    ),
    Kind(
        "unpaired",
        "law",
        "doubt",
        "*No configuration was trained in both systems*",
        "train both systems at the same sizes, tokens and budgets",
    ),
)
