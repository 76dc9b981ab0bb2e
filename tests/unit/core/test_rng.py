from tubepet import rng


def test_streams_depend_on_every_name_and_repeat():
    draws = {
        key: rng.stream(*key).integers(2**62)
        for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", "x")]
    }
    assert len(set(draws.values())) == len(draws)
    assert all(rng.stream(*key).integers(2**62) == value for key, value in draws.items())


def test_derived_seed_fits_geant4_and_torch():
    assert 0 <= rng.derived_seed(2020, "simulate", "tube_0000") < 2**31
