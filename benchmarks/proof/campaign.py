"""Does it work? Forecasts that are committed before anything near their target is trained.

    python benchmarks/proof/campaign.py gpt            # everything that is due; again to go on
    python benchmarks/proof/campaign.py gpt forecast   # tune, sweep and forecast
    python benchmarks/proof/campaign.py gpt outcome    # the sizes around it, once that is committed
    python benchmarks/proof/campaign.py gpt judge
    python benchmarks/proof/campaign.py page           # the tables of all tasks

A killed program goes on where it was. The forecasts of a task cost about 7e12 FLOPs and the runs
at its target 1.2e14: ten minutes and an hour on one core of 5e10 FLOP/s.
"""

import argparse

import torch
from bookkeeping import SPENDS, Campaign
from cases import CASES
from forecasts import make_forecasts
from judging import judge
from outcomes import train_outcomes
from pages import write_page

STEPS = {"forecast": make_forecasts, "outcome": train_outcomes, "judge": judge}


def due(campaign: Campaign) -> None:
    """Everything that is due: up to the forecasts, which a person commits, or from there on."""
    if not all(campaign.has(spend) for spend in SPENDS):
        make_forecasts(campaign)
        print(f"Commit {campaign.folder / 'forecasts'}, then run this again.")
        return
    train_outcomes(campaign)
    judge(campaign)
    write_page()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=[*CASES, "page"])
    parser.add_argument("step", nargs="?", choices=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.task == "page":
        write_page()
    else:
        STEPS.get(given.step, due)(Campaign.of(given.task))


if __name__ == "__main__":
    main()
