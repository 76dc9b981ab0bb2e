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

from tubepet.constants import ELECTRON_KEV, INVERSE_FINE_STRUCTURE
from tubepet.simulate.fast.tables import AIR, ANGLE_STEP_KEV, CRYSTAL, NUM_QUANTILES

U64 = np.uint64
TURN = 2 * math.pi
NS_PER_MM = 1 / 299.792458
MAX_DEPOSITS = 32  # crystals touched by one decay; the energy is gone long before
# Electrons and X-rays that may leave their crystal: row, place, direction (0: X-ray), keV.
MAX_BORN, BORN = 24, 10
OUTER_REACH_MM = 0.1  # of L X-rays: seven free paths of 8 keV in LYSO
LOCAL_KEV = 10.0  # a photon of less goes 10 um in LYSO
MOST_GAP_MM, GAP_STEP_MM = 5.0, 0.1  # an electron's way to the next crystal
SPIN_BOUND = 1.4  # of McKinley and Feshbach's factor up to lutetium
PHOTOELECTRIC, COMPTON, RAYLEIGH, VIRTUAL = 0, 1, 2, 3
OUTSIDE, ON_RING = -1, -2  # where a positron is, if not in a voxel
BEYOND_MM = 1e-6  # a step over a face, to be in the voxel behind it
# What a decay of 176Lu emits: kinds, room for a beta particle and three of each transition.
ELECTRON, GAMMA, X_RAY, LOCAL = 0, 1, 2, 3
MAX_EMITTED = 16
MOST_ELECTRON_KEV = 511.0  # the library of tracks ends there
SAME_ANGLE = 1 / ANGLE_STEP_KEV
LAST_BIN = NUM_QUANTILES - 1
# Columns of the singles that `decay_slice` returns.
TIME_NS, ENERGY_KEV, X_MM, Y_MM, Z_MM = range(5)
EVENT, CRYSTAL_ID, NUM_COMPTON, NUM_RAYLEIGH = range(4)
# Columns of `setup.Ring.towers`.
COSINE, SINE, INNER_MM, OUTER_MM = range(4)
COLUMNS, PITCH_WIDTH_MM, HALF_WIDTH_MM = range(4, 7)
ROWS, PITCH_HEIGHT_MM, HALF_HEIGHT_MM = range(7, 10)
FIRST_HEIGHT, NUM_HEIGHTS, FIRST_CRYSTAL, CRYSTALS_PER_HEIGHT = range(10, 14)

# No fastmath: functions are compiled by themselves and into their callers, and a process that
# compiles runs other copies than one that finds the cache. Only by the letter of IEEE 754 do all
# copies give the same numbers. The slab test divides by zero.
options = {"cache": True, "error_model": "numpy", "nogil": True}
fast = numba.njit(**options)
lean = numba.njit(**options, _nrt=False)
inlined = numba.njit(**options, _nrt=False, forceinline=True)


@lean
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
def any_direction(state):  # type: ignore[no-untyped-def]
    """Draw a direction, all alike."""
    w = 2 * uniform(state) - 1
    sine, cosine = circle(uniform(state))
    across = math.sqrt(1 - w * w)
    return across * cosine, across * sine, w


@inlined
def at_quantile(values, draw):  # type: ignore[no-untyped-def]
    """Value at a quantile, linear between the equidistant ones of a table."""
    place = draw * (len(values) - 1)
    i = int(place)
    return values[i] + (place - i) * (values[i + 1] - values[i])


@inlined
def chosen(cumulative, draw):  # type: ignore[no-untyped-def]
    """First row whose cumulative probability exceeds a draw; one more than the last: none."""
    i = 0
    while i < len(cumulative) and draw >= cumulative[i]:
        i += 1
    return i


@inlined
def crosswise(u, v, w):  # type: ignore[no-untyped-def]
    """Two directions across a third and each other (Duff et al. 2017)."""
    sign = math.copysign(1.0, w)
    a = -1.0 / (sign + w)
    b = u * v * a
    return 1.0 + sign * u * u * a, sign * b, -sign * u, b, sign + v * v * a, -v


@inlined
def deflect(u, v, w, cosine, state):  # type: ignore[no-untyped-def]
    """Turn a direction by an angle, at a random azimuth."""
    along_y, along_x = circle(uniform(state))
    sine = math.sqrt(max(0.0, 1.0 - cosine * cosine))
    ex, ey, ez, fx, fy, fz = crosswise(u, v, w)
    p, q = sine * along_x, sine * along_y
    return (
        u * cosine + p * ex + q * fx,
        v * cosine + p * ey + q * fy,
        w * cosine + p * ez + q * fz,
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


@lean
def box_span(x, y, z, u, v, w, box):  # type: ignore[no-untyped-def]
    """Distances at which a line enters and leaves the box (enters later: it misses)."""
    near, far = -np.inf, np.inf
    a, b = (box.low_mm[0] - x) / u, (box.high_mm[0] - x) / u
    near, far = max(near, min(a, b)), min(far, max(a, b))
    a, b = (box.low_mm[1] - y) / v, (box.high_mm[1] - y) / v
    near, far = max(near, min(a, b)), min(far, max(a, b))
    a, b = (box.low_mm[2] - z) / w, (box.high_mm[2] - z) / w
    return max(near, min(a, b)), min(far, max(a, b))


@lean
def module_crystal_at(x, y, z, ring):  # type: ignore[no-untyped-def]
    """As `crystal_at`, of modules: the towers that meet the cell are tried one by one."""
    num = ring.cells.shape[0]
    per_mm = num / (2 * ring.reach_mm)
    i_x, i_y = int((x + ring.reach_mm) * per_mm), int((y + ring.reach_mm) * per_mm)
    if i_x < 0 or i_y < 0 or i_x >= num or i_y >= num:
        return -1, 0.0
    for k in range(ring.cells[i_y, i_x, 0], ring.cells[i_y, i_x, 1]):
        tower = ring.towers[ring.in_cells[k]]
        depth = x * tower[COSINE] + y * tower[SINE]
        column = (y * tower[COSINE] - x * tower[SINE]) / tower[PITCH_WIDTH_MM] + 0.5 * tower[
            COLUMNS
        ]  # fmt: skip
        if not 0.0 <= column < tower[COLUMNS]:
            continue
        i = int(column)
        margin = min(
            depth - tower[INNER_MM],
            tower[OUTER_MM] - depth,
            tower[HALF_WIDTH_MM] - abs(column - i - 0.5) * tower[PITCH_WIDTH_MM],
        )
        if margin <= 0.0:
            continue
        for m in range(int(tower[NUM_HEIGHTS])):
            z_mm = z - ring.heights_mm[int(tower[FIRST_HEIGHT]) + m]
            row = z_mm / tower[PITCH_HEIGHT_MM] + 0.5 * tower[ROWS]
            if not 0.0 <= row < tower[ROWS]:
                continue
            j = int(row)
            inside = tower[HALF_HEIGHT_MM] - abs(row - j - 0.5) * tower[PITCH_HEIGHT_MM]
            if inside > 0.0:
                first = int(tower[FIRST_CRYSTAL]) + m * int(tower[CRYSTALS_PER_HEIGHT])
                return first + j * int(tower[COLUMNS]) + i, min(margin, inside)
    return -1, 0.0


@inlined
def crystal_at(x, y, z, ring):  # type: ignore[no-untyped-def]
    """Crystal that holds a point, or -1 (ring * num_columns + column), and mm to its next face."""
    if ring.num_columns == 0:
        return module_crystal_at(x, y, z, ring)
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
    margin = min(ring.half_width_mm - abs(side), depth - ring.inner_mm, ring.outer_mm - depth)
    if margin <= 0.0:
        return -1, 0.0
    row = z * (1 / ring.pitch_mm) + 0.5 * ring.num_rings
    if row < 0.0 or row >= ring.num_rings:
        return -1, 0.0
    i = int(row)
    margin = min(margin, ring.half_height_mm - abs(row - i - 0.5) * ring.pitch_mm)
    if margin <= 0.0:
        return -1, 0.0
    return i * ring.num_columns + column, margin


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
    seed, stream, start_ns, end_ns, activity_bq, source, box, ring, air, cosine, electrons, readout
):
    """Call `follow` with memory of its own; returns num_decays, reals and counts cut to size."""
    state, crystals = np.empty(2, np.uint64), np.empty(MAX_DEPOSITS, np.int64)
    deposits, scatters = np.empty((MAX_DEPOSITS, 2)), np.empty((MAX_DEPOSITS, 2), np.int64)
    born = np.empty((MAX_BORN, BORN))
    capacity = 1024 + 2 * int((end_ns - start_ns) * 1e-9 * activity_bq)
    while True:
        reals, counts = np.empty((capacity, 5)), np.empty((capacity, 4), np.int64)
        num_decays, num_singles = follow(
            seed, stream, start_ns, end_ns, activity_bq, source, box, ring, air, cosine, electrons,
            readout, state, crystals, deposits, scatters, born, reals, counts,
        )  # fmt: skip
        if num_singles <= capacity:
            return num_decays, reals[:num_singles], counts[:num_singles]
        capacity = num_singles  # the same stream gives the same singles


