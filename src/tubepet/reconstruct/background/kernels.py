"""Compiled sums over scatter points and chains of them, which `paths` prepares.

What they call lies here too, for numba's cache looks at the file of a kernel only.
"""

import math

import numba
import numpy as np

from tubepet.reconstruct.projection.kernels import NUM_CHUNKS, in_threads, part_of

# Columns of the table of a leg or a segment (`paths`)
EMISSION, DEPTH, FACE, DISTANCE, TRAVEL, OBLIQUITY = range(6)
LENGTH = DISTANCE
# One half over Klein and Nishina's total at 511 keV (`detection.klein_nishina_total`)
HALF_OVER_TOTAL = 0.5 / 3.6084571
# Bound electrons take little momentum: t / (t + this), t = 1 - cosine, is the incoherent scattering
# function of aluminium within 0.06 and of water within 0.1 (xraylib 4, 1 to 20 degrees, 511 keV).
BOUND = 2.5e-4
# 1 - cosine that half of all Rayleigh scatterings stay below: 2 degrees in water and aluminium
# (xraylib 4); the distribution c / (c + 1 - cosine)^2 has the right tail, too
RAYLEIGH = 1.0 - math.cos(math.radians(2.0))


@numba.njit(inline="always")
def klein_nishina(cosine, energy, totals):  # type: ignore[no-untyped-def]
    """Probability per sr of a scattering angle, and the energy after it (energies over 511 keV)."""
    turned = 1.0 - cosine
    rest = 1.0 / (1.0 + energy * turned)
    per_sr = rest**2 * (rest + 1.0 / rest - 1.0 + cosine**2) * HALF_OVER_TOTAL
    per_sr *= turned / (turned + BOUND)
    return per_sr / totals[int(511.0 * energy + 0.5)], energy * rest


