import pytest

from tubepet import io
from tubepet.reconstruct.read import image_note


@pytest.mark.parametrize(
    ("attenuation", "said"), [("nominal", "nominal"), ("truth", "truth"), ("a/{tube}.nii", "file")]
)
def test_an_image_says_which_attenuation_map_made_it(tmp_path, attenuation, said):
    io.write_json(tmp_path / "stats.json", {"tables": "substitute"})
    note = image_note({"stats": str(tmp_path / "stats.json")}, attenuation)
    assert note == f"Bq/mm3; cross sections: substitute; attenuation: {said}"
    assert len(note) <= 79  # of NIfTI's header field
