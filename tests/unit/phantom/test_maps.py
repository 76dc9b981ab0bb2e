import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xraylib
from numpy.testing import assert_allclose

from tubepet.errors import InputError
from tubepet.phantom import maps
from tubepet.phantom.geometry import voxelise
from tubepet.phantom.picture import draw_tube
from tubepet.phantom.spec import DEFECTS, Tube
from tubepet.simulate.fast import tables
from tubepet.types import Volume

MakeTube = Callable[..., Tube]


def test_activity_per_mm3_and_in_total(make_tube: MakeTube) -> None:
    voxels = voxelise(make_tube(), 1.0, 4)
    for per, bq in (("mm3", 600 * voxels.fluid_volume_mm3()), ("total", 600.0)):
        activity = maps.activity_bq_mm3(voxels, maps.concentration_bq_mm3(voxels, 600, per))
        facts = maps.truth("tube_0000", make_tube(), voxels, activity, seed=1)
        assert_allclose(facts["activity_total_bq"], bq, rtol=1e-5)  # float32 voxels
        assert activity.dtype == np.float32
    with pytest.raises(InputError, match=r"protocol\.per: got 'litre'"):
        maps.concentration_bq_mm3(voxels, 600, "litre")


def test_attenuation_is_that_of_the_photons_simulated(make_tube: MakeTube) -> None:
    known = tables.photons().mu_per_mm[:, 511].sum(axis=1)
    # 0.01 %: the constants are typed with four or five digits.
    assert_allclose(maps.MU_WATER_PER_MM, known[1], rtol=1e-4)
    assert_allclose(maps.MU_ALUMINIUM_PER_MM, known[2], rtol=1e-4)
    # Geant4's Compton fit is 0.4 and 0.5 % above xraylib, which is as NIST XCOM.
    assert_allclose(known[1], xraylib.CS_Total_CP("H2O", 511.0) * 1.0 / 10, rtol=6e-3)
    assert_allclose(known[2], xraylib.CS_Total(13, 511.0) * 2.699 / 10, rtol=6e-3)
    voxels = voxelise(make_tube(), 1.0, 4)
    mu = maps.mu_per_mm(voxels)
    assert_allclose(mu[voxels.fluid == 1], known[1], rtol=1e-3)
    assert_allclose(mu[voxels.wall == 1], known[2], rtol=1e-3)


@pytest.mark.parametrize("defect", DEFECTS)
def test_truth_and_picture(make_tube: MakeTube, defect: str) -> None:
    tube = make_tube(defect=defect)
    voxels = voxelise(tube, 1.0, 4)
    activity = maps.activity_bq_mm3(voxels, 600.0)
    facts: dict[str, Any] = maps.truth("tube_0007", tube, voxels, activity, seed=1)
    assert Tube(**json.loads(json.dumps(facts))["drawn"]) == tube
    assert [d["class"] for d in facts["defects"]] == ([] if defect == "none" else [defect])
    row = maps.table_row(facts)
    assert row["defect"] == defect and (row["defect_volume_mm3"] > 0) == (defect != "none")
    figure = draw_tube(Volume(voxels.labels(), voxels.grid), Volume(activity, voxels.grid), facts)
    axes = figure.axes
    assert axes[1].get_xlabel() == "x / mm" and axes[2].get_ylabel() == "z / mm"
    boxes = [patch for axis in axes[:3] for patch in axis.patches]
    assert bool(boxes) == (defect != "none")