@numba.njit(inline="always")
def dot(a, b):  # type: ignore[no-untyped-def]
    """Scalar product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@part_of
def single_part(  # type: ignore[no-untyped-def]
    away, legs, shares, seen, totals, part, num_parts, sums
):
    """Fill in rows part, part + num_parts, ... of `single_sums`, right of the diagonal."""
    num_points, num = legs.shape[:2]
    left = np.empty(num)
    for s in range(num_points):
        for a in range(part, num):
            left[a] = math.exp(-legs[s, a, DEPTH]) * legs[s, a, FACE]
        for a in range(part, num, num_parts):
            first = legs[s, a]
            for b in range(a + 1, num):
                cosine = -dot(away[s, a], away[s, b])
                probability, energy = klein_nishina(cosine, 1.0, totals)
                place = int(511.0 * energy + 0.5)
                probability *= shares[s, 0]
                second = legs[s, b]
                to_a = seen[int(first[OBLIQUITY]), place]
                to_b = seen[int(second[OBLIQUITY]), place]
                if to_a + to_b == 0.0:
                    continue
                softer = totals[place]
                one = to_b * left[a] * second[FACE] * math.exp(-softer * second[DEPTH])
                other = to_a * left[b] * first[FACE] * math.exp(-softer * first[DEPTH])
                one, other = probability * one, probability * other
                if cosine > 0.9:  # Rayleigh scattering, which keeps the energy
                    forward = RAYLEIGH / (1.0 - cosine + RAYLEIGH)
                    forward *= forward / (2 * math.pi * RAYLEIGH) * shares[s, 1] * left[a] * left[b]
                    one, other = one + forward, other + forward
                one, other = one * first[EMISSION], other * second[EMISSION]
                middle = (first[DISTANCE] - second[DISTANCE]) / 2
                near, far = middle - first[TRAVEL], middle + second[TRAVEL]
                sums[0, a, b] += one + other
                sums[1, a, b] += one * near + other * far
                sums[2, a, b] += one * near**2 + other * far**2


def single_sums(  # type: ignore[no-untyped-def]
    away, legs, shares, seen, totals
):
    """Sum both terms of the formula in `scatter` over scatter points, for all pairs of ends.

    Parameters
    ----------
    away : float64 array, shape (points, ends, 3)
        Directions from points to ends.
    legs : float64 array, shape (points, ends, 6)
        `EMISSION`, the integral of the activity on the way (Bq/mm2); `DEPTH`, that of the
        attenuation at 511 keV; `FACE`, efficiency times solid angle per mm2 of face; `DISTANCE` of
        the end and mean distance of the emission, `TRAVEL`, from the point, mm; `OBLIQUITY`, the
        row of `seen`.
    shares : float64 array, shape (points, 2)
        Weights of Compton and of Rayleigh scattering.
    seen, totals : float64 arrays, shape (NUM_OBLIQUITIES, 512) and (512,)
        `detection.by_kev`.

    Returns
    -------
    float64 array, shape (3, ends, ends)
        Plain, times the position by time of flight, and times its square.
    """
    num = legs.shape[1]
    sums = np.zeros((3, num, num))

    def fill(part: int) -> None:
        single_part(away, legs, shares, seen, totals, part, NUM_CHUNKS, sums)

    in_threads(fill, NUM_CHUNKS)
    # no photon scatters straight back, so the diagonal is empty
    return sums + sums.transpose(0, 2, 1) * np.array([1.0, -1.0, 1.0])[:, None, None]


@numba.njit(inline="always")
def down(ways, depths, totals):  # type: ignore[no-untyped-def]
    """Follow a photon of 511 keV that comes along the first of some ways through the others.

    Returns its energy over 511 keV at the end of the last, and the product of the probabilities per
    sr of all scatterings, over the density with which `paths` draws the segments after them.
    """
    energy, weight = 1.0, 1.0
    for i in range(1, len(ways)):
        per_sr, energy = klein_nishina(dot(ways[i - 1], ways[i]), energy, totals)
        softer = totals[int(511.0 * energy + 0.5)]
        weight *= per_sr * softer * math.exp(-depths[i] * (softer - 1.0))
    return energy, weight


@part_of
def multiple_part(  # type: ignore[no-untyped-def]
    ways, segments, weights, ends1, ends2, away1, away2, legs1, legs2, seen, totals, begin, end,
    sums,
):  # fmt: skip
    """Add chains begin, ..., end - 1 to one image of `multiple_sums`."""
    num_segments, num = ways.shape[1], away1.shape[1]
    path, depths = np.empty((num_segments + 1, 3)), np.empty(num_segments + 1)
    left, right = np.empty(num), np.empty(num)
    for chain in range(begin, end):
        length = segments[chain, :, LENGTH].sum()
        # the annihilation before the first vertex, and the same from the other side
        for is_back in range(2):
            near, far = (ends2[chain], ends1[chain]) if is_back else (ends1[chain], ends2[chain])
            away_a, legs_a = (away2[near], legs2[near]) if is_back else (away1[near], legs1[near])
            away_b, legs_b = (away1[far], legs1[far]) if is_back else (away2[far], legs2[far])
            for i in range(num_segments):
                for axis in range(3):
                    if is_back:
                        path[i + 1, axis] = -ways[chain, num_segments - 1 - i, axis]
                    else:
                        path[i + 1, axis] = ways[chain, i, axis]
                depths[i + 1] = segments[chain, num_segments - 1 - i if is_back else i, DEPTH]
            for a in range(num):
                if legs_a[a, EMISSION] == 0.0:
                    continue
                for axis in range(3):
                    path[0, axis] = -away_a[a, axis]
                energy, weight = down(path, depths, totals)
                if seen[-1, int(511.0 * energy + 0.5)] == 0.0:
                    continue
                weight *= weights[chain] * legs_a[a, EMISSION] * legs_a[a, FACE]
                weight *= math.exp(-legs_a[a, DEPTH])
                for b in range(num):
                    per_sr, rest = klein_nishina(dot(path[-1], away_b[b]), energy, totals)
                    i = int(511.0 * rest + 0.5)
                    value = per_sr * seen[int(legs_b[b, OBLIQUITY]), i] * legs_b[b, FACE]
                    if value == 0.0:
                        continue
                    value *= weight * math.exp(-legs_b[b, DEPTH] * totals[i])
                    place = (legs_a[a, DISTANCE] - legs_b[b, DISTANCE] - length) / 2
                    place -= legs_a[a, TRAVEL]
                    sums[0, a, b] += value
                    sums[1, a, b] += value * place
                    sums[2, a, b] += value * place**2
        # the annihilation between two vertices: the photons are independent
        before = 0.0
        for m in range(num_segments):
            for i in range(m + 1):
                for axis in range(3):
                    path[i, axis] = -ways[chain, m - i, axis]
                depths[i] = segments[chain, m - i, DEPTH]
            energy, weight = down(path[: m + 1], depths, totals)
            near = ends1[chain]
            for a in range(num):
                per_sr, rest = klein_nishina(dot(path[m], away1[near, a]), energy, totals)
                i = int(511.0 * rest + 0.5)
                left[a] = weight * per_sr * seen[int(legs1[near, a, OBLIQUITY]), i]
                left[a] *= legs1[near, a, FACE] * math.exp(-legs1[near, a, DEPTH] * totals[i])
            energy, weight = down(ways[chain, m:], segments[chain, m:, DEPTH], totals)
            far = ends2[chain]
            for b in range(num):
                way = dot(ways[chain, num_segments - 1], away2[far, b])
                per_sr, rest = klein_nishina(way, energy, totals)
                i = int(511.0 * rest + 0.5)
                right[b] = weight * per_sr * seen[int(legs2[far, b, OBLIQUITY]), i]
                right[b] *= legs2[far, b, FACE] * math.exp(-legs2[far, b, DEPTH] * totals[i])
            weight = weights[chain] * segments[chain, m, EMISSION]
            off = before + segments[chain, m, TRAVEL] - length / 2
            before += segments[chain, m, LENGTH]
            for a in range(num):
                if left[a] == 0.0:
                    continue
                for b in range(num):
                    value = weight * left[a] * right[b]
                    place = (legs1[near, a, DISTANCE] - legs2[far, b, DISTANCE]) / 2 + off
                    sums[0, a, b] += value
                    sums[1, a, b] += value * place
                    sums[2, a, b] += value * place**2


def multiple_sums(  # type: ignore[no-untyped-def]
    chains, ends, seen, totals
):
    """Sum the expected counts over chains of scatter points (`paths`), for all pairs of ends.

    Parameters
    ----------
    chains : tuple of arrays
        Directions of the segments, shape (n, segments, 3); `EMISSION`, `DEPTH`, `LENGTH` and
        `TRAVEL` from the first vertex of each, shape (n, segments, 5); weights, shape (n,); rows of
        the first and last vertices in `ends`, shape (n,) each.
    ends : tuple of arrays
        Directions and legs of the first vertices, and of the last ones, as in `single_sums`.

    Returns
    -------
    float64 array, shape (3, ends, ends)
        As `single_sums`; first photon toward the first end.
    """
    ways, segments, weights, first, last = chains
    away1, legs1, away2, legs2 = ends
    num = len(weights)
    sums = np.zeros((NUM_CHUNKS, 3, away1.shape[1], away1.shape[1]))

    def fill(part: int) -> None:
        begin, end = part * num // NUM_CHUNKS, (part + 1) * num // NUM_CHUNKS
        multiple_part(
            ways, segments, weights, first, last, away1, away2, legs1, legs2, seen, totals,
            begin, end, sums[part],
        )  # fmt: skip

    in_threads(fill, NUM_CHUNKS)
    return sums.sum(axis=0)
