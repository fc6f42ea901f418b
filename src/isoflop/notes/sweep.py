"""Kinds of note on the runs behind a fit."""

from isoflop.notes.kind import Kind

__all__ = ["KINDS"]

KINDS = (
    Kind(
        "not-bracketed",
        "sweep",
        "doubt",
        "*has its lowest loss at the … size … so its minimum is not bracketed*",
        "add the sizes it names, at that budget",
    ),
    Kind(
        "no-minimum",
        "sweep",
        "doubt",
        "*has no minimum (its curve bends down or is flat)*",
        "add sizes on both sides; look for runs that went wrong",
    ),
    Kind(
        "flat",
        "sweep",
        "doubt",
        "*is flat: its curve rises by less than twice the scatter of its losses*",
        "add sizes further away, or seeds",
    ),
    Kind(
        "few-sizes",
        "sweep",
        "doubt",
        "*sizes, and … needs …*; *sizes; 7 would show whether its minimum is real*",
        "add sizes to that budget",
    ),
    Kind(
        "few-loss-budgets",
        "sweep",
        "doubt",
        "*Approach 2 gives no loss from … budgets*",
        "add budgets up to four, or take the default approach",
    ),
    Kind(
        "two-budgets",
        "sweep",
        "doubt",
        "*There are 2 budgets only, so nothing checks that the optimum follows a power law*",
        "add a third",
    ),
    Kind(
        "narrow-ratio",
        "sweep",
        "doubt",
        (
            "*tokens per param; without a spread of 4x the effects of size and data cannot be "
            "told apart*"
        ),
        "add runs at other ratios",
    ),
    Kind(
        "seed-noise",
        "sweep",
        "doubt",
        "*The same run differs by … of its loss from seed to seed*",
        "train with more seeds, or evaluate on more held-out data",
    ),
    Kind(
        "few-on-hull",
        "sweep",
        "doubt",
        "*The hull touches … of the trained models only*",
        "add checkpoints of models of other sizes",
    ),
    Kind(
        "set-aside",
        "sweep",
        "doubt",
        "*set aside (…)*",
        (
            "look at the reason; to train a run again, call `isoflop rerun STORE` if it failed, "
            "else remove its folder, and then `train`"
        ),
    ),
    Kind(
        "set-aside-training",
        "sweep",
        "doubt",
        "*With the … set aside for how … trained*",
        'look at their curves on the page; `fit(runs, keep="all")` uses them',
    ),
    Kind(
        "copies",
        "sweep",
        "info",
        "*repeat another row in every number and count once*",
        "check how the table was made",
    ),
    Kind(
        "replicates",
        "sweep",
        "info",
        (
            "*independent configurations: … count as separate points and move together in the "
            "resamples*"
        ),
        "nothing: seeds and checkpoints are treated as they should be",
    ),
    Kind(
        "batch-with-params",
        "sweep",
        "info",
        "*The best batch depends on the params, too*",
        "nothing: the law in tokens alone is the published form; the note gives the other",
    ),
    Kind(
        "best-settings",
        "sweep",
        "info",
        "*rows sweep … at … sizes and numbers of tokens: each counts with its best*",
        "nothing; `fit_rates(runs)` gives the law of the best settings",
    ),
    Kind(
        "settings-at-edge",
        "sweep",
        "doubt",
        "*the best … is the smallest or the largest tried*",
        "sweep further out at those sizes: their loss could still fall",
    ),
    Kind(
        "unfinished-rows",
        "sweep",
        "doubt",
        "*rows of runs before their last are left out*",
        (
            "nothing where the rate decays over the whole run; else say how it went: a column "
            '`schedule`, or `read_runs(..., schedule="constant")`'
        ),
    ),
    Kind(
        "checkpoints-used",
        "sweep",
        "doubt",
        "*Rows of runs before their last are used, although their schedule is unknown*",
        'say how the rate went: a column `schedule`, or `read_runs(..., schedule="constant")`',
    ),
    Kind(
        "repeated-rows",
        "sweep",
        "doubt",
        "*rows repeat their data more than … times*",
        "nothing; `Parametric(DataConstrainedLaw())` fits what repeated data are worth",
    ),
    Kind(
        "high-loss",
        "sweep",
        "doubt",
        "*The lowest loss is …, too high for a mean per token in nats*",
        "give the log of a perplexity (`columns={'loss': 'log(ppl)'}`), or the mean of a sum",
    ),
    Kind(
        "above-chance",
        "sweep",
        "doubt",
        "*have losses above 12.5, worse than guessing*",
        "leave these runs out, or read the table with `vocabulary=`, which does it",
    ),
    Kind(
        "hardly-falls",
        "sweep",
        "doubt",
        "*The losses hardly fall with compute*",
        "check that the column is a loss, and that the runs were trained alike",
    ),
    Kind(
        "odd-flops",
        "sweep",
        "doubt",
        "*FLOPs are … times 6·N·D at the median, as if …*",
        "correct the FLOPs or the tokens; leave the column out for 6·N·D",
    ),
    Kind(
        "flops-not-of-params",
        "sweep",
        "doubt",
        "*FLOPs do not follow from params*",
        "fit each family by itself: `read_groups(table, by=…)`, then `fit` or `fit_systems`",
    ),
    Kind(
        "mixed-units",
        "sweep",
        "doubt",
        "*losses of budget … seem to be in bits and the others in nats*",
        "convert them to the unit of the others: bits are 1.443 times nats",
    ),
    Kind(
        "replicates-differ",
        "sweep",
        "doubt",
        "*Rows of the same params and tokens differ by … of their loss, and seeds by … at most*",
        "find the column that says how they differ, and fit each kind: `read_groups(table, by=…)`",
    ),
    Kind(
        "held-out-miss",
        "sweep",
        "doubt",
        "*The largest budget contradicts the smaller ones*",
        "look for what changes at that budget: the unit of the loss, the data, the recipe",
    ),
    Kind(
        "recorded-flops",
        "sweep",
        "info",
        "*FLOPs are counted as the runs record them*",
        "nothing: the answer is under the runs' own FLOPs, not 6ND",
    ),
    Kind(
        "table-thinned",
        "sweep",
        "info",
        "*runs represent all of them, which is as precise and far faster*",
        "nothing: more than 2,000 runs are represented by a few hundred of them",
    ),
    Kind(
        "table-columns",
        "sweep",
        "info",
        "*Columns of the table were read as follows: …*",
        "check them; name a column that was read wrongly with `columns=`",
    ),
    Kind(
        "table-numbers",
        "sweep",
        "info",
        "*Numbers of the table were read as follows: …*",
        "check them; write the table without signs between thousands if one was read wrongly",
    ),
    Kind(
        "table-sheet",
        "sweep",
        "info",
        "*The sheet … was read, and not …*",
        "name another sheet after the file, as in `runs.xlsx#Sheet2`",
    ),
    Kind(
        "early-end",
        "sweep",
        "doubt",
        "*The loss is from step … of …*",
        (
            "evaluate at the end of the run; export the whole history where a part of it was "
            "exported"
        ),
    ),
    Kind(
        "resumed-runs",
        "sweep",
        "info",
        "*resumed; the parts are read as one run each*",
        "nothing; where they are separate runs, give each an id of its own",
    ),
    Kind(
        "table-6nd",
        "sweep",
        "info",
        (
            "*FLOPs are 6·N·D in every row: attention and other work beyond the weights is not "
            "counted*"
        ),
        "give the FLOPs that were counted, where they are known",
    ),
    Kind(
        "table-units",
        "sweep",
        "doubt",
        "*FLOPs are … times 6·N·D at the median*",
        "check the units of params, tokens and FLOPs",
    ),
)
