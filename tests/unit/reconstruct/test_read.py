"""Reading an acquisition: dead time, note on the attenuation map, resolution kernel."""

import numpy as np
import pytest

from tubepet import io
from tubepet.reconstruct import read
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.read import image_note
from tubepet.types import Volume


def test_efficiency_is_that_of_the_live_time(scanner, grid):
    """A tenth of the pulses lost are 19 % of the pairs, in the efficiency and in its image."""
    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.3)
    plain = Instrument(scanner, efficiency, Volume(np.full(grid.shape, 2.0), grid, "note"))
    live = read._as_live(plain, 0.9)
    assert live.efficiency == pytest.approx(0.81 * efficiency)
    assert live.geometric.array == pytest.approx(0.81 * plain.geometric.array)
    assert (live.scanner, live.grid, live.geometric.note) == (scanner, grid, "note")


@pytest.mark.parametrize(
    ("attenuation", "said"), [("nominal", "nominal"), ("truth", "truth"), ("a/{tube}.nii", "file")]
)
def test_an_image_says_which_attenuation_map_made_it(tmp_path, attenuation, said):
    io.write_json(tmp_path / "stats.json", {"tables": "substitute"})
    note = image_note({"stats": str(tmp_path / "stats.json")}, attenuation)
    assert note == f"Bq/mm3; cross sections: substitute; attenuation: {said}"
    assert len(note) <= 79  # of NIfTI's header field


@pytest.mark.parametrize("rows", [[], [[1.0, 2.1, 2.1]], [[0.75, 1.5, 2.0], [0.25, 4.0, 4.0]]])
def test_a_kernel_is_read_as_it_was_written(tmp_path, rows):
    """Without rows there is no blur: reconstruct.psf: gaussian, psf_fwhm_mm: 0."""
    io.write_json(tmp_path / "r.json", {"kernel": rows})
    assert [list(part) for part in read.read_kernel(tmp_path / "r.json")] == rows
