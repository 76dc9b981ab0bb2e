"""The comparison of the two engines, on invented acquisitions with and without a bias."""

import json

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.plan import validation
from tubepet.validate import transport, transport_figures

# Of a decay: a true pair, a scattered one, a single alone; and random pairs.
TRUE, SCATTER, LONE, RANDOM = 0.10, 0.014, 0.35, 0.007
NUM_BINS = 40


def sample(generator, decays, engine, bias=1.0, tilt=0.0, size=1.0):
    """Draw an acquisition decay by decay: 0, 1 or 2 singles each; `bias` multiplies all rates."""
    shares = bias * np.array([TRUE * size, SCATTER * size, LONE])
    trues, scatters, lone, _ = generator.multinomial(decays, [*shares, 1 - shares.sum()])
    # Decays that overlap give one random pair for each of their singles with each of the other's.
    one, two = (shares[2], shares[:2].sum()) / shares.sum()
    overlaps = generator.poisson(bias * RANDOM * size * decays / (one + 2 * two) ** 2)
    randoms = generator.choice([1, 2], (2, overlaps), p=[one, two]).prod(axis=0).sum()
    stats = {
        "engine": engine, "decays": decays, "trues": int(trues), "scatters": int(scatters),
        "randoms": int(randoms), "prompts": int(trues + scatters + randoms),
        "singles": int(2 * (trues + scatters) + lone), "tables": "substitute",
        "decays_per_cpu_s": 1000,
    }  # fmt: skip
    form = 1 + tilt * np.linspace(-1, 1, NUM_BINS)
    edges = {key: list(range(NUM_BINS + 1)) for key in transport.TITLES}
    counts = {
        key: generator.multinomial(stats["prompts"], form / form.sum()).tolist()
        for key in transport.TITLES
    }
    return transport.Sample(stats, edges, counts)._asdict()


def acquired(seed, scope, share=1.0, **changes):
    """Return made-up results with the decays of a scope (its default, times `share`)."""
    generator = np.random.default_rng(seed)
    results = []
    for name in validation.names(scope):
        decays = int(share * validation.expected_decays(name, 1_500_000))
        size = generator.uniform(0.7, 1.2)  # tubes differ
        results.append(
            {
                "case": name,
                "gate": sample(generator, decays, "gate", size=size),
                "fast": sample(generator, 8 * decays, "fast", size=size, **changes),
            }
        )
    return results


@pytest.mark.parametrize("scope", ["run", "full"])
def test_without_a_bias_at_least_95_per_cent_pass(scope):
    verdicts = [transport.judge(acquired(seed, scope), scope)["verdict"] for seed in range(200)]
    assert verdicts.count(transport.AGREE) >= 190
    assert transport.TOO_FEW not in verdicts


@pytest.mark.parametrize("scope", ["run", "full"])
@pytest.mark.parametrize("bias", [0.99, 1.01])
def test_a_bias_of_one_per_cent_fails(scope, bias):
    for seed in range(20):
        judged = transport.judge(acquired(seed, scope, bias=bias), scope)
        assert judged["verdict"] == transport.DISAGREE
        assert not judged["counts"]["singles"]["agrees"]
        assert "disagree in singles" in judged["statement"]
        # The pooled ratio says how large it is: within four of its own errors.
        row = judged["counts"]["prompts"]
        off = row["percent"] - 100 * (bias - 1)
        assert abs(off) < 4 * row["percent_sigma"]


def test_a_tenth_of_a_per_cent_passes_and_six_tenths_of_singles_fail_in_full():
    assert transport.judge(acquired(1, "full", bias=1.001), "full")["verdict"] == transport.AGREE
    judged = transport.judge(acquired(1, "full", bias=1.006), "full")
    assert judged["verdict"] == transport.DISAGREE


@pytest.mark.parametrize(("scope", "share"), [("run", 0.03), ("full", 0.1)])
def test_too_few_counts_are_no_agreement(scope, share):
    judged = transport.judge(acquired(2, scope, share=share), scope)
    assert judged["verdict"] == transport.TOO_FEW
    assert "not enough counts to judge" in judged["statement"]
    transport.require(judged, "fast")  # the report says it; smoke runs go on


