"""All compiled loops of the engine: decays to singles, and singles to pairs.

They are in one file because numba's cache looks at the file of a kernel only. One call of
`follow` follows all decays of one slice of time with a random stream of its own, from (seed,
slice), so that results do not depend on which thread ran it; kernels release the GIL. `follow` and
all that it calls allocate nothing, so that `cuda` can compile them for a GPU.

Photons move by Woodcock's delta tracking (Woodcock et al. 1965; Lux & Koblinger 1991, ch. 2): steps
are drawn with the largest attenuation around, and a collision is real with the local share of it.
A step is memoryless, so one that would leave a region is not made: the photon goes on from the
border. Gaps between crystals are virtual collisions; a photon is in the crystal where its collision
is, found exactly. Simplified: no air outside the inner cylinder of the ring.
"""

import math

import numba
import numpy as np

from tubepet.simulate.fast.tables import AIR, ANGLE_STEP_KEV, CRYSTAL, ELECTRON_KEV, NUM_QUANTILES

U64 = np.uint64
TURN = 2 * math.pi
NS_PER_MM = 1 / 299.792458
MAX_DEPOSITS = 32  # crystals touched by one decay; the energy is gone long before
PHOTOELECTRIC, COMPTON, RAYLEIGH, VIRTUAL = 0, 1, 2, 3
SAME_ANGLE = 1 / ANGLE_STEP_KEV
LAST_BIN = NUM_QUANTILES - 1
# Columns of the singles that `decay_slice` returns.
TIME_NS, ENERGY_KEV, X_MM, Y_MM, Z_MM = range(5)
EVENT, CRYSTAL_ID, NUM_COMPTON, NUM_RAYLEIGH = range(4)

# No fastmath: functions are compiled by themselves and into their callers, and a process that
# compiles runs other copies than one that finds the cache. Only by the letter of IEEE 754 do all
# copies give the same numbers. The slab test divides by zero.
options = {"cache": True, "error_model": "numpy", "nogil": True}
fast = numba.njit(**options)
inlined = numba.njit(**options, forceinline=True)


@fast
def start_stream(state, seed, stream):  # type: ignore[no-untyped-def]
    """Set the generator to (seed, stream): SplitMix64 (Steele et al. 2014)."""
    mixed = U64(seed) * U64(0xD1342543DE82EF95) + U64(stream) * U64(0xA0761D6478BD642F) + U64(1)
    for i in range(8):  # six rounds more than needed, to part neighbouring seeds
        mixed += U64(0x9E3779B97F4A7C15)
        word = (mixed ^ (mixed >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> U64(27))) * U64(0x94D049BB133111EB)
        word ^= word >> U64(31)
        state[i & 1] = word
        mixed ^= word << U64(1)


@fast
def random_state(seed, stream):  # type: ignore[no-untyped-def]
    """Return the state of the generator of (seed, stream)."""
    state = np.empty(2, np.uint64)
    start_stream(state, seed, stream)
    return state


@inlined
def uniform(state):  # type: ignore[no-untyped-def]
    """Uniform in [0, 1): xoroshiro128++ (Blackman & Vigna 2021)."""
    a, b = state[0], state[1]
    total = a + b
    word = ((total << U64(17)) | (total >> U64(47))) + a
    b ^= a
    state[0] = ((a << U64(49)) | (a >> U64(15))) ^ b ^ (b << U64(21))
    state[1] = (b << U64(28)) | (b >> U64(36))
    return np.float64(np.int64(word >> U64(11))) * 1.1102230246251565e-16


@inlined
def exponential(state):  # type: ignore[no-untyped-def]
    """Exponential with mean 1."""
    return -math.log(1.0 - uniform(state))


@inlined
def normals(state):  # type: ignore[no-untyped-def]
    """Two Gaussians with sigma 1, by Marsaglia's polar method."""
    while True:
        a, b = 2 * uniform(state) - 1, 2 * uniform(state) - 1
        square = a * a + b * b
        if 0.0 < square < 1.0:
            scale = math.sqrt(-2 * math.log(square) / square)
            return a * scale, b * scale


@inlined
def circle(turn):  # type: ignore[no-untyped-def]
    """Sine and cosine of a random azimuth, error 1e-8: series of the half angle, then doubled."""
    x = (turn - 0.5) * math.pi
    y = x * x
    sine = x * (1 + y * (-1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y * (1 / 362880 + y * (
        -1 / 39916800 + y * (1 / 6227020800)))))))  # fmt: skip
    cosine = 1 + y * (-1 / 2 + y * (1 / 24 + y * (-1 / 720 + y * (1 / 40320 + y * (
        -1 / 3628800 + y * (1 / 479001600 - y * (1 / 87178291200)))))))  # fmt: skip
    return -2 * sine * cosine, 2 * sine * sine - 1


