"""Every random stream of the project, from (seed, stage, item).

Streams depend on names, never on the order of jobs or the number of cores.
"""

import zlib

import numpy as np


def _sequence(seed: int, stage: str, items: tuple[str | int, ...]) -> np.random.SeedSequence:
    words = [zlib.crc32(i.encode()) if isinstance(i, str) else int(i) for i in (stage, *items)]
    # SeedSequence pads with zeros, so (a) and (a, 0) would share a stream without the length.
    return np.random.SeedSequence([seed, len(words), *words])


def stream(seed: int, stage: str, *items: str | int) -> np.random.Generator:
    """Return the generator of one item of one stage.

    Parameters
    ----------
    seed : int
        The run's seed, ``config["seed"]``, >= 0.
    stage : str
        Stage name, for instance ``"phantom"``.
    items : str or int
        What the stream is for, for instance a tube name.
    """
    return np.random.default_rng(_sequence(seed, stage, items))


def derived_seed(seed: int, stage: str, *items: str | int) -> int:
    """Return a 31-bit integer seed for engines with their own generator (Geant4, torch)."""
    return int(_sequence(seed, stage, items).generate_state(1)[0] & 0x7FFFFFFF)
