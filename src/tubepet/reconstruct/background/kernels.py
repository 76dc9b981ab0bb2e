"""Compiled sums over scatter points and chains of them, which `paths` prepares.

What they call lies here too, for numba's cache looks at the file of a kernel only.
"""

import math

import numba
import numpy as np

from tubepet.reconstruct.projection.kernels import NUM_CHUNKS, in_threads

# A test for division by 0 would keep the compiler from doing several ends at once. Such loops have
# twins that do one at a time, for arrays that seem to overlap. Without `fastmath` both give the
# same digits; with it, results depended on where arrays lay.
part_of = numba.njit(cache=True, nogil=True, error_model="numpy")
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


@numba.njit(inline="always")
def turns(x, y, z, ways, energy, totals, begin, per_sr, place):  # type: ignore[no-untyped-def]
    """Fill in `klein_nishina` from one way to others; places are energies, in keV, of the tables.

    This and the loops that call it have no branch and few arrays each, so that the compiler does
    several ends at once.
    """
    scale = HALF_OVER_TOTAL / totals[int(511.0 * energy + 0.5)]
    to_x, to_y, to_z = ways
    for b in range(begin, len(to_x)):
        turned = 1.0 - (x * to_x[b] + y * to_y[b] + z * to_z[b])
        loss, bound = 1.0 + energy * turned, turned + BOUND
        both = 1.0 / (loss * bound)  # one division for two
        rest, cosine = both * bound, 1.0 - turned
        per_sr[b] = scale * rest**2 * (rest + loss - 1.0 + cosine**2) * turned * both * loss
        place[b] = np.int32(511.0 * energy * rest + 0.5)


@numba.njit(inline="always")
def decay(depth):  # type: ignore[no-untyped-def]
    """Return exp(-depth), depth from 0: the 64th power of eight terms of exp(-depth / 64).

    It is off by 1e-9 of the value at 10, by 1e-7 at 20. It stops falling at 40.
    """
    x = min(depth, 40.0) / 64
    value = 1.0 - x * (1 / 7)
    value = 1.0 - x * (1 / 6) * value
    value = 1.0 - x * (1 / 5) * value
    value = 1.0 - x * (1 / 4) * value
    value = 1.0 - x * (1 / 3) * value
    value = 1.0 - x * (1 / 2) * value
    value = 1.0 - x * value
    for _ in range(6):
        value = value * value
    return value


@part_of
def single_part(  # type: ignore[no-untyped-def]
    away, legs, shares, seen, totals, part, num_parts, sums
):
    """Fill in rows part, part + num_parts, ... of `single_sums`, right of the diagonal.

    `away` and `legs` have the ends last.
    """
    num_points, _, num = legs.shape
    left, weak, per_sr, place = np.empty(num), np.empty(num), np.empty(num), np.empty(num, np.int32)
    softer, to_a, to_b = np.empty(num), np.empty(num), np.empty(num)
    one, other, forward = np.empty(num), np.empty(num), np.empty(num)
    for s in range(num_points):
        x, y, z = away[s, 0], away[s, 1], away[s, 2]
        emission, depth, face = legs[s, EMISSION], legs[s, DEPTH], legs[s, FACE]
        distance, travel, oblique = legs[s, DISTANCE], legs[s, TRAVEL], legs[s, OBLIQUITY]
        for a in range(num):
            left[a] = decay(depth[a]) * face[a]
            weak[a] = left[a] * emission[a]
        rayleigh = shares[s, 1] / (2 * math.pi * RAYLEIGH)
        for a in range(part, num, num_parts):
            begin, of_a = a + 1, seen[int(oblique[a])]
            turns(-x[a], -y[a], -z[a], (x, y, z), 1.0, totals, begin, per_sr, place)
            for b in range(begin, num):
                softer[b], to_a[b] = totals[place[b]], of_a[place[b]]
                to_b[b] = seen[int(oblique[b]), place[b]]
            scale = shares[s, 0] * emission[a] * left[a]
            for b in range(begin, num):
                one[b] = scale * per_sr[b] * to_b[b] * face[b] * decay(softer[b] * depth[b])
            scale, depth_a = shares[s, 0] * face[a], depth[a]
            for b in range(begin, num):
                other[b] = scale * per_sr[b] * to_a[b] * weak[b] * decay(softer[b] * depth_a)
            # Rayleigh scattering, of a few degrees, keeps the energy
            scale = rayleigh * left[a]
            for b in range(begin, num):
                turned = 1.0 + (x[a] * x[b] + y[a] * y[b] + z[a] * z[b])
                share = RAYLEIGH / (turned + RAYLEIGH)
                forward[b] = scale * share**2 if turned < 0.1 else 0.0
            for b in range(begin, num):
                one[b] += forward[b] * left[b] * emission[a]
                other[b] += forward[b] * weak[b]
            row = sums[0, a]
            for b in range(begin, num):
                row[b] += one[b] + other[b]
            if len(sums) > 1:
                for b in range(begin, num):
                    middle = (distance[a] - distance[b]) / 2
                    near, far = middle - travel[a], middle + travel[b]
                    sums[1, a, b] += one[b] * near + other[b] * far
                    sums[2, a, b] += one[b] * near**2 + other[b] * far**2