@inlined
def deflect(u, v, w, cosine, state):  # type: ignore[no-untyped-def]
    """Turn a direction by an angle, at a random azimuth (frame of Duff et al. 2017)."""
    along_y, along_x = circle(uniform(state))
    sine = math.sqrt(max(0.0, 1.0 - cosine * cosine))
    sign = math.copysign(1.0, w)
    a = -1.0 / (sign + w)
    b = u * v * a
    p, q = sine * along_x, sine * along_y
    return (
        u * cosine + p * (1.0 + sign * u * u * a) + q * b,
        v * cosine + p * sign * b + q * (sign + v * v * a),
        w * cosine - p * sign * u - q * v,
    )


@inlined
def angle_cosine(table, process, material, energy_kev, state):  # type: ignore[no-untyped-def]
    """Draw the cosine of a scattering angle from its quantiles, linear between the entries."""
    k = process - COMPTON
    row = energy_kev * SAME_ANGLE
    i = min(int(row), table.shape[2] - 2)
    row -= i
    column = uniform(state) * LAST_BIN
    j = int(column)
    column -= j
    low = table[k, material, i, j] + column * (
        table[k, material, i, j + 1] - table[k, material, i, j]
    )
    i += 1
    high = table[k, material, i, j] + column * (
        table[k, material, i, j + 1] - table[k, material, i, j]
    )
    return low + row * (high - low)


@inlined
def after_compton(energy_kev, cosine):  # type: ignore[no-untyped-def]
    """Energy of a photon after Compton scattering on an electron at rest."""
    return energy_kev / (1 + energy_kev * (1 - cosine) * (1 / ELECTRON_KEV))


@inlined
def process_of(shares, material, i_energy, draw):  # type: ignore[no-untyped-def]
    """Tell what a collision is from cumulative shares of the majorant."""
    if draw < shares[material, i_energy, 1]:
        return PHOTOELECTRIC if draw < shares[material, i_energy, 0] else COMPTON
    return RAYLEIGH if draw < shares[material, i_energy, 2] else VIRTUAL


@fast
def box_span(x, y, z, u, v, w, box):  # type: ignore[no-untyped-def]
    """Distances at which a line enters and leaves the box (enters later: it misses)."""
    near, far = -np.inf, np.inf
    a, b = (box.low_mm[0] - x) / u, (box.high_mm[0] - x) / u
    near, far = max(near, min(a, b)), min(far, max(a, b))
    a, b = (box.low_mm[1] - y) / v, (box.high_mm[1] - y) / v
    near, far = max(near, min(a, b)), min(far, max(a, b))
    a, b = (box.low_mm[2] - z) / w, (box.high_mm[2] - z) / w
    return max(near, min(a, b)), min(far, max(a, b))


@inlined
def crystal_at(x, y, z, ring):  # type: ignore[no-untyped-def]
    """Crystal that holds a point, or -1: ring * num_columns + column."""
    ax, ay = abs(x), abs(y)
    ratio = min(ax, ay) / max(ax, ay)
    square = ratio * ratio
    # atan within 2e-4 (Abramowitz & Stegun 4.4.47 style); the step to the side below makes it exact
    angle = ratio * (
        0.99921381 + square * (-0.32117498 + square * (0.14626446 - square * 0.03898651))
    )
    if ay > ax:
        angle = math.pi / 2 - angle
    if x < 0:
        angle = math.pi - angle
    if y < 0:
        angle = TURN - angle
    column = int(angle * (ring.num_columns / TURN) + 0.5)
    for _ in range(2):
        if column >= ring.num_columns:
            column -= ring.num_columns
        elif column < 0:
            column += ring.num_columns
        cosine, sine = ring.circle[column, 0], ring.circle[column, 1]
        depth, side = x * cosine + y * sine, y * cosine - x * sine
        if abs(side) <= depth * ring.half_sector:
            break
        column += 1 if side > 0 else -1
    if abs(side) >= ring.half_width_mm or depth <= ring.inner_mm or depth >= ring.outer_mm:
        return -1
    row = z * (1 / ring.pitch_mm) + 0.5 * ring.num_rings
    if row < 0.0 or row >= ring.num_rings:
        return -1
    i = int(row)
    if abs(row - i - 0.5) * ring.pitch_mm >= ring.half_height_mm:
        return -1
    return i * ring.num_columns + column