@inlined
def sauter_cosine(kinetic_kev, state):  # type: ignore[no-untyped-def]
    """Cosine between photon and photoelectron of the K shell (Sauter 1931).

    Rejection as in PENELOPE (Salvat et al. 2011, section 2.1.1.2).
    """
    tau = kinetic_kev * (1 / ELECTRON_KEV)
    beta = math.sqrt(tau * (tau + 2.0)) / (tau + 1.0)
    a = 1.0 / beta - 1.0
    b = 0.5 * beta * (tau + 1.0) * tau * (tau - 1.0)
    most = 2.0 * (1.0 / a + b)
    while True:
        q = uniform(state)
        one_minus = 2.0 * a * (2.0 * q + (a + 2.0) * math.sqrt(q)) / ((a + 2.0) ** 2 - 4.0 * q)
        if uniform(state) * most <= (2.0 - one_minus) * (1.0 / (a + one_minus) + b):
            return 1.0 - one_minus


@inlined
def slot_of(  # type: ignore[no-untyped-def]
    crystal, length_mm, num_compton, num_rayleigh, crystals, deposits, scatters, num_touched
):
    """Row of a crystal in the memory of a decay, taken anew if need be; and rows taken.

    What finds no row shares the last one, which happens never: see `MAX_DEPOSITS`.
    """
    i = 0
    while i < num_touched and crystals[i] != crystal:
        i += 1
    if i < num_touched:
        return i, num_touched
    i = min(num_touched, MAX_DEPOSITS - 1)
    crystals[i] = crystal
    deposits[i, 0], deposits[i, 1] = 0.0, length_mm
    scatters[i, 0], scatters[i, 1] = num_compton, num_rayleigh
    return i, i + 1


@inlined
def crystal_span(crystal, x, y, z, u, v, w, ring):  # type: ignore[no-untyped-def]
    """Distances at which a line enters and leaves a crystal (enters later: it misses)."""
    if ring.num_columns == 0:
        tower = ring.towers[ring.tower_of[crystal]]
        cosine, sine, inner_mm, outer_mm = (
            tower[COSINE], tower[SINE], tower[INNER_MM], tower[OUTER_MM]
        )  # fmt: skip
        half_width_mm, half_height_mm = tower[HALF_WIDTH_MM], tower[HALF_HEIGHT_MM]
        first, per_height = int(tower[FIRST_CRYSTAL]), int(tower[CRYSTALS_PER_HEIGHT])
        height, rest = divmod(crystal - first, per_height)
        row, column = divmod(rest, int(tower[COLUMNS]))
        side_mm = (column + 0.5 - 0.5 * tower[COLUMNS]) * tower[PITCH_WIDTH_MM]
        z_mm = (row + 0.5 - 0.5 * tower[ROWS]) * tower[PITCH_HEIGHT_MM]
        z_mm += ring.heights_mm[int(tower[FIRST_HEIGHT]) + height]
    else:
        row, column = divmod(crystal, ring.num_columns)
        cosine, sine = ring.circle[column, 0], ring.circle[column, 1]
        inner_mm, outer_mm = ring.inner_mm, ring.outer_mm
        half_width_mm, half_height_mm, side_mm = ring.half_width_mm, ring.half_height_mm, 0.0
        z_mm = (row + 0.5 - 0.5 * ring.num_rings) * ring.pitch_mm
    near, far = -np.inf, np.inf
    place, per = x * cosine + y * sine, 1 / (u * cosine + v * sine)
    a, b = (inner_mm - place) * per, (outer_mm - place) * per
    near, far = max(near, min(a, b)), min(far, max(a, b))
    place, per = y * cosine - x * sine - side_mm, 1 / (v * cosine - u * sine)
    a, b = (-half_width_mm - place) * per, (half_width_mm - place) * per
    near, far = max(near, min(a, b)), min(far, max(a, b))
    place, per = z - z_mm, 1 / w
    a, b = (-half_height_mm - place) * per, (half_height_mm - place) * per
    return max(near, min(a, b)), min(far, max(a, b))


