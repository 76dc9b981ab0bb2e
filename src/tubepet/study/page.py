"""Write the conclusions of the study: one screen, with a figure; `tables` is behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tubepet.study.scores import Claim, Scores, label
from tubepet.study.tables import as_factor, markdown_table

FIGURE = "claims.png"


def make_page(
    study: Mapping[str, Any], claims: Sequence[Claim], scores: Scores, facts: Mapping[str, Any]
) -> str:
    """Write the page of conclusions.

    Parameters
    ----------
    study : mapping
        Config section `study`.
    claims : sequence of Claim
    scores : Scores
    facts : mapping
        num_train, num_test, num_test_tubes, num_images.
    """
    parts = [
        "# What the study shows\n",
        f"{len(study['variants'])} variants, each trained for the cost of "
        f"{study['budget_steps']} steps of DCGAN on {facts['num_train']} slices. "
        f"{facts['num_images']} images of each training are compared with {facts['num_test']} "
        f"slices of {facts['num_test_tubes']} tubes that no training saw.\n",
        f"![Distances of all variants, and the factors behind the claims]({FIGURE})\n",
    ]
    if claims:
        header = ["claim", "verdict", "nearer by", "seeds", "what would decide"]
        parts.append(markdown_table(header, [_row(claim) for claim in claims]))
    return "\n".join([*parts, _rule(scores)])


def _row(claim: Claim) -> list[str]:
    seeds = f"{claim.primary.num_seeds}" if claim.primary else "–"
    return [claim.text, f"**{claim.verdict}**", as_factor(claim.primary), seeds, claim.would_decide]


def _rule(scores: Scores) -> str:
    primary = label(next(iter(scores.key))) if scores.key else "none, for no features count"
    return (
        f"**One number decides a claim:** {primary}. It is compared as a factor. A distance below "
        "the upper end of the interval of real slices counts as that end. A claim holds if the "
        "95 % interval of the factor, over seeds and test tubes, lies above 1. It does not hold if "
        "it lies below. Else it is undecided, and the number of seeds that would decide is for the "
        "mean and spread seen here.\n\n"
        "Other distances, costs, tuning and detectors: `tables.md`. Every training: `runs.csv`.\n"
    )
