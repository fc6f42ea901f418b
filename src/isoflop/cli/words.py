"""Sentences written for a Python user, in the words of the command line."""

import re

__all__ = ["with_options"]

_OPTIONS = (
    (r"columns=\{[^}]*\} \((--column [^)]*)\)", r"\1"),  # both are named: the option is enough
    (r"predict\(\.\.\., task=task\) \(--task\)", "--task"),
    (r"train\(store=\.\.\.\)", "`isoflop train --store`"),
    (r"read_runs\(\.\.\., schedule=\"(\w+)\"\)", r"--schedule \1"),
    (r"isoflop\.read_runs\(\.\.\.\)", "--runs"),
    (r"\ballow_far=True", "--allow-far"),
    (r"\bisoflop\.tune\b", "isoflop tune"),
    (r"\bany_tokens=True", "--any-tokens"),
    (r"\bagain=True", "--again"),
    (r"\btokens_per_example=(?=,)", "--set tokens_per_example=1024"),
    (r"correct num_tokens, or", "correct --tokens, or"),
    (r"sweep\.save\(store\)", "`isoflop plan --store`"),
    (r"sweep\.to_csv\(\)", "`isoflop plan --format csv`"),
    (r"\bbudgets=\[\.\.\.\]", "--budget"),
    (r"\bcolumns=(?=[\s,;.)])", "--column"),
    (
        r"\b(target|spend|hardware|design|runs|task|approach|prior|level|store|executor|share)"
        r"=(?=[\s,;.)])",
        r"--\1",
    ),
    (r"\b(target|spend|share)=(?=['\d])", r"--\1 "),
)
"""Python arguments in sentences, and the options of the command line in their place."""

_APPROACH = r"(?:Bayesian|Kriging|Parametric|IsoFLOP|Envelope)\(\)"


def with_options(sentence: str) -> str:
    """The sentence with options in place of Python arguments."""
    for argument, option in _OPTIONS:
        sentence = re.sub(argument, option, sentence)
    return re.sub(rf"(?<=with |.use ){_APPROACH}(?:(?:, | or ){_APPROACH})*", _approaches, sentence)


def _approaches(names: re.Match[str]) -> str:
    return re.sub(_APPROACH, lambda one: f"--approach {one[0][:-2].lower()}", names[0])