@inlined
def across_gap(here, x, y, z, u, v, w, ring):  # type: ignore[no-untyped-def]
    """Next crystal on a line that has left one, or -1, and how far its face is."""
    way = BEYOND_MM
    while way < MOST_GAP_MM:
        there, _ = crystal_at(x + way * u, y + way * v, z + way * w, ring)
        if there >= 0 and there != here:
            near, _ = crystal_span(there, x, y, z, u, v, w, ring)
            return there, max(near, 0.0) + BEYOND_MM
        way += GAP_STEP_MM
    return -1, 0.0


@lean
def spread_electron(born, crystals, deposits, scatters, num_touched, ring, electrons, state):  # type: ignore[no-untyped-def]
    """Carry the energy of an electron that was born near a face to where it goes.

    Its energy lies in the crystal of its birth. A track of the library is laid out from there, and
    goes straight from node to node and through gaps; what is lost in other crystals goes to these,
    what finds no crystal is lost.

    Parameters
    ----------
    born : array, shape (`BORN`,)
        Row of the crystal, place, direction, energy, track, distance of the next face (mm).

    Returns
    -------
    num_touched : int
    """
    home = int(born[0])
    x, y, z, u, v, w, kinetic_kev = born[1], born[2], born[3], born[4], born[5], born[6], born[7]
    i_kev, last = int(kinetic_kev + 0.5), len(electrons.node_kev) - 1
    node, stretch = electrons.node[i_kev], electrons.stretch[i_kev]
    track, places_mm = int(born[8]), electrons.places_mm
    # the track's direction at its node and two across, and the electron's, at a random azimuth
    au, av, aw = (
        np.float64(electrons.ways[track, node, 0]),
        np.float64(electrons.ways[track, node, 1]),
        np.float64(electrons.ways[track, node, 2]),
    )
    ax, ay, az, bx, by, bz = crosswise(au, av, aw)
    ex, ey, ez, fx, fy, fz = crosswise(u, v, w)
    sine, cosine = circle(uniform(state))
    gx, gy, gz = cosine * ex + sine * fx, cosine * ey + sine * fy, cosine * ez + sine * fz
    hx, hy, hz = cosine * fx - sine * ex, cosine * fy - sine * ey, cosine * fz - sine * ez
    here, row, before_kev = crystals[home], home, kinetic_kev
    px, py, pz = x, y, z  # where the step begins
    # a place in this crystal, and how far the next face is from there
    sx, sy, sz, safe2 = x, y, z, born[9] * born[9]
    per_kev = kinetic_kev / electrons.node_kev[node]
    ox, oy, oz = (
        stretch * places_mm[track, node, 0],
        stretch * places_mm[track, node, 1],
        stretch * places_mm[track, node, 2],
    )
    k = node + 1
    while k <= last:
        qx, qy, qz = (
            stretch * places_mm[track, k, 0] - ox,
            stretch * places_mm[track, k, 1] - oy,
            stretch * places_mm[track, k, 2] - oz,
        )
        a, b, c = (
            qx * ax + qy * ay + qz * az,
            qx * bx + qy * by + qz * bz,
            qx * au + qy * av + qz * aw,
        )
        qx, qy, qz = (
            x + a * gx + b * hx + c * u,
            y + a * gy + b * hy + c * v,
            z + a * gz + b * hz + c * w,
        )
        now_kev = per_kev * electrons.node_kev[k] if k < last else 0.0
        dx, dy, dz = qx - sx, qy - sy, qz - sz
        if dx * dx + dy * dy + dz * dz >= safe2:
            there, margin_mm = crystal_at(qx, qy, qz, ring)
            if there != here:
                dx, dy, dz = qx - px, qy - py, qz - pz
                length = math.sqrt(dx * dx + dy * dy + dz * dz)
                dx, dy, dz = dx / length, dy / length, dz / length
                _, way = crystal_span(here, px, py, pz, dx, dy, dz, ring)
                way = min(max(way, 0.0), length)
                lost_kev = (before_kev - now_kev) * (way / length)
                deposits[home, 0] -= lost_kev
                deposits[row, 0] += lost_kev
                before_kev -= lost_kev
                px, py, pz = px + way * dx, py + way * dy, pz + way * dz
                here, way = across_gap(here, px, py, pz, dx, dy, dz, ring)
                if here < 0:
                    deposits[home, 0] -= before_kev
                    return num_touched
                px, py, pz = px + way * dx, py + way * dy, pz + way * dz
                x, y, z = x + way * dx, y + way * dy, z + way * dz  # the track moves with it
                row, num_touched = slot_of(
                    here, deposits[home, 1], scatters[home, 0], scatters[home, 1], crystals,
                    deposits, scatters, num_touched,
                )  # fmt: skip
                safe2 = 0.0
                continue  # with the rest of this step
            if stretch * electrons.node_mm[k] <= margin_mm:
                break  # the rest stays here
            sx, sy, sz, safe2 = qx, qy, qz, margin_mm * margin_mm
        deposits[home, 0] -= before_kev - now_kev
        deposits[row, 0] += before_kev - now_kev
        before_kev = now_kev
        px, py, pz = qx, qy, qz
        k += 1
    deposits[home, 0] -= before_kev
    deposits[row, 0] += before_kev
    return num_touched


@lean
def spread_ray(born, crystals, deposits, scatters, num_touched, ring, cosine, state):  # type: ignore[no-untyped-def]
    """Carry the energy of an X-ray from the crystal of its birth to where it goes.

    Parameters and returns as `spread_electron`; in place of the track its first flight, mm; in
    place of the tables of electrons those of angles.
    """
    home = int(born[0])
    x, y, z, energy_kev = born[1], born[2], born[3], born[7]
    u, v, w = any_direction(state)
    i_energy, step = int(energy_kev + 0.5), born[8]
    outer2, inner2 = ring.reach_mm**2, ring.inner_mm**2
    # if its first flight ends before the next face, it scatters there: see `keep_ray`
    absorbed = ring.shares[0, i_energy, PHOTOELECTRIC] if step <= born[9] else 0.0
    while True:
        x, y, z = x + step * u, y + step * v, z + step * w
        radius2 = x * x + y * y
        if radius2 > outer2 or radius2 < inner2 or abs(z) >= ring.half_length_mm:
            deposits[home, 0] -= energy_kev
            return num_touched
        crystal, _ = crystal_at(x, y, z, ring)
        left_kev = energy_kev
        if crystal >= 0:
            draw = absorbed + (1.0 - absorbed) * uniform(state)
            process = process_of(ring.shares, 0, i_energy, draw)
            absorbed = 0.0
            if process == PHOTOELECTRIC:
                left_kev = 0.0
            else:
                cos = angle_cosine(cosine, process, CRYSTAL, energy_kev, state)
                u, v, w = deflect(u, v, w, cos, state)
                if process == COMPTON:
                    left_kev = after_compton(energy_kev, cos)
        if left_kev < energy_kev:
            if left_kev < LOCAL_KEV:
                left_kev = 0.0
            row, num_touched = slot_of(
                crystal, deposits[home, 1], scatters[home, 0], scatters[home, 1], crystals,
                deposits, scatters, num_touched,
            )  # fmt: skip
            deposits[home, 0] -= energy_kev - left_kev
            deposits[row, 0] += energy_kev - left_kev
            if left_kev == 0.0:
                return num_touched
            energy_kev = left_kev
            i_energy = int(energy_kev + 0.5)
        step = exponential(state) * ring.free_mm[i_energy]