@inlined
def in_box(x, y, z, u, v, w, energy_kev, box, cosine, least_kev, state):  # type: ignore[no-untyped-def]
    """Follow a photon through the voxels.

    Returns
    -------
    is_alive, x, y, z, u, v, w, energy_kev : after the last collision, on the way out
    length_mm : of the way to there
    num_compton, num_rayleigh : collisions
    """
    x0, y0, z0 = box.low_mm[0], box.low_mm[1], box.low_mm[2]
    x1, y1, z1 = box.high_mm[0], box.high_mm[1], box.high_mm[2]
    per_x, per_y, per_z = box.per_mm[0], box.per_mm[1], box.per_mm[2]
    num_z, num_y, num_x = box.labels.shape
    length_mm, num_compton, num_rayleigh = 0.0, 0, 0
    i_energy = int(energy_kev + 0.5)
    while True:
        step = exponential(state) * box.free_mm[i_energy]
        xn, yn, zn = x + step * u, y + step * v, z + step * w
        if not (x0 <= xn < x1 and y0 <= yn < y1 and z0 <= zn < z1):
            return True, x, y, z, u, v, w, energy_kev, length_mm, num_compton, num_rayleigh
        x, y, z = xn, yn, zn
        length_mm += step
        # just below the upper face the quotient may round up to one voxel too many
        material = box.labels[
            min(int((z - z0) * per_z), num_z - 1),
            min(int((y - y0) * per_y), num_y - 1),
            min(int((x - x0) * per_x), num_x - 1),
        ]
        process = process_of(box.shares, material, i_energy, uniform(state))
        if process == VIRTUAL:
            continue
        if process == PHOTOELECTRIC:
            return False, x, y, z, u, v, w, energy_kev, length_mm, num_compton, num_rayleigh
        cos = angle_cosine(cosine, process, material, energy_kev, state)
        u, v, w = deflect(u, v, w, cos, state)
        if process == RAYLEIGH:
            num_rayleigh += 1
            continue
        num_compton += 1
        energy_kev = after_compton(energy_kev, cos)
        i_energy = int(energy_kev + 0.5)
        if energy_kev < least_kev:
            return False, x, y, z, u, v, w, energy_kev, length_mm, num_compton, num_rayleigh


@fast
def grown(array):  # type: ignore[no-untyped-def]
    """Return a copy with twice the rows."""
    larger = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@fast
def decay_slice(  # type: ignore[no-untyped-def]
    seed, stream, start_ns, end_ns, activity_bq, source, box, ring, air, cosine, readout
):
    """Call `follow` with memory of its own; returns num_decays, reals and counts cut to size."""
    state, crystals = np.empty(2, np.uint64), np.empty(MAX_DEPOSITS, np.int64)
    deposits, scatters = np.empty((MAX_DEPOSITS, 2)), np.empty((MAX_DEPOSITS, 2), np.int64)
    capacity = 1024 + int((end_ns - start_ns) * 1e-9 * activity_bq)
    while True:
        reals, counts = np.empty((capacity, 5)), np.empty((capacity, 4), np.int64)
        num_decays, num_singles = follow(
            seed, stream, start_ns, end_ns, activity_bq, source, box, ring, air, cosine, readout,
            state, crystals, deposits, scatters, reals, counts,
        )  # fmt: skip
        if num_singles <= capacity:
            return num_decays, reals[:num_singles], counts[:num_singles]
        capacity = num_singles  # the same stream gives the same singles