def test_no_counts_at_all_are_too_few():
    results = acquired(3, "run", share=1e-5)
    for result in results:
        result["gate"] = sample(np.random.default_rng(1), 0, "gate")
    judged = transport.judge(results, "run")
    assert judged["verdict"] == transport.TOO_FEW
    assert judged["counts"]["singles"]["percent_sigma"] is None
    assert json.dumps(judged, allow_nan=False)


def test_errors_are_those_of_repeated_draws():
    """The spread of 300 pooled ratios is their stated error, within 3 x 4 %."""
    runs = [acquired(seed, "run") for seed in range(300)]
    for key in transport.COUNTS:
        rows = [transport.pooled(results, key) for results in runs]
        spread = np.std([row["percent"] for row in rows], ddof=1)
        stated = np.mean([row["percent_sigma"] for row in rows])
        assert spread == pytest.approx(stated, rel=0.12), key
    fractions = [transport.pooled_fraction(results) for results in runs]
    spread = np.std([row["percent"] for row in fractions], ddof=1)
    assert spread == pytest.approx(np.mean([f["percent_sigma"] for f in fractions]), rel=0.12)


def test_pooled_by_hand():
    """GATE 100 and 300 counts, fast 220 and 580 with twice the decays: (110 + 290) / 400 = 1."""
    results = []
    for gate, fast in ((100, 220), (300, 580)):
        # no pairs and many singles: randoms are Poisson
        stats = {"decays": 10**10, "trues": 0, "scatters": 0, "randoms": gate, "singles": 10**9}
        twice = {"decays": 2 * 10**10, "trues": 0, "scatters": 0, "randoms": fast, "singles": 10**9}
        results.append({"gate": {"stats": stats}, "fast": {"stats": twice}})
    row = transport.pooled(results, "randoms")
    assert row["percent"] == pytest.approx(0)
    # Poisson: GATE's 1 / sqrt(400), the fast engine's 1 / sqrt(800)
    assert row["percent_sigma"] == pytest.approx(100 * np.hypot(1 / 20, 1 / np.sqrt(800)))
    assert [each[0] for each in row["cases"]] == pytest.approx([10, -100 / 30])
    # off by 10 and -10, variances 100 + 220 / 4 and 300 + 580 / 4
    assert row["chi2"] == pytest.approx(100 / 155 + 100 / 445)


def test_biases_that_cancel_are_seen_in_the_spread():
    results = acquired(5, "full", bias=1.0)
    generator = np.random.default_rng(6)
    for i, bias in enumerate((0.99, 1.01, 0.99, 1.01, 0.99, 1.01)):
        decays = results[i]["fast"]["stats"]["decays"]
        results[i]["gate"] = sample(generator, decays // 8, "gate")
        results[i]["fast"] = sample(generator, decays, "fast", bias=bias)
    judged = transport.judge(results, "full")
    assert judged["counts"]["singles"]["agrees"]
    assert not judged["tests"]["spread of singles"]["agrees"]
    assert judged["verdict"] == transport.DISAGREE


def test_a_tilted_spectrum_is_named_and_stops_a_fast_run():
    judged = transport.judge(acquired(4, "run", tilt=0.05), "run")
    assert "shape of energy_kev" in judged["statement"]
    transport.require(judged, "gate")
    with pytest.raises(InputError, match=r"simulate\.engine: got fast, expected gate"):
        transport.require(judged, "fast")


def test_two_samples_by_hand_and_in_the_mean():
    # by hand: expected 15, 25 of each; chi2 = 2 (25/15 + 25/25)
    value, freedom = transport.two_samples(np.array([20, 20]), np.array([10, 30]))
    assert (value, freedom) == (pytest.approx(2 * (25 / 15 + 25 / 25)), 1)
    rng = np.random.default_rng(1)
    values = [
        transport.two_samples(rng.poisson(100, 20), rng.poisson(800, 20))[0] for _ in range(500)
    ]
    # mean 19, variance 38 of one
    assert np.mean(values) == pytest.approx(19, abs=4 * np.sqrt(38 / 500))
    assert transport.two_samples(np.array([0, 3]), np.array([1, 2]))[1] == 0


def test_figure_shows_pooled_counts_cases_and_shapes():
    results = acquired(7, "run")
    figure = transport_figures.draw_validation(results, transport.judge(results, "run"))
    assert len(figure.axes) == 6
    assert all(axes.get_title() for axes in figure.axes)
    transport_figures.plt.close(figure)
