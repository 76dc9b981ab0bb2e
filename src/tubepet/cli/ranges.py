"""The type of numbers on the command line."""

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A finite number within bounds. click's own type accepts NaN and infinity."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail with a sentence."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"got {value}, expected a number", param, ctx)
        return number
