import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from tubepet.errors import InputError
from tubepet.formats import dicom_pet
from tubepet.types import Grid, Volume

GRID = Grid((3, 4, 5), (2.0, 0.5, 0.7), (-2.0, 3.25, -1.4))


def test_slices_come_back(tmp_path) -> None:
    array = np.random.default_rng(1).random(GRID.shape) * np.array([1e-3, 600, 0])[:, None, None]
    dicom_pet.write_series(tmp_path / "s", Volume(array, GRID), "tube", {"num_iterations": 3})
    paths = sorted((tmp_path / "s").iterdir())
    assert len(paths) == 3
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(list(map(str, paths)))
    whole = reader.Execute()
    np.testing.assert_allclose(whole.GetSpacing(), GRID.voxel_mm[::-1])
    np.testing.assert_allclose(whole.GetOrigin(), GRID.origin_mm[::-1])
    for index, path in enumerate(paths):
        data = pydicom.dcmread(path)
        assert (data.Units, data.SOPClassUID) == ("BQML", dicom_pet.PET_IMAGE_STORAGE)
        assert json.loads(data.ImageComments) == {"num_iterations": 3}
        slope = float(data.RescaleSlope)
        single = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
        for values in (data.pixel_array * slope, single):
            # half a step of 16 bits; ITK gives float64 or float32
            bound = 0.51 * slope + 1e-6 * array[index].max() * 1000
            np.testing.assert_allclose(values, array[index] * 1000, rtol=0, atol=bound)


def test_bad_images_and_old_folders_are_refused(tmp_path) -> None:
    bad = Volume(np.full(GRID.shape, np.nan), GRID)
    with pytest.raises(InputError, match="non-finite values"):
        dicom_pet.write_series(tmp_path / "s", bad, "tube", {})
    with pytest.raises(InputError, match="exists already"):
        dicom_pet.write_series(tmp_path, bad, "tube", {})