@fast
def follow(  # type: ignore[no-untyped-def]
    seed, stream, start_ns, end_ns, activity_bq, source, box, ring, air, cosine, readout,
    state, crystals, deposits, scatters, reals, counts,
):  # fmt: skip
    """Follow all decays of the time slice [start_ns, end_ns).

    Parameters
    ----------
    state, crystals, deposits, scatters : arrays, shape (2,), (`MAX_DEPOSITS`,) and twice
        (`MAX_DEPOSITS`, 2)
        Memory to work in.
    reals, counts : arrays, shape (capacity, 5) and (capacity, 4)
        Filled with singles; columns `TIME_NS`... and `EVENT`...; event counts the slice's decays
        from 0.

    Returns
    -------
    num_decays, num_singles : int
        Singles beyond the capacity are counted, not written.
    """
    start_stream(state, seed, stream)
    num_singles, num_decays = 0, 0
    size_x, size_y, size_z = 1 / box.per_mm[0], 1 / box.per_mm[1], 1 / box.per_mm[2]
    gap_ns = 1e9 / activity_bq
    inner2, outer2 = ring.inner_mm**2, ring.reach_mm**2
    time_ns = start_ns
    while True:
        time_ns += exponential(state) * gap_ns
        if time_ns >= end_ns:
            return num_decays, num_singles

        # ---- where, and in which direction
        if source.radius_mm > 0.0:
            sine, cos = circle(uniform(state))
            radius = source.radius_mm * math.sqrt(uniform(state))
            x_source, y_source = radius * cos, radius * sine
            z_source = box.low_mm[2] + uniform(state) * size_z
        else:
            place = uniform(state) * len(source.threshold)
            i = int(place)
            if place - i >= source.threshold[i]:
                i = source.alias[i]
            x_source = box.low_mm[0] + (source.voxels[i, 2] + uniform(state)) * size_x
            y_source = box.low_mm[1] + (source.voxels[i, 1] + uniform(state)) * size_y
            z_source = box.low_mm[2] + (source.voxels[i, 0] + uniform(state)) * size_z
        w_first = 2 * uniform(state) - 1
        sine, cos = circle(uniform(state))
        across = math.sqrt(1 - w_first * w_first)
        u_first, v_first = across * cos, across * sine
        num_touched = 0

        for photon in range(2):
            x, y, z, energy_kev = x_source, y_source, z_source, ELECTRON_KEV
            if photon == 0:
                u, v, w = u_first, v_first, w_first
            else:
                # a Gaussian in each of two directions: half the squared angle is exponential
                bend = 1 - source.bend2 * exponential(state)
                u, v, w = deflect(-u_first, -v_first, -w_first, bend, state)
            length_mm, num_compton, num_rayleigh, most_kev = 0.0, 0, 0, 0.0
            is_inside, is_alive = True, True
            while is_alive:
                # ---- the voxels
                if is_inside:
                    is_alive, x, y, z, u, v, w, energy_kev, way, compton, rayleigh = in_box(
                        x, y, z, u, v, w, energy_kev, box, cosine, readout.least_kev - most_kev,
                        state,
                    )  # fmt: skip
                    length_mm += way
                    num_compton += compton
                    num_rayleigh += rayleigh
                    if not is_alive:
                        break
                # ---- the air up to the ring
                a, b = u * u + v * v, x * u + y * v
                way = (math.sqrt(max(0.0, b * b - a * (x * x + y * y - inner2))) - b) / a
                free_mm, draw = air.free_mm[int(energy_kev + 0.5)], uniform(state)
                if draw * free_mm < way:  # one photon in a thousand; spares the logarithm
                    free = -math.log(1.0 - draw) * free_mm
                    near, far = box_span(x, y, z, u, v, w, box)
                    if near < far and far > 0.0 and free < far:
                        # not in the voxels, which have air of their own
                        free = far + exponential(state) * free_mm
                    if free < way:
                        x, y, z = x + free * u, y + free * v, z + free * w
                        length_mm += free
                        process = process_of(air.shares, 0, int(energy_kev + 0.5), uniform(state))
                        if process == PHOTOELECTRIC:
                            break
                        cos = angle_cosine(cosine, process, AIR, energy_kev, state)
                        u, v, w = deflect(u, v, w, cos, state)
                        if process == COMPTON:
                            energy_kev = after_compton(energy_kev, cos)
                            if energy_kev < readout.least_kev - most_kev:
                                break
                        near, far = box_span(x, y, z, u, v, w, box)
                        is_inside = near < far and far > 0.0
                        if is_inside and near > 0.0:
                            near += 1e-6  # to the inner side of the face
                            x, y, z = x + near * u, y + near * v, z + near * w
                            length_mm += near
                        continue
                z += way * w
                if abs(z) >= ring.half_length_mm:
                    break
                x, y, length_mm = x + way * u, y + way * v, length_mm + way
                # ---- the crystals
                i_energy = int(energy_kev + 0.5)
                while True:
                    step = exponential(state) * ring.free_mm[i_energy]
                    x, y, z, length_mm = x + step * u, y + step * v, z + step * w, length_mm + step
                    radius2 = x * x + y * y
                    if radius2 > outer2:
                        is_alive = False
                        break
                    if radius2 < inner2:  # back in the bore: stand where it was entered
                        a, b = u * u + v * v, x * u + y * v
                        back = (-b - math.sqrt(max(0.0, b * b - a * (radius2 - inner2)))) / a
                        x, y, z = x + back * u, y + back * v, z + back * w
                        length_mm += back
                        near, far = box_span(x, y, z, u, v, w, box)
                        is_inside = near < far and far > 0.0
                        if is_inside:
                            near += 1e-6
                            x, y, z = x + near * u, y + near * v, z + near * w
                            length_mm += near
                        else:
                            x, y, z = x + 1e-6 * u, y + 1e-6 * v, z + 1e-6 * w
                        break
                    if abs(z) >= ring.half_length_mm:
                        if z * w > 0:
                            is_alive = False
                            break
                        continue
                    crystal = crystal_at(x, y, z, ring)
                    if crystal < 0:
                        continue
                    process = process_of(ring.shares, 0, i_energy, uniform(state))
                    left_kev = 0.0
                    if process != PHOTOELECTRIC:
                        cos = angle_cosine(cosine, process, CRYSTAL, energy_kev, state)
                        u, v, w = deflect(u, v, w, cos, state)
                        if process == RAYLEIGH:
                            continue
                        left_kev = after_compton(energy_kev, cos)
                    i = 0
                    while i < num_touched and crystals[i] != crystal:
                        i += 1
                    if i == num_touched:
                        crystals[i] = crystal
                        deposits[i, 0], deposits[i, 1] = 0.0, length_mm
                        scatters[i, 0], scatters[i, 1] = num_compton, num_rayleigh
                        num_touched += 1
                    deposits[i, 0] += energy_kev - left_kev
                    deposits[i, 1] = min(deposits[i, 1], length_mm)
                    most_kev = max(most_kev, deposits[i, 0])
                    energy_kev = left_kev
                    i_energy = int(energy_kev + 0.5)
                    # no crystal can reach the window any more, or nearly nothing is left
                    if (
                        most_kev + energy_kev < readout.least_kev
                        or energy_kev < 5.0
                        or num_touched == MAX_DEPOSITS
                    ):
                        is_alive = False
                        break

        # ---- readout
        for i in range(num_touched):
            exact_kev = deposits[i, 0]
            if exact_kev < readout.least_kev:
                continue
            sigma_kev = readout.relative_sigma * math.sqrt(readout.photon_kev * exact_kev)
            energy_normal, time_normal = normals(state)
            seen_kev = exact_kev + sigma_kev * energy_normal
            if not (readout.low_kev <= seen_kev < readout.high_kev):
                continue
            row = num_singles
            num_singles += 1
            if row >= len(reals):
                continue
            seen_ns = time_ns + deposits[i, 1] * NS_PER_MM + readout.sigma_ns * time_normal
            reals[row, TIME_NS], reals[row, ENERGY_KEV] = seen_ns, seen_kev
            reals[row, X_MM] = x_source
            reals[row, Y_MM] = y_source
            reals[row, Z_MM] = z_source
            counts[row, EVENT], counts[row, CRYSTAL_ID] = num_decays, crystals[i]
            counts[row, NUM_COMPTON] = scatters[i, 0]
            counts[row, NUM_RAYLEIGH] = scatters[i, 1]
        num_decays += 1


