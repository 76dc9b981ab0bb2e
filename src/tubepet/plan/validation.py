"""How many cases GATE and the fast engine are compared on, and how many decays each gets."""

# In every run, and in full (target `validate`).
NUM_CASES = {"run": 3, "full": 6}
FULL_DECAYS = 2_000_000  # by GATE, of each case
# GATE follows about eight times as many decays in cylinders as in voxels within the same time.
EXACT_SHARE = 8


def names(scope: str) -> list[str]:
    """Return the names of the cases of a scope, "run" or "full"."""
    return [f"{scope}_{i}" for i in range(NUM_CASES[scope])]


def is_exact(name: str) -> bool:
    """Return whether GATE takes the tube of a case as exact solids: every second one."""
    return int(name.split("_")[1]) % 2 == 0


def expected_decays(name: str, run_decays: float) -> float:
    """Return the decays that GATE follows of a case; `run_decays` are shared by all of "run".

    Cases in voxels get fewer, so that all take about as long.
    """
    scope = name.split("_")[0]
    if scope == "full":
        return float(FULL_DECAYS)
    shares = {one: EXACT_SHARE if is_exact(one) else 1 for one in names(scope)}
    return run_decays * shares[name] / sum(shares.values())
