"""The GPU's kernel, run by numba's simulator: most machines that run the tests have no GPU."""

import dataclasses
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.unit.simulate import cuda_run

from tubepet.errors import InputError
from tubepet.simulate.fast import cuda, kernels, transport

SCRIPT = Path(cuda_run.__file__)


def check(tmp_path, scanner, switches):
    """Expect the same singles from the same random numbers."""
    (tmp_path / "scanner.json").write_text(json.dumps(dataclasses.asdict(scanner)))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "scanner.json"), str(tmp_path / "found.npz")],
        env={**os.environ, **switches}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = np.load(tmp_path / "found.npz")
    for isotope in cuda_run.ISOTOPES:
        slices, edges_ns = [], cuda_run.EDGES_NS.tolist()
        for i, times in enumerate(pairwise(edges_ns)):
            decays, *singles = kernels.decay_slice(
                cuda_run.SEED, cuda_run.FIRST + i, *times, cuda_run.ACTIVITY_BQ,
                *cuda_run.fixed(scanner, isotope),
            )  # fmt: skip
            slices.append((decays, 0, *singles))
        decays, _, reals, counts = transport._joined(iter(slices))
        assert found[f"decays{isotope}"] == decays > 100
        assert np.array_equal(found[f"counts{isotope}"], counts) and len(counts) > 50
        # mm, keV, ns up to 5e4: rounding differs by fused products and libraries' logarithms
        np.testing.assert_allclose(found[f"reals{isotope}"], reals, rtol=0, atol=1e-6)


def test_simulated_gpu_gives_the_singles_of_the_cpu(tmp_path, scanner):
    # the simulator runs plain Python, so what the kernel calls must not be compiled either
    check(tmp_path, scanner, {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"})


@pytest.mark.skipif(not cuda.is_available(), reason="no NVIDIA GPU that numba can use")
def test_gpu_gives_the_singles_of_the_cpu(tmp_path, scanner):
    check(tmp_path, scanner, {})


@pytest.mark.skipif(cuda.is_available(), reason="an NVIDIA GPU is here")
def test_a_missing_gpu_is_named():
    assert transport.chosen_device("auto") == transport.chosen_device("cpu") == "cpu"
    with pytest.raises(InputError, match=r"simulate\.device: got cuda"):
        transport.chosen_device("cuda")
