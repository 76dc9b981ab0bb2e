from typing import Any

import pytest

from tubepet.errors import InputError
from tubepet.phantom.spec import draw_tube


@pytest.mark.parametrize("num_defects", [1, 3, 4, 6, 7])  # alone, shared factors, equal, coprime
def test_all_pairs_of_family_and_defect_come(phantom: dict[str, Any], num_defects: int) -> None:
    phantom = {**phantom, "defects": phantom["defects"][:num_defects]}
    num_pairs = len(phantom["families"]) * num_defects
    tubes = [draw_tube(f"tube_{i:04d}", phantom, {}, 1) for i in range(num_pairs)]
    assert len({(tube.family, tube.defect) for tube in tubes}) == num_pairs


def test_drawn_values_lie_in_the_ranges(phantom: dict[str, Any]) -> None:
    for i in range(60):
        tube = draw_tube(f"tube_{i:04d}", phantom, {}, 5)
        for key in ("length_mm", "bore_radius_mm", "wall_mm", "bend_mm", "step_ratio"):
            assert phantom[key][0] <= getattr(tube, key) <= phantom[key][1]
        if tube.defect != "none":
            low, high = phantom["defect_size_mm"][tube.defect]
            assert low <= tube.defect_size_mm <= high


def test_streams_depend_on_seed_and_name_only(phantom: dict[str, Any]) -> None:
    assert draw_tube("tube_0003", phantom, {}, 1) == draw_tube("tube_0003", phantom, {}, 1)
    assert draw_tube("tube_0003", phantom, {}, 1) != draw_tube("tube_0003", phantom, {}, 2)
    assert (
        draw_tube("tube_0000", phantom, {}, 1).wall_mm
        != draw_tube("tube_0042", phantom, {}, 1).wall_mm
    )


def test_an_override_changes_what_it_names_only(phantom: dict[str, Any]) -> None:
    drawn = draw_tube("tube_0001", phantom, {}, 1)
    fixed = draw_tube("tube_0001", phantom, {"wall_mm": 2.25}, 1)
    assert fixed.wall_mm == 2.25
    assert {**vars(fixed), "wall_mm": drawn.wall_mm} == vars(drawn)


def test_an_override_of_the_class_draws_a_size_of_that_class(phantom: dict[str, Any]) -> None:
    tube = draw_tube("tube_0000", phantom, {"family": "bent", "defect": "thinning"}, 1)
    assert (tube.family, tube.defect) == ("bent", "thinning")
    low, high = phantom["defect_size_mm"]["thinning"]
    assert low <= tube.defect_size_mm <= high


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"wal_mm": 2.0}, "wal_mm: unknown key"),
        ({"family": "hexagonal"}, "'hexagonal', expected one of round"),
        ({"wall_mm": 0}, "wall_mm: got 0, expected more than 0"),
        ({"wall_mm": "thick"}, "wall_mm: got 'thick', expected a number"),
        ({"length_mm": True}, "length_mm: got True"),
        ({"bore_radius_mm": -3.0}, "bore_radius_mm: got -3"),
        ({"family": "eccentric", "eccentricity_ratio": 1.0}, "breaks the wall"),
        ({"family": "bent", "bend_mm": 9.0}, "a quarter of length_mm"),
        ({"defect": "pit", "defect_size_mm": 50.0}, "at most the bore"),
        ({"defect": "pit", "defect_z_mm": 50.0}, "within the tube"),
        ({"family": "round", "bend_mm": 2.0}, "only keys that shape it"),
        ({"defect": "none", "defect_size_mm": 2.0}, "only keys that shape it"),
    ],
)
def test_bad_overrides_are_one_sentence(
    phantom: dict[str, Any], override: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=r"phantom\.tubes\.tube_0000") as caught:
        draw_tube("tube_0000", phantom, override, 1)
    assert words in str(caught.value)


def test_truth_leaves_out_what_has_no_meaning(phantom: dict[str, Any]) -> None:
    tube = draw_tube("tube_0000", phantom, {"family": "round", "defect": "none"}, 1)
    assert "bend_mm" not in tube.meaningful()
    assert not any(key.startswith("defect_") for key in tube.meaningful())
    tube = draw_tube("tube_0000", phantom, {"family": "bent", "defect": "bubble"}, 1)
    assert {"bend_mm", "defect_size_mm", "defect_radius_ratio"} <= set(tube.meaningful())
