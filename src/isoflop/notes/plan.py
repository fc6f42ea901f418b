"""Kinds of note on a plan."""

from isoflop.notes.kind import Kind

__all__ = ["KINDS"]

KINDS = (
    Kind(
        "centre-outside-sizes",
        "plan",
        "doubt",
        "*no size on one side of … where the optimum is guessed to lie*",
        ("allow smaller or larger sizes, or accept that this budget's valley may not be bracketed"),
    ),
    Kind(
        "memory-exceeded",
        "plan",
        "doubt",
        "*The largest run needs about … but this machine's device has …*",
        "lower the top budget, or train elsewhere",
    ),
    Kind(
        "micro-batches",
        "plan",
        "info",
        "*its batches are taken in parts*",
        "nothing: the result is the same to rounding, a little slower",
    ),
    Kind(
        "size-left-out-memory",
        "plan",
        "doubt",
        "*Size … is left out: it needs … GB, but … has …*",
        "name larger hardware: `plan(hardware=…)`; or lower the top budget",
    ),
    Kind(
        "size-left-out-error",
        "plan",
        "info",
        "*Size … is left out: a training step of it raised …*",
        "nothing where the class does not support that size; else mend the model",
    ),
    Kind(
        "extended-at-edge",
        "plan",
        "info",
        "*has its lowest loss at the edge: sizes beyond it are added*",
        "train the plan: its new runs bracket the minimum",
    ),
    Kind(
        "other-task-runs",
        "plan",
        "info",
        "*… of the runs so far are of another task and are left out*",
        "nothing; to use them, plan with the task as it was when they were trained",
    ),
    Kind(
        "finished",
        "plan",
        "info",
        "*The sweep is finished*",
        (
            "fit the runs; the note says whether the spend is used or the next stage is not worth"
            " its cost"
        ),
    ),
    Kind(
        "small-models",
        "plan",
        "doubt",
        "*models below … often do not follow a power law yet*",
        "nothing for the best size; expect a wide interval of the loss",
    ),
    Kind(
        "no-law-expected",
        "plan",
        "doubt",
        "*these runs are not expected to show a law*",
        "plan more budgets or sizes, or spend more",
    ),
    Kind(
        "mfu-assumed",
        "plan",
        "info",
        "*No MFU was given, so … is assumed*",
        'say what your training makes of the peak: `"8xH100 for 3 days at 40% MFU"`',
    ),
    Kind(
        "repeated-data",
        "plan",
        "doubt",
        "*Runs take up to … passes over the data; beyond 4, repeated … teach less*",
        "bring more data, or read the answer as one for repeated data",
    ),
    Kind(
        "few-flops-counted",
        "plan",
        "doubt",
        "*Counted FLOPs per token are only … of 6 x the params in matrix products*",
        (
            "a fused layer was missed: give `Task(flops_per_token=)`; or experts idle: give the "
            "model `num_active_params()`"
        ),
    ),
    Kind(
        "flops-assumed",
        "plan",
        "doubt",
        "*FLOPs of this model are taken as … since …*",
        "give `Task(flops_per_token=)`",
    ),
    Kind(
        "uncounted-operator",
        "plan",
        "doubt",
        "*FLOPs of … are not counted, for lack of a formula*",
        (
            "register a formula, or give `Task(flops_per_token=)`; nothing where it multiplies no"
            " matrices"
        ),
    ),
    Kind(
        "batch-flops-uncertain",
        "plan",
        "doubt",
        "*FLOPs of a batch of size … are known to … only*",
        "nothing, if that is near enough; else give `Task(flops_per_token=)`",
    ),
    Kind(
        "mixed-shapes",
        "plan",
        "doubt",
        "*Sizes mix shapes: …*",
        (
            "a larger size must be larger in each part, or its loss tells of its shape; give "
            "`sizes=` that grow together"
        ),
    ),
    Kind(
        "token-rule",
        "plan",
        "info",
        "*One … is …: an example has …*",
        "check that this is what your loss averages over; else give `Task(count_tokens=)`",
    ),
    Kind(
        "padded-batches",
        "plan",
        "doubt",
        "*a … costs … times as much in batches of … examples*",
        (
            "sort examples of like length into batches of your own, or leave it: the plan counts "
            "the padding"
        ),
    ),
    Kind(
        "few-steps",
        "plan",
        "doubt",
        "*for fewer than … steps, which teach little*",
        "raise the budget, or take smaller batches",
    ),
    Kind(
        "size-left-out-budget",
        "plan",
        "info",
        "*left out at budget …*",
        "nothing, or raise the budget",
    ),
    Kind(
        "centred-on-guess",
        "plan",
        "info",
        "*Sizes are centred on a guess, since the earlier runs show no law*",
        "nothing: the next plan is centred on these runs",
    ),
    Kind(
        "centred-on-runs",
        "plan",
        "info",
        "*Sizes are centred on the optimum that the earlier runs show*",
        "nothing",
    ),
    Kind(
        "edge-not-extended",
        "plan",
        "doubt",
        "*has its lowest loss at the edge: …*; *no size beyond it can be added*",
        "allow more sizes, or accept that this budget has no minimum",
    ),
    Kind(
        "failed-not-planned",
        "plan",
        "doubt",
        "*not planned again; leave … out of runs= to try … again*",
        "find out why they failed; leave them out of `runs=` to try again",
    ),
    Kind(
        "repeated-seeds",
        "plan",
        "info",
        "*is trained with … seeds, to measure the noise*",
        "nothing",
    ),
    Kind(
        "data-lacking",
        "plan",
        "doubt",
        "*of the stage's … sizes … data*",
        "bring more data, or allow more passes with `Recipe(epochs=…)`",
    ),
    Kind(
        "stage",
        "plan",
        "info",
        "*after it, … of … FLOPs are spent; what follows is chosen from what it shows*",
        "train it, and plan again with its runs",
    ),
    Kind(
        "cooldown-branches",
        "plan",
        "info",
        "*cooldowns branch off … trunks*",
        "nothing",
    ),
    Kind(
        "branches-apart",
        "plan",
        "info",
        "*the runs of a stage share no trunk*",
        "give `budgets=[…]` if branches matter more than the design",
    ),
    Kind(
        "loader-batch-replaced",
        "plan",
        "info",
        "*of train_data is replaced by the recipe's, … examples per step*",
        "nothing, or keep it as the note says",
    ),
    Kind(
        "loader-settings-unused",
        "plan",
        "info",
        "*of train_data's DataLoader … no effect*",
        "nothing, or give a sampler of your own, whose order is kept",
    ),
    Kind(
        "stream-workers-idle",
        "plan",
        "info",
        "*… is a stream …: … of its DataLoader's … read nothing*",
        (
            "nothing where reading is fast enough; else more files, or a data set with indices, "
            "such as a Hugging Face data set without `streaming=True`, which all workers read"
        ),
    ),
    Kind(
        "one-learning-rate",
        "plan",
        "info",
        "*The recipe has one learning rate for all layers*",
        "give the recipe rates by width, as the note says",
    ),
    Kind(
        "tied-layers",
        "plan",
        "doubt",
        "*is used by two layers: it learns as an embedding*",
        "divide the outputs of the tied layer by width / base width in the model",
    ),
    Kind(
        "starting-rate",
        "plan",
        "info",
        "*Learning rate …: the start for …*",
        (
            "tune it: `isoflop.tune`; or give your own: `Recipe(lr=…)`, also where the kind of "
            "model is guessed wrong"
        ),
    ),
    Kind(
        "tuned-exponents",
        "plan",
        "info",
        "*The best rate moves with params to the power …*",
        "nothing: it is the precision of the tuned rule",
    ),
    Kind(
        "tuned-reach",
        "plan",
        "info",
        "*times the params of the largest one that was tuned*",
        "allow a larger share to tune at larger sizes",
    ),
    Kind(
        "untuned-cost",
        "plan",
        "info",
        "*The recipe's own rule would have cost up to … of loss*",
        "nothing: it is what tuning gained",
    ),
    Kind(
        "tuned-at-edge",
        "plan",
        "doubt",
        "*lies at the edge of the values tried*, or *beyond* them",
        "allow a larger share, or start from a better rule",
    ),
    Kind(
        "one-token-examples",
        "plan",
        "doubt",
        "*An example is taken as one token, so that a batch has as many examples as tokens*",
        "give `Family(tokens_per_example=)`, or `--set tokens_per_example=1024`",
    ),
    Kind(
        "runs-without-loss",
        "plan",
        "info",
        "*runs without a loss count as not trained*",
        "fill in their losses, or train them",
    ),
    Kind(
        "data-bound",
        "plan",
        "doubt",
        "*… of … goes to reading data*",
        (
            "read in several processes: give `train_data` as a `DataLoader(num_workers=…)`; or "
            "prepare the examples once and store them"
        ),
    ),
    Kind(
        "overhead-bound",
        "plan",
        "info",
        "*… of … goes to what a step takes at any size*",
        "larger sizes or batches, fewer runs; or train several runs at a time: `Processes(…)`",
    ),
    Kind(
        "evaluation-bound",
        "plan",
        "info",
        "*… of … goes to the held-out loss*",
        "fewer held-out tokens, which widens each loss's interval: `Recipe(eval_tokens=…)`",
    ),
)