@fast
def time_order(time_ns):  # type: ignore[no-untyped-def]
    """Order of nearly sorted times (insertion; equal ones keep their places)."""
    order = np.arange(len(time_ns))
    for i in range(1, len(time_ns)):
        here, now = order[i], time_ns[order[i]]
        j = i
        while j > 0 and time_ns[order[j - 1]] > now:
            order[j] = order[j - 1]
            j -= 1
        order[j] = here
    return order


@fast
def pairs(time_ns, crystal, num_open, delay_ns, window_ns, least2_mm2, x_mm, y_mm):  # type: ignore[no-untyped-def]
    """All good pairs of time-sorted singles (GATE's policy TakeAllGoods).

    Each of the first `num_open` singles opens a window after a delay (0 for the prompts); x_mm,
    y_mm are by crystal.
    """
    capacity = 1024 + num_open
    found, num = np.empty((capacity, 2), np.int64), 0
    for i in range(num_open):
        j = i + 1
        while j < len(time_ns) and time_ns[j] - time_ns[i] <= delay_ns + window_ns:
            a, b = crystal[i], crystal[j]
            is_late = time_ns[j] - time_ns[i] >= delay_ns
            if (
                is_late
                and a != b
                and (x_mm[a] - x_mm[b]) ** 2 + (y_mm[a] - y_mm[b]) ** 2 >= least2_mm2
            ):
                if num == len(found):
                    found = grown(found)
                found[num, 0], found[num, 1] = i, j
                num += 1
            j += 1
    return found[:num]