@inlined
def place_of(source, box, state):  # type: ignore[no-untyped-def]
    """Draw the place of a decay, mm."""
    size_x, size_y, size_z = 1 / box.per_mm[0], 1 / box.per_mm[1], 1 / box.per_mm[2]
    if source.radius_mm > 0.0:
        sine, cos = circle(uniform(state))
        radius = source.radius_mm * math.sqrt(uniform(state))
        return radius * cos, radius * sine, box.low_mm[2] + uniform(state) * size_z
    place = uniform(state) * len(source.threshold)
    i = int(place)
    if place - i >= source.threshold[i]:
        i = source.alias[i]
    x = box.low_mm[0] + (source.voxels[i, 2] + uniform(state)) * size_x
    y = box.low_mm[1] + (source.voxels[i, 1] + uniform(state)) * size_y
    z = box.low_mm[2] + (source.voxels[i, 0] + uniform(state)) * size_z
    return x, y, z


@inlined
def material_at(x, y, z, box):  # type: ignore[no-untyped-def]
    """Material of a place: that of its voxel, air outside the box."""
    if not (
        box.low_mm[0] <= x < box.high_mm[0]
        and box.low_mm[1] <= y < box.high_mm[1]
        and box.low_mm[2] <= z < box.high_mm[2]
    ):
        return OUTSIDE
    num_z, num_y, num_x = box.labels.shape
    return int(
        box.labels[
            min(int((z - box.low_mm[2]) * box.per_mm[2]), num_z - 1),
            min(int((y - box.low_mm[1]) * box.per_mm[1]), num_y - 1),
            min(int((x - box.low_mm[0]) * box.per_mm[0]), num_x - 1),
        ]
    )


@inlined
def to_face(x, u, low_mm, per_mm):  # type: ignore[no-untyped-def]
    """Way to the next face of the voxels along one axis."""
    if u == 0.0:
        return np.inf
    i = int((x - low_mm) * per_mm)
    return max(0.0, (low_mm + (i + 1 if u > 0.0 else i) / per_mm - x) / u)


@lean
def glide(x, y, z, u, v, w, way, material, box, inner2):  # type: ignore[no-untyped-def]
    """Go straight on, as far as the material reaches, at most `way` (mm).

    Returns
    -------
    gone_mm : float
    material : int
        Of the place reached; `ON_RING` at the inner cylinder of the ring.
    """
    gone = 0.0
    while True:
        if material != OUTSIDE:
            face = min(
                to_face(x, u, box.low_mm[0], box.per_mm[0]),
                to_face(y, v, box.low_mm[1], box.per_mm[1]),
                to_face(z, w, box.low_mm[2], box.per_mm[2]),
            )
        else:
            a, b = u * u + v * v, x * u + y * v
            ring = (math.sqrt(max(0.0, b * b - a * (x * x + y * y - inner2))) - b) / a
            near, far = box_span(x, y, z, u, v, w, box)
            face = ring
            if near < far and far > 0.0:
                face = max(near, 0.0)
            elif gone + ring < way:
                return gone + ring, ON_RING
        if gone + face >= way:
            return way, material
        face += BEYOND_MM
        gone, x, y, z = gone + face, x + face * u, y + face * v, z + face * w
        now = material_at(x, y, z, box)
        if now != material:
            return gone, now


@lean
def follow_positron(x, y, z, positrons, box, ring, state):  # type: ignore[no-untyped-def]
    """Follow a positron from its decay to where it annihilates, see `positrons`.

    A step ends where the material changes, without the turn if its hinge lies beyond (Salvat et al.
    2011, section 4.3). In air outside the voxels it goes on as in air.

    Returns
    -------
    x, y, z : float
    kinetic_kev : float
        What is left: nothing, unless it reached the ring.
    is_on_ring : bool
        Whether it reached the inner cylinder of the ring, crystals or not.
    """
    kinetic_kev = at_quantile(positrons.energies_kev, uniform(state))
    u, v, w = any_direction(state)
    rungs_kev, inner2 = positrons.rungs_kev, ring.inner_mm**2
    k = len(rungs_kev) - 1
    while k >= 0 and rungs_kev[k] >= kinetic_kev:
        k -= 1
    label = material_at(x, y, z, box)
    while k >= 0:
        material = AIR if label == OUTSIDE else label
        share = (kinetic_kev - rungs_kev[k]) / (rungs_kev[k + 1] - rungs_kev[k])
        way = share * (positrons.range_mm[material, k + 1] - positrons.range_mm[material, k])
        bend = share * (positrons.bend[material, k + 1] - positrons.bend[material, k])
        hinge = uniform(state) * way
        gone, now = glide(x, y, z, u, v, w, hinge, label, box, inner2)
        x, y, z = x + gone * u, y + gone * v, z + gone * w
        if now == label:
            # exponential in 1 - cosine, of mean 1 - exp(-bend): many small angles
            cos = max(-1.0, 1.0 - (1.0 - math.exp(-bend)) * exponential(state))
            u, v, w = deflect(u, v, w, cos, state)
            rest, now = glide(x, y, z, u, v, w, way - hinge, label, box, inner2)
            x, y, z, gone = x + rest * u, y + rest * v, z + rest * w, gone + rest
        if now == label:
            kinetic_kev = rungs_kev[k]
            k -= 1
            continue
        kinetic_kev -= (kinetic_kev - rungs_kev[k]) * min(1.0, gone / way)
        if now == ON_RING:
            return x, y, z, kinetic_kev, True
        if kinetic_kev <= rungs_kev[k]:
            k -= 1
        label = now
    return x, y, z, 0.0, False


@inlined
def remember(row_of_born, row, x, y, z, u, v, w, energy_kev, track, margin_mm):  # type: ignore[no-untyped-def]
    """Write an electron, or an X-ray (no direction, its first flight for the track), as `BORN`."""
    row_of_born[0], row_of_born[1], row_of_born[2], row_of_born[3] = row, x, y, z
    row_of_born[4], row_of_born[5], row_of_born[6] = u, v, w
    row_of_born[7], row_of_born[8], row_of_born[9] = energy_kev, track, margin_mm