def single_sums(  # type: ignore[no-untyped-def]
    away, legs, shares, seen, totals, num_moments
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
    num_moments : int
        1 or 3.

    Returns
    -------
    float64 array, shape (num_moments, ends, ends)
        Plain, times the position by time of flight, and times its square.
    """
    num = legs.shape[1]
    sums = np.zeros((num_moments, num, num))

    by_end = ends_last(away), ends_last(legs)

    def fill(part: int) -> None:
        single_part(*by_end, shares, seen, totals, part, NUM_CHUNKS, sums)

    in_threads(fill, NUM_CHUNKS)
    # no photon scatters straight back, so the diagonal is empty
    return sums + exchanged(sums)


def ends_last(table):  # type: ignore[no-untyped-def]
    """Return a table (points, ends, columns) as (points, columns, ends)."""
    return np.ascontiguousarray(table.transpose(0, 2, 1))


def exchanged(sums):  # type: ignore[no-untyped-def]
    """Return sums with the ends exchanged: times of flight have the opposite sign."""
    return sums.transpose(0, 2, 1) * np.array([1.0, -1.0, 1.0])[: len(sums), None, None]


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


@numba.njit(inline="always")
def reach(  # type: ignore[no-untyped-def]
    x, y, z, ways, legs, energy, weight, seen, totals, per_sr, place, values
):
    """Fill in how often a photon along (x, y, z) turns into each way and is counted at its end."""
    turns(x, y, z, (ways[0], ways[1], ways[2]), energy, totals, 0, per_sr, place)
    face, depth, oblique = legs[FACE], legs[DEPTH], legs[OBLIQUITY]
    for b in range(len(values)):
        softer, detected = totals[place[b]], seen[int(oblique[b]), place[b]]
        values[b] = weight * per_sr[b] * detected * face[b] * decay(softer * depth[b])


@numba.njit(inline="always")
def add_values(values, twice, legs, a, sums):  # type: ignore[no-untyped-def]
    """Add values to row a; places by time of flight are half of `twice` less the distances."""
    row, distance = sums[0, a], legs[DISTANCE]
    for b in range(len(values)):
        row[b] += values[b]
    if len(sums) > 1:
        for b in range(len(values)):
            place = (twice - distance[b]) / 2
            sums[1, a, b] += values[b] * place
            sums[2, a, b] += values[b] * place**2


@part_of
def multiple_part(  # type: ignore[no-untyped-def]
    ways, segments, weights, ends1, ends2, away1, away2, legs1, legs2, seen, totals, begin, end,
    sums,
):  # fmt: skip
    """Add chains begin, ..., end - 1 to one image of `multiple_sums`."""
    num_segments, num = ways.shape[1], away1.shape[2]
    path, depths = np.empty((num_segments + 1, 3)), np.empty(num_segments + 1)
    per_sr, place = np.empty(num), np.empty(num, np.int32)
    left, right, value = np.empty(num), np.empty(num), np.empty(num)
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
            x, y, z = path[num_segments]
            for a in range(num):
                if legs_a[EMISSION, a] == 0.0:
                    continue
                for axis in range(3):
                    path[0, axis] = -away_a[axis, a]
                energy, weight = down(path, depths, totals)
                if seen[-1, int(511.0 * energy + 0.5)] == 0.0:
                    continue
                weight *= weights[chain] * legs_a[EMISSION, a] * legs_a[FACE, a]
                weight *= math.exp(-legs_a[DEPTH, a])
                reach(x, y, z, away_b, legs_b, energy, weight, seen, totals, per_sr, place, value)
                twice = legs_a[DISTANCE, a] - length - 2 * legs_a[TRAVEL, a]
                add_values(value, twice, legs_b, a, sums)
        # the annihilation between two vertices: the photons are independent
        before = 0.0
        near, far = ends1[chain], ends2[chain]
        legs_a, legs_b = legs1[near], legs2[far]
        for m in range(num_segments):
            for i in range(m + 1):
                for axis in range(3):
                    path[i, axis] = -ways[chain, m - i, axis]
                depths[i] = segments[chain, m - i, DEPTH]
            energy, weight = down(path[: m + 1], depths, totals)
            x, y, z = path[m]
            reach(x, y, z, away1[near], legs_a, energy, weight, seen, totals, per_sr, place, left)
            energy, weight = down(ways[chain, m:], segments[chain, m:, DEPTH], totals)
            x, y, z = ways[chain, num_segments - 1]
            reach(x, y, z, away2[far], legs_b, energy, weight, seen, totals, per_sr, place, right)
            weight = weights[chain] * segments[chain, m, EMISSION]
            off = before + segments[chain, m, TRAVEL] - length / 2
            before += segments[chain, m, LENGTH]
            for a in range(num):
                if left[a] == 0.0:
                    continue
                scale = weight * left[a]
                for b in range(num):
                    value[b] = scale * right[b]
                add_values(value, legs_a[DISTANCE, a] + 2 * off, legs_b, a, sums)


def multiple_sums(  # type: ignore[no-untyped-def]
    chains, ends, seen, totals, num_moments
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
    num_moments : int
        1 or 3.

    Returns
    -------
    float64 array, shape (num_moments, ends, ends)
        As `single_sums`; first photon toward the first end.
    """
    ways, segments, weights, first, last = chains
    away1, legs1, away2, legs2 = ends
    num = len(weights)
    sums = np.zeros((NUM_CHUNKS, num_moments, away1.shape[1], away1.shape[1]))
    by_end = [ends_last(table) for table in (away1, away2, legs1, legs2)]

    def fill(part: int) -> None:
        begin, end = part * num // NUM_CHUNKS, (part + 1) * num // NUM_CHUNKS
        multiple_part(
            ways, segments, weights, first, last, *by_end, seen, totals, begin, end, sums[part]
        )

    in_threads(fill, NUM_CHUNKS)
    return sums.sum(axis=0)
