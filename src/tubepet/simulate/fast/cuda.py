"""The same photons on an NVIDIA GPU: one thread per slice of time, the code of `kernels` unchanged.

`kernels.follow` is compiled a second time, for the GPU; a slice gives there what it gives on the
CPU, but for rounding. Sorting into pairs stays on the CPU.
"""

from typing import Any

import numpy as np
from numba import cuda, float64, int64, uint64
from numpy.typing import NDArray

from tubepet.simulate.fast import kernels

THREADS_PER_BLOCK = 128
ROOM = 1.5  # places for singles per expected decay; a slice that needs more is done again
SPARE = 64
# Shapes of local arrays have to be constants of this module.
DEPOSITS, DEPOSITS_BY_2 = kernels.MAX_DEPOSITS, (kernels.MAX_DEPOSITS, 2)
BORN = kernels.MAX_BORN, kernels.BORN


def is_available() -> bool:
    """Whether there is a GPU that numba can use."""
    return bool(cuda.is_available())


@cuda.jit
def follow_slices(  # type: ignore[no-untyped-def]
    seed, first, edges_ns, activity_bq, source, box, ring, air, cosine, electrons, readout, reals,
    counts, nums,
):  # fmt: skip
    """Call `kernels.follow` for slice first + thread; nums gets its decays and singles."""
    i = cuda.grid(1)
    if i < nums.shape[0]:
        state = cuda.local.array(2, uint64)
        crystals = cuda.local.array(DEPOSITS, int64)
        deposits = cuda.local.array(DEPOSITS_BY_2, float64)
        scatters = cuda.local.array(DEPOSITS_BY_2, int64)
        born = cuda.local.array(BORN, float64)
        nums[i, 0], nums[i, 1] = kernels.follow(
            seed, first + i, edges_ns[i], edges_ns[i + 1], activity_bq, source, box, ring, air,
            cosine, electrons, readout, state, crystals, deposits, scatters, born, reals[i],
            counts[i],
        )  # fmt: skip


@cuda.jit
def join_slices(  # type: ignore[no-untyped-def]
    nums, starts, reals, counts, all_reals, all_counts
):
    """Copy the singles of slice `thread` to their rows among those of all slices."""
    i = cuda.grid(1)
    if i < nums.shape[0]:
        for k in range(nums[i, 1]):
            for column in range(reals.shape[2]):
                all_reals[starts[i] + k, column] = reals[i, k, column]
            for column in range(counts.shape[2]):
                all_counts[starts[i] + k, column] = counts[i, k, column]


def singles(
    seed: int, first: int, edges_ns: NDArray[np.float64], activity_bq: float, fixed: tuple[Any, ...]
) -> tuple[int, NDArray[np.float64], NDArray[np.int64]]:
    """Follow neighbouring slices of time.

    Parameters
    ----------
    seed : int
    first : int
        Number of the first slice.
    edges_ns : float64 array, shape (slices + 1,)
        Their borders.
    activity_bq : float
    fixed : tuple
        Source, Box, Ring, Air, cosine table, Electrons, Readout as `kernels.follow` takes them.

    Returns
    -------
    num_decays : int
    reals, counts : arrays, shape (singles, 5) and (singles, 4)
        Singles of all slices, columns as in `kernels`, events numbered through all slices from 0.
    """
    num_slices = len(edges_ns) - 1
    capacity = SPARE + int(ROOM * np.diff(edges_ns).max() * 1e-9 * activity_bq)
    on_device = tuple(_copied(item) for item in fixed)
    num_blocks = -(-num_slices // THREADS_PER_BLOCK)
    while True:
        reals = cuda.device_array((num_slices, capacity, 5), np.float64)
        counts = cuda.device_array((num_slices, capacity, 4), np.int64)
        nums = cuda.device_array((num_slices, 2), np.int64)
        follow_slices[num_blocks, THREADS_PER_BLOCK](
            seed, first, cuda.to_device(edges_ns), activity_bq, *on_device, reals, counts, nums
        )
        decays, num_singles = nums.copy_to_host().T
        if num_singles.max() <= capacity:
            break
        capacity = int(num_singles.max())  # the same streams give the same singles
    # joined before they are copied: half of the places for singles are empty
    starts = np.cumsum(num_singles) - num_singles
    all_reals = cuda.device_array((int(num_singles.sum()), 5), np.float64)
    all_counts = cuda.device_array((int(num_singles.sum()), 4), np.int64)
    join_slices[num_blocks, THREADS_PER_BLOCK](
        nums, cuda.to_device(starts), reals, counts, all_reals, all_counts
    )
    found_reals, found_counts = all_reals.copy_to_host(), all_counts.copy_to_host()
    found_counts[:, kernels.EVENT] += np.repeat(np.cumsum(decays) - decays, num_singles)
    return int(decays.sum()), found_reals, found_counts


def _copied(item: Any) -> Any:
    """Copy the arrays of a tuple to the GPU."""
    if isinstance(item, np.ndarray):
        return cuda.to_device(np.ascontiguousarray(item))
    if isinstance(item, tuple):
        return type(item)(*(_copied(part) for part in item))
    return item