@inlined
def keep_ray(row, x, y, z, energy_kev, margin_mm, ring, born, num_born, state):  # type: ignore[no-untyped-def]
    """Keep an X-ray unless its first flight ends in its crystal and in a photoelectric effect.

    Returns
    -------
    int
        Number of those kept.
    """
    i_energy = int(energy_kev + 0.5)
    step = exponential(state) * ring.free_mm[i_energy]
    if num_born == MAX_BORN or (
        step <= margin_mm and uniform(state) < ring.shares[0, i_energy, PHOTOELECTRIC]
    ):
        return num_born
    remember(born[num_born], row, x, y, z, 0.0, 0.0, 0.0, energy_kev, step, margin_mm)
    return num_born + 1


@inlined
def radiated_kev(i_kev, electrons, state):  # type: ignore[no-untyped-def]
    """Draw the energy of a photon that an electron radiates."""
    return at_quantile(electrons.radiated_kev[i_kev], uniform(state))


@inlined
def track_outward(kinetic_kev, margin_mm, electrons, num_born, state):  # type: ignore[no-untyped-def]
    """Draw an electron's track; -1 if it could not leave the crystal, or finds no room."""
    i_kev = int(kinetic_kev + 0.5)
    if margin_mm >= electrons.reach_mm[i_kev] or num_born == MAX_BORN:
        return -1
    track = int(uniform(state) * electrons.far_mm.shape[1])
    far_mm = electrons.stretch[i_kev] * electrons.far_mm[electrons.node[i_kev], track]
    return track if far_mm > margin_mm else -1


@inlined
def follow_photon(  # type: ignore[no-untyped-def]
    x, y, z, u, v, w, energy_kev, is_in_ring, box, ring, air, cosine, electrons, least_kev, state,
    crystals, deposits, scatters, born, num_touched, num_born,
):  # fmt: skip
    """Follow a photon from the voxels, or from a crystal, to its end.

    Returns
    -------
    num_touched, num_born : int
        Rows taken of the crystals, and of the electrons and X-rays that may leave theirs.
    """
    inner2, outer2 = ring.inner_mm**2, ring.reach_mm**2
    length_mm, num_compton, num_rayleigh, most_kev = 0.0, 0, 0, 0.0
    is_inside, is_alive = not is_in_ring, True
    while is_alive:
        if not is_in_ring:
            # ---- the voxels
            if is_inside:
                is_alive, x, y, z, u, v, w, energy_kev, way, compton, rayleigh = in_box(
                    x, y, z, u, v, w, energy_kev, box, cosine, least_kev - most_kev, state
                )
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
                        if energy_kev < least_kev - most_kev:
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
        is_in_ring = False
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
            crystal, margin_mm = crystal_at(x, y, z, ring)
            if crystal < 0:
                continue
            process = process_of(ring.shares, 0, i_energy, uniform(state))
            ux, vx, wx, left_kev = u, v, w, 0.0
            if process != PHOTOELECTRIC:
                cos = angle_cosine(cosine, process, CRYSTAL, energy_kev, state)
                u, v, w = deflect(u, v, w, cos, state)
                if process == RAYLEIGH:
                    continue
                left_kev = after_compton(energy_kev, cos)
            i, num_touched = slot_of(
                crystal, length_mm, num_compton, num_rayleigh, crystals, deposits, scatters,
                num_touched,
            )  # fmt: skip
            kinetic_kev = energy_kev - left_kev
            deposits[i, 0] += kinetic_kev
            deposits[i, 1] = min(deposits[i, 1], length_mm)
            most_kev = max(most_kev, deposits[i, 0])
            # ---- what may leave the crystal: kept, and looked at when the decay is over
            i_kev = int(kinetic_kev + 0.5)
            draw = uniform(state)
            if draw < electrons.vacancy[process, i_energy] and kinetic_kev > electrons.binding_kev:
                kinetic_kev -= electrons.binding_kev
                line = chosen(electrons.lines, uniform(state))
                if line < len(electrons.lines):
                    num_born = keep_ray(
                        i, x, y, z, electrons.lines_kev[line], margin_mm, ring, born, num_born,
                        state,
                    )  # fmt: skip
            elif draw >= 1.0 - electrons.radiation[i_kev]:
                ray_kev = radiated_kev(i_kev, electrons, state)
                kinetic_kev = max(kinetic_kev - ray_kev, 0.0)
                num_born = keep_ray(i, x, y, z, ray_kev, margin_mm, ring, born, num_born, state)
            if (
                process == PHOTOELECTRIC
                and margin_mm < OUTER_REACH_MM
                and uniform(state) < electrons.outer
            ):
                num_born = keep_ray(
                    i, x, y, z, electrons.outer_kev, margin_mm, ring, born, num_born, state
                )
            track = track_outward(kinetic_kev, margin_mm, electrons, num_born, state)
            if track >= 0:
                if process == PHOTOELECTRIC:
                    cos = sauter_cosine(kinetic_kev, state)
                    ux, vx, wx = deflect(ux, vx, wx, cos, state)
                else:  # what the photon lost of its momentum
                    ux, vx, wx = (
                        energy_kev * ux - left_kev * u,
                        energy_kev * vx - left_kev * v,
                        energy_kev * wx - left_kev * w,
                    )
                    size = math.sqrt(ux * ux + vx * vx + wx * wx)
                    ux, vx, wx = ux / size, vx / size, wx / size
                remember(born[num_born], i, x, y, z, ux, vx, wx, kinetic_kev, track, margin_mm)
                num_born += 1
            energy_kev = left_kev
            i_energy = int(energy_kev + 0.5)
            if energy_kev < LOCAL_KEV:  # it goes no further than it came
                deposits[i, 0] += energy_kev
                is_alive = False
                break
            # no crystal can reach the window any more
            if most_kev + energy_kev < least_kev:
                is_alive = False
                break
    return num_touched, num_born


@inlined
def read_out(  # type: ignore[no-untyped-def]
    time_ns, event, x_source, y_source, z_source, ring, cosine, electrons, readout, state,
    crystals, deposits, scatters, born, num_touched, num_born, reals, counts, num_singles,
):  # fmt: skip
    """Turn the deposits of a decay into singles; returns how many there are by now."""
    total_kev = 0.0
    for i in range(num_touched):
        total_kev += deposits[i, 0]
    if total_kev >= readout.least_kev:
        for i in range(num_born):
            if born[i, 4] == 0.0 and born[i, 5] == 0.0 and born[i, 6] == 0.0:
                num_touched = spread_ray(
                    born[i], crystals, deposits, scatters, num_touched, ring, cosine, state
                )
            else:
                num_touched = spread_electron(
                    born[i], crystals, deposits, scatters, num_touched, ring, electrons, state
                )
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
        counts[row, EVENT], counts[row, CRYSTAL_ID] = event, crystals[i]
        counts[row, NUM_COMPTON] = scatters[i, 0]
        counts[row, NUM_RAYLEIGH] = scatters[i, 1]
    return num_singles


