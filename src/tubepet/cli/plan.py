"""`tubepet plan`: which defects an acquisition would find, and how long one must be to find one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tubepet import io
from tubepet.cli.inspect import read_search, search_options
from tubepet.cli.ranges import Number
from tubepet.errors import InputError

if TYPE_CHECKING:
    from tubepet.inspect.part import Part
    from tubepet.inspect.plan import Plan

WISH = re.compile(r"(\w+):(\d*\.?\d+)mm")


@click.command()
@search_options
@click.option(
    "--activity-bq-mm3",
    "--activity",
    type=Number(min=0, min_open=True),
    required=True,
    help="Activity of the fluid, Bq/mm3.",
)
@click.option(
    "--duration-s",
    "--duration",
    type=Number(min=0, min_open=True),
    required=True,
    help="Length of the acquisition, s.",
)
@click.option(
    "--find",
    "wish",
    help="A kind or class of defect and its size, pit:3mm: how long an acquisition finds it in 90 "
    "% of its places.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="New file NAME.json with everything."
)
def plan(
    activity_bq_mm3: float, duration_s: float, wish: str | None, output: Path | None, **options: Any
) -> None:
    """Say which defects an acquisition of a part would find, before it is made.

    The table has, by kind and size, the share of places where such a defect is found. Nothing is
    measured: one acquisition without a defect is simulated, and Fisher's information does the rest.
    """
    from tubepet.inspect import plan as planning

    if output and (output.exists() or output.suffix != ".json"):
        raise InputError(f"--output: got {output}, expected a new NAME.json")
    kind, size_mm = _wish(wish) if wish else ("", 0.0)
    part, calibrated, search = read_search(**options)
    if wish and not planning.fits(part, kind, size_mm):
        raise InputError(f"--find: got {wish}, which fits nowhere into this part")
    made = planning.make_plan(part, calibrated, search, activity_bq_mm3)
    needed = _needed(made, part, kind, size_mm, activity_bq_mm3) if wish else None
    facts = planning.as_json(made, activity_bq_mm3, duration_s, needed)
    if output:
        io.write_json(output, facts | {"part": options["part_path"].name})
    click.echo(
        f"{activity_bq_mm3:g} Bq/mm3 for {duration_s:g} s: {facts['coincidences']} coincidences, "
        f"threshold z {facts['threshold_z']:.1f}"
    )
    for row in facts["would_be_found"]:
        click.echo(f"{row['kind']:<12} {row['size_mm']:5.2f} mm  {row['probability']:6.1%}")
    best = max(row["probability"] for row in facts["would_be_found"])
    if best < 0.5:
        click.echo(f"cannot tell: none of these would be found more often than in {best:.1%}")
    if needed:
        click.echo(_sentence(needed))
    for limit in planning.LIMITS:
        click.echo(f"holds if {limit}", err=True)


def _wish(text: str) -> tuple[str, float]:
    """Return kind or class of a defect, and its size in mm."""
    from tubepet.inspect.plan import NAMES
    from tubepet.inspect.setup import check_size

    match = WISH.fullmatch(text.strip())
    if match is None or match[1] not in NAMES:
        raise InputError(
            f"--find: got {text!r:.40}, expected KIND:SIZEmm, for instance pit:3mm, of "
            f"{', '.join(NAMES)}"
        )
    return match[1], check_size("--find", float(match[2]))


def _needed(
    made: "Plan", part: "Part", kind: str, size_mm: float, activity_bq_mm3: float
) -> dict[str, Any]:
    from tubepet.inspect import plan as planning

    places = planning.places_of(made.inspection.fitted, part, kind, size_mm)
    needed_s = made.needed_s(places, planning.WANTED)
    dose = None if needed_s is None else needed_s * activity_bq_mm3
    return {
        "kind": kind, "size_mm": size_mm, "wanted": planning.WANTED, "duration_s": needed_s,
        "activity_bq_mm3": activity_bq_mm3, "dose_bq_s_mm3": dose,
    }  # fmt: skip


def _sentence(needed: dict[str, Any]) -> str:
    what = f"{needed['kind']} of {needed['size_mm']:g} mm: found in {needed['wanted']:.0%}"
    if needed["duration_s"] is None:
        return f"{what} of its places by no duration: some change too little of the activity"
    return (
        f"{what} of its places with {needed['dose_bq_s_mm3']:.3g} Bq s/mm3: "
        f"{needed['duration_s']:.3g} s at {needed['activity_bq_mm3']:g} Bq/mm3"
    )