@lean
def follow(  # type: ignore[no-untyped-def]
    seed, stream, start_ns, end_ns, activity_bq, source, box, ring, air, cosine, electrons, readout,
    state, crystals, deposits, scatters, born, reals, counts,
):  # fmt: skip
    """Follow all decays of the time slice [start_ns, end_ns).

    Parameters
    ----------
    state, crystals, deposits, scatters, born : arrays, shape (2,), (`MAX_DEPOSITS`,), twice
        (`MAX_DEPOSITS`, 2), and (`MAX_BORN`, `BORN`)
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
    if activity_bq <= 0.0:
        return num_decays, num_singles
    gap_ns = 1e9 / activity_bq
    time_ns = start_ns
    while True:
        time_ns += exponential(state) * gap_ns
        if time_ns >= end_ns:
            return num_decays, num_singles
        x_source, y_source, z_source = place_of(source, box, state)
        u_first, v_first, w_first = any_direction(state)
        num_touched, num_born = 0, 0
        x, y, z, is_on_ring = x_source, y_source, z_source, False
        if len(source.positrons.energies_kev) > 0:
            x, y, z, kinetic_kev, is_on_ring = follow_positron(
                x, y, z, source.positrons, box, ring, state
            )
            if is_on_ring:
                if abs(z) >= ring.half_length_mm:  # it leaves the scanner
                    num_decays += 1
                    continue
                ahead = 1 + BEYOND_MM
                x, y = x * ahead, y * ahead
                crystal, _ = crystal_at(x, y, z, ring)
                if crystal >= 0:
                    i, num_touched = slot_of(
                        crystal, 0.0, 0, 0, crystals, deposits, scatters, num_touched
                    )
                    deposits[i, 0] += kinetic_kev
        for photon in range(2):
            if photon == 0:
                u, v, w = u_first, v_first, w_first
            else:
                # a Gaussian in each of two directions: half the squared angle is exponential
                bend = 1 - source.bend2 * exponential(state)
                u, v, w = deflect(-u_first, -v_first, -w_first, bend, state)
            num_touched, num_born = follow_photon(
                x, y, z, u, v, w, ELECTRON_KEV, is_on_ring, box, ring, air, cosine, electrons,
                readout.least_kev, state, crystals, deposits, scatters, born, num_touched,
                num_born,
            )  # fmt: skip
        num_singles = read_out(
            time_ns, num_decays, x_source, y_source, z_source, ring, cosine, electrons, readout,
            state, crystals, deposits, scatters, born, num_touched, num_born, reals, counts,
            num_singles,
        )  # fmt: skip
        num_decays += 1


@lean
def lutetium_decay(lutetium, state, kinds, energies_kev):  # type: ignore[no-untyped-def]
    """Draw what one decay of 176Lu emits; `kinds` and `energies_kev` are filled.

    A vacancy gives an X-ray of the K shell, or nothing that leaves; the rest of its energy is
    `LOCAL`.

    Returns
    -------
    int
        Number of particles, the beta particle first. Their energies and that of the neutrino add
        up to what the decay sets free.
    """
    is_upper = uniform(state) < lutetium.upper_share
    beta_kev = at_quantile(lutetium.beta_kev[1 if is_upper else 0], uniform(state))
    kinds[0], energies_kev[0], num = ELECTRON, beta_kev, 1
    for transition in range(0 if is_upper else 1, len(lutetium.transition_kev)):
        left_kev = lutetium.transition_kev[transition]
        draw, way = uniform(state), 0
        while way < len(lutetium.binding_kev) and draw >= lutetium.shares[transition, way]:
            way += 1
        if way == 0:
            kinds[num], energies_kev[num] = GAMMA, left_kev
            num += 1
            continue
        binding_kev = lutetium.binding_kev[way - 1]
        kinds[num], energies_kev[num] = ELECTRON, left_kev - binding_kev
        num += 1
        if way == 1:  # the K shell
            line = chosen(lutetium.lines, uniform(state))
            if line < len(lutetium.lines):
                kinds[num], energies_kev[num] = X_RAY, lutetium.lines_kev[line]
                binding_kev -= lutetium.lines_kev[line]
                num += 1
        if binding_kev > 0.0:
            kinds[num], energies_kev[num] = LOCAL, binding_kev
            num += 1
    return num


@lean
def place_in_crystals(ring, state):  # type: ignore[no-untyped-def]
    """Draw a place, uniform in the crystals; returns it, its crystal, and mm to the next face."""
    while True:
        radius = math.sqrt(
            ring.inner_mm**2 + uniform(state) * (ring.reach_mm**2 - ring.inner_mm**2)
        )
        sine, cosine = circle(uniform(state))
        z = (2 * uniform(state) - 1) * ring.half_length_mm
        crystal, margin_mm = crystal_at(radius * cosine, radius * sine, z, ring)
        if crystal >= 0:
            return radius * cosine, radius * sine, z, crystal, margin_mm


@lean
def keep_electron(  # type: ignore[no-untyped-def]
    row, x, y, z, kinetic_kev, margin_mm, ring, electrons, born, num_born, state
):
    """Keep an electron of any direction, and what it radiates, if they could leave the crystal.

    Returns the number of those kept.
    """
    # one beta particle in a hundred has more than the library's tracks; the excess stays here
    kinetic_kev = min(kinetic_kev, MOST_ELECTRON_KEV)
    i_kev = int(kinetic_kev + 0.5)
    if uniform(state) < electrons.radiation[i_kev]:
        ray_kev = radiated_kev(i_kev, electrons, state)
        num_born = keep_ray(row, x, y, z, ray_kev, margin_mm, ring, born, num_born, state)
        kinetic_kev = max(kinetic_kev - ray_kev, 0.0)
    track = track_outward(kinetic_kev, margin_mm, electrons, num_born, state)
    if track < 0:
        return num_born
    u, v, w = any_direction(state)
    remember(born[num_born], row, x, y, z, u, v, w, kinetic_kev, track, margin_mm)
    return num_born + 1


@lean
def follow_lutetium(  # type: ignore[no-untyped-def]
    seed, stream, start_ns, end_ns, activity_bq, lutetium, box, ring, air, cosine, electrons,
    readout, state, crystals, deposits, scatters, born, kinds, energies_kev, reals, counts,
):  # fmt: skip
    """Follow all decays of 176Lu in the time slice [start_ns, end_ns).

    Parameters and returns as `follow`; `kinds` and `energies_kev` are memory for `lutetium_decay`.
    Events count -1, -2, ... so that they differ from those of the source.
    """
    start_stream(state, seed, stream)
    num_singles, num_decays = 0, 0
    gap_ns = 1e9 / activity_bq
    time_ns = start_ns
    while True:
        time_ns += exponential(state) * gap_ns
        if time_ns >= end_ns:
            return num_decays, num_singles
        x, y, z, crystal, margin_mm = place_in_crystals(ring, state)
        _, num_touched = slot_of(crystal, 0.0, 0, 0, crystals, deposits, scatters, 0)
        num_born, num_emitted = 0, lutetium_decay(lutetium, state, kinds, energies_kev)
        # first what stays where it is, since deposits decide which electrons matter
        for i in range(num_emitted):
            kev = energies_kev[i]
            if kinds[i] == GAMMA:
                continue
            deposits[0, 0] += kev
            if kinds[i] == ELECTRON:
                num_born = keep_electron(
                    0, x, y, z, kev, margin_mm, ring, electrons, born, num_born, state
                )
            elif kinds[i] == X_RAY:
                num_born = keep_ray(0, x, y, z, kev, margin_mm, ring, born, num_born, state)
        for i in range(num_emitted):
            if kinds[i] == GAMMA:
                u, v, w = any_direction(state)
                # 0 keV: what is left of a ray may add to what others left, so follow all of it
                num_touched, num_born = follow_photon(
                    x, y, z, u, v, w, energies_kev[i], True, box, ring, air,
                    cosine, electrons, 0.0, state, crystals, deposits, scatters, born, num_touched,
                    num_born,
                )  # fmt: skip
        num_singles = read_out(
            time_ns, -1 - num_decays, x, y, z, ring, cosine, electrons, readout, state, crystals,
            deposits, scatters, born, num_touched, num_born, reals, counts, num_singles,
        )  # fmt: skip
        num_decays += 1


@fast
def lutetium_slice(  # type: ignore[no-untyped-def]
    seed, stream, start_ns, end_ns, activity_bq, lutetium, box, ring, air, cosine, electrons,
    readout,
):  # fmt: skip
    """Call `follow_lutetium` with memory of its own; returns as `decay_slice`."""
    state, crystals = np.empty(2, np.uint64), np.empty(MAX_DEPOSITS, np.int64)
    deposits, scatters = np.empty((MAX_DEPOSITS, 2)), np.empty((MAX_DEPOSITS, 2), np.int64)
    born, kinds = np.empty((MAX_BORN, BORN)), np.empty(MAX_EMITTED, np.int64)
    energies_kev = np.empty(MAX_EMITTED)
    capacity = 1024 + int((end_ns - start_ns) * 1e-9 * activity_bq)
    while True:
        reals, counts = np.empty((capacity, 5)), np.empty((capacity, 4), np.int64)
        num_decays, num_singles = follow_lutetium(
            seed, stream, start_ns, end_ns, activity_bq, lutetium, box, ring, air, cosine,
            electrons, readout, state, crystals, deposits, scatters, born, kinds, energies_kev,
            reals, counts,
        )  # fmt: skip
        if num_singles <= capacity:
            return num_decays, reals[:num_singles], counts[:num_singles]
        capacity = num_singles  # the same stream gives the same singles


@fast
def emitted_by_lutetium(seed, stream, num_decays, lutetium, ring):  # type: ignore[no-untyped-def]
    """Draw decays of 176Lu in the crystals, and list what they emit.

    Returns
    -------
    decay, kind : int64 array, shape (n,)
        Number of the decay, rising, and `ELECTRON`, `GAMMA`, `X_RAY` or `LOCAL`.
    kev_and_mm : float64 array, shape (n, 4)
        Energy, and the place (x, y, z) of the decay.
    """
    state = random_state(seed, stream)
    kinds, energies_kev = np.empty(MAX_EMITTED, np.int64), np.empty(MAX_EMITTED)
    decay, kind = np.empty((2, MAX_EMITTED * num_decays), np.int64)
    kev_and_mm, num = np.empty((MAX_EMITTED * num_decays, 4)), 0
    for i in range(num_decays):
        x, y, z, _, _ = place_in_crystals(ring, state)
        for k in range(lutetium_decay(lutetium, state, kinds, energies_kev)):
            decay[num], kind[num], kev_and_mm[num, 0] = i, kinds[k], energies_kev[k]
            kev_and_mm[num, 1], kev_and_mm[num, 2], kev_and_mm[num, 3] = x, y, z
            num += 1
    return decay[:num], kind[:num], kev_and_mm[:num]


@fast
def electron_track(  # type: ignore[no-untyped-def]
    seed, stream, first_log, per_log, collisions, shares, screening, charge, nodes_mm,
    residual_mm, places, ways,
):  # fmt: skip
    """Follow one electron along z, collision by collision, through the nodes of its range.

    Parameters
    ----------
    first_log, per_log : float
        Of the tables' grid: logarithm of the first energy, entries per unit of the logarithm.
    collisions : float64 array, shape (energies,)
        Elastic collisions per mm, times `SPIN_BOUND`.
    shares, screening : float64 array, shape (elements, energies)
        Cumulative shares of the collisions, and Moliere's screening.
    charge : float64 array, shape (elements,)
        Z.
    nodes_mm, residual_mm : float64 array, shape (nodes,) and (energies,)
        Residual ranges, falling, and by energy.
    places, ways : float64 array, shape (nodes, 3)
        Filled.
    """
    state = random_state(seed, stream)
    x, y, z, u, v, w = 0.0, 0.0, 0.0, 0.0, 0.0, 1.0
    range_mm, k = nodes_mm[0], 0
    # energies fall along the table as the range does
    i = len(collisions) - 1
    while True:
        while i > 0 and residual_mm[i - 1] >= range_mm:
            i -= 1
        step = exponential(state) / collisions[i]
        while k < len(nodes_mm) and range_mm - step <= nodes_mm[k]:
            way = range_mm - nodes_mm[k]
            places[k, 0], places[k, 1], places[k, 2] = x + way * u, y + way * v, z + way * w
            ways[k, 0], ways[k, 1], ways[k, 2] = u, v, w
            k += 1
        if k == len(nodes_mm):
            return
        x, y, z, range_mm = x + step * u, y + step * v, z + step * w, range_mm - step
        draw, element = uniform(state), 0
        while element < len(charge) - 1 and draw >= shares[element, i]:
            element += 1
        screen = screening[element, i]
        draw = uniform(state)
        cosine = 1 - 2 * screen * draw / (1 + screen - draw)
        kinetic = math.exp(first_log + i / per_log) / ELECTRON_KEV
        beta2 = kinetic * (kinetic + 2) / (kinetic + 1) ** 2
        half_sine = math.sqrt(0.5 * (1 - cosine))
        spin = (
            1
            - beta2 * half_sine * half_sine
            + math.pi
            * charge[element]
            / INVERSE_FINE_STRUCTURE
            * (math.sqrt(beta2) * half_sine * (1 - half_sine))
        )
        if uniform(state) * SPIN_BOUND < spin:
            u, v, w = deflect(u, v, w, cosine, state)


@fast
def add_pulse(sums, facts, most_kev, row, reals, counts):  # type: ignore[no-untyped-def]
    """Add a pulse to a row: time of the first; energy of all; the rest is that of the largest."""
    sums[row, TIME_NS] = min(sums[row, TIME_NS], reals[TIME_NS])
    sums[row, ENERGY_KEV] += reals[ENERGY_KEV]
    if reals[ENERGY_KEV] > most_kev[row]:
        most_kev[row] = reals[ENERGY_KEV]
        sums[row, X_MM:] = reals[X_MM:]
        facts[row] = counts


@fast
def join_pulses(reals, counts, unit_of, least_kev):  # type: ignore[no-untyped-def]
    """Add up what one decay leaves in one unit, in place; returns how many pulses there are.

    Pulses of a decay stand together. unit_of is by crystal; sums of less than least_kev go.
    """
    num, first, most_kev = 0, 0, np.empty(len(reals))
    for i in range(len(reals)):
        if num == 0 or counts[i, EVENT] != counts[first, EVENT]:
            first = num
        unit, row = unit_of[counts[i, CRYSTAL_ID]], first
        while row < num and unit_of[counts[row, CRYSTAL_ID]] != unit:
            row += 1
        if row < num:
            add_pulse(reals, counts, most_kev, row, reals[i], counts[i])
        else:
            reals[num], counts[num], most_kev[num] = reals[i], counts[i], reals[i, ENERGY_KEV]
            num += 1
    num_kept = 0
    for row in range(num):
        if reals[row, ENERGY_KEV] >= least_kev:
            reals[num_kept], counts[num_kept] = reals[row], counts[row]
            num_kept += 1
    return num_kept


@fast
def pile_up(reals, counts, unit_of, num_units, window_ns, until_ns):  # type: ignore[no-untyped-def]
    """Add up what comes into a unit within a time after its first pulse.

    Parameters
    ----------
    reals, counts : arrays, shape (n, 5) and (n, 4)
        Pulses in the order of time; those to come begin at until_ns or later.

    Returns
    -------
    reals, counts : arrays
        Sums that are complete, in the order of time.
    is_open : bool array, shape (n,)
        The pulses of the others.
    """
    sums, facts, most_kev = reals.copy(), counts.copy(), np.empty(len(reals))
    last = np.full(num_units, -1)
    is_open = np.zeros(len(reals), np.bool_)
    num, num_complete = 0, 0
    for i in range(len(reals)):
        now, unit = reals[i, TIME_NS], unit_of[counts[i, CRYSTAL_ID]]
        row = last[unit]
        if row >= 0 and now - sums[row, TIME_NS] <= window_ns:
            add_pulse(sums, facts, most_kev, row, reals[i], counts[i])
        else:
            row = num
            sums[row], facts[row], most_kev[row] = reals[i], counts[i], reals[i, ENERGY_KEV]
            last[unit] = row
            num += 1
            if now + window_ns < until_ns:
                num_complete = num
        is_open[i] = row >= num_complete
    return sums[:num_complete], facts[:num_complete], is_open


@fast
def is_live(time_ns, unit, dead_ns, is_paralysable, dead_until_ns):  # type: ignore[no-untyped-def]
    """Tell which pulses find their unit alive; dead_until_ns, by unit, goes on from call to call.

    Knoll, Radiation Detection and Measurement, ch. 4.VII: a pulse that comes into dead time leaves
    it as it is, or, if it is paralysable, starts it again.
    """
    is_kept = np.empty(len(time_ns), np.bool_)
    for i in range(len(time_ns)):
        is_kept[i] = time_ns[i] > dead_until_ns[unit[i]]
        if is_kept[i] or is_paralysable:
            dead_until_ns[unit[i]] = time_ns[i] + dead_ns
    return is_kept


@fast
def blur_pulses(reals, readout, state):  # type: ignore[no-untyped-def]
    """Blur energies and times, in place, as `read_out` does; tells which are in the window."""
    is_kept = np.empty(len(reals), np.bool_)
    for i in range(len(reals)):
        exact_kev = reals[i, ENERGY_KEV]
        sigma_kev = readout.relative_sigma * math.sqrt(readout.photon_kev * exact_kev)
        energy_normal, time_normal = normals(state)
        reals[i, ENERGY_KEV] = exact_kev + sigma_kev * energy_normal
        reals[i, TIME_NS] += readout.sigma_ns * time_normal
        is_kept[i] = readout.low_kev <= reals[i, ENERGY_KEV] < readout.high_kev
    return is_kept


@fast
def singles_of_photons(  # type: ignore[no-untyped-def]
    seed, num, energy_kev, secant, box, ring, air, cosine, electrons, readout
):
    """Count singles in the window of photons that enter the ring along its middle.

    They come from everywhere around, in a plane with the axis, in which they are as oblique as one
    over their cosine to the radius says: photons of an object near the axis never cross from
    column to column without a collision.
    """
    state = random_state(seed, 0)
    crystals, deposits = np.empty(MAX_DEPOSITS, np.int64), np.empty((MAX_DEPOSITS, 2))
    scatters, born = np.empty((MAX_DEPOSITS, 2), np.int64), np.empty((MAX_BORN, BORN))
    reals, counts = np.empty((0, 5)), np.empty((0, 4), np.int64)
    num_singles = 0
    for _ in range(num):
        y, x = circle(uniform(state))
        z = (uniform(state) - 0.5) * 2 * ring.pitch_mm
        u, v, w = x / secant, y / secant, math.sqrt(1 - 1 / secant**2)
        place = ring.inner_mm + BEYOND_MM
        num_touched, num_born = follow_photon(
            place * x, place * y, z, u, v, w, energy_kev, True, box, ring, air, cosine, electrons,
            readout.least_kev, state, crystals, deposits, scatters, born, 0, 0,
        )  # fmt: skip
        num_singles = read_out(
            0.0, 0, x, y, z, ring, cosine, electrons, readout, state, crystals, deposits, scatters,
            born, num_touched, num_born, reals, counts, num_singles,
        )  # fmt: skip
    return num_singles


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
