"""Measure the cost of training steps, so that all variants get the same compute.

The unit is a step of the reference model (DCGAN). Steps of reference and variant are timed in turn
in one process, because a busy machine slows both. On a CPU the times are CPU-seconds of one thread,
on a GPU wall time.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tubepet.errors import InputError
from tubepet.features.bank import make_bank
from tubepet.generate.data import Data
from tubepet.generate.run import Task, start
from tubepet.pretrain.train import train_vae
from tubepet.training.devices import make_fabric

NUM_ROUNDS = 5
ROUND_S = 0.6  # of each side in a round
COLUMNS = ("variant", "num_steps", "step_s", "preparation_s", "is_charged")
VAE_STEPS = (5, 25)  # of two short trainings, whose difference gives the cost of a step


def clock_s() -> float:
    """Return CPU-seconds of this process; with a GPU the wall time after all its work is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def spent_s(work: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    begin_s = clock_s()
    work()
    return clock_s() - begin_s


class _FlopCounter(TorchDispatchMode):
    """Sums the FLOPs of every operation that has a formula.

    PyTorch's FlopCounterMode also tracks modules, which fails on the second derivatives of R1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def count_flops(work: Callable[[], Any]) -> int:
    """Return the FLOPs of a call with its backward passes; a multiply-add counts 2."""
    with _FlopCounter() as counter:
        work()
    return counter.total


def _stepper(task: Task) -> tuple[Callable[[int], None], dict[str, int], float]:
    """Return a function that takes steps, the networks' parameters, and the seconds to start."""
    begin_s = clock_s()
    run = start(task, make_fabric(task.config["precision"]))
    start_s = clock_s() - begin_s
    sizes = {
        key: sum(p.numel() for p in network.parameters()) for key, network in run.networks.items()
    }

    def take(num_steps: int) -> None:
        for _ in range(num_steps):
            task.model.train_step(run)
            run.step += 1

    return take, sizes, start_s


def measure(variant: Task, reference: Task) -> dict[str, Any]:
    """Measure a step of variant and reference, and the preparation of the variant.

    Parameters
    ----------
    variant, reference : Task
        On the same slices.

    Returns
    -------
    dict
        step_s, reference_step_s, preparation_s: seconds; flops_per_step; parameters by network.
    """
    torch.set_num_threads(1)
    take_reference, _, plain_s = _stepper(reference)
    if variant.model.is_fitted:
        return _of_fit(variant, take_reference)
    take, parameters, start_s = _stepper(variant)
    flops = count_flops(partial(take, 1))
    sizes = []
    for warm in (take, take_reference):
        warm(1)
        sizes.append(int(np.clip(ROUND_S / max(spent_s(partial(warm, 1)), 1e-6), 1, 200)))
    rounds = np.array(
        [
            [
                spent_s(lambda: take(sizes[0])) / sizes[0],
                spent_s(lambda: take_reference(sizes[1])) / sizes[1],
            ]
            for _ in range(NUM_ROUNDS)
        ]
    )
    reference_s = float(np.median(rounds[:, 1]))
    return {
        "step_s": float(np.median(rounds[:, 0] / rounds[:, 1])) * reference_s,
        "reference_step_s": reference_s,
        # a model may fit something when it starts; all share the time that DCGAN takes to start
        "preparation_s": max(start_s - plain_s, 0.0),
        "flops_per_step": flops,
        "parameters": parameters,
    }


def _of_fit(variant: Task, take_reference: Callable[[int], None]) -> dict[str, Any]:
    """Return the results of `measure` for a model that is fitted, without steps."""
    take_reference(1)
    num = int(np.clip(NUM_ROUNDS * ROUND_S / max(spent_s(lambda: take_reference(1)), 1e-6), 1, 200))
    return {
        "step_s": 0.0,
        "reference_step_s": spent_s(lambda: take_reference(num)) / num,
        "preparation_s": spent_s(lambda: variant.model.fit(variant.config, variant.data)),
        "flops_per_step": 0,
        "parameters": {"generator": 0},
    }


def preparation_s(
    data: Data, pretrain: Mapping[str, Any], features: Mapping[str, Any], seed: int
) -> float:
    """Measure the seconds to pretrain the VAE and to make the memory bank, if the model has them.

    Parameters
    ----------
    data : Data
        What the variant trains on.
    pretrain, features : mapping
        Config sections.
    seed : int
    """
    total_s = 0.0
    if data.vae is not None and data.ct is not None:
        ct = data.ct
        split = np.full(len(ct.array), "val", "U5")
        split[ct.rows[:-1]] = "train"  # at least one slice stays for validation
        with tempfile.TemporaryDirectory() as folder:
            times = [
                spent_s(
                    partial(
                        train_vae, ct.array, split, (ct.low, ct.high),
                        {**pretrain, "num_steps": num}, seed, Path(folder) / f"{num}.pt", "",
                    )
                )
                for num in VAE_STEPS
            ]  # fmt: skip
        step_s = (times[1] - times[0]) / (VAE_STEPS[1] - VAE_STEPS[0])
        total_s += times[0] + max(step_s, 0) * max(pretrain["num_steps"] - VAE_STEPS[0], 0)
    if data.bank is not None:
        total_s += spent_s(lambda: make_bank(data.real, features))
    return total_s


def estimate(costs: Sequence[Mapping[str, Any]], num_runs: Mapping[str, int]) -> pd.DataFrame:
    """Return, per variant, its trainings, the steps of each, and the minutes of all their steps."""
    rows = [
        {
            "variant": cost["variant"],
            "num_runs": num_runs[cost["variant"]],
            "num_steps": cost["num_steps"],
            "preparation_s": cost["preparation_s"],
            "minutes": num_runs[cost["variant"]] * cost["num_steps"] * cost["step_s"] / 60,
        }
        for cost in costs
    ]
    return pd.DataFrame(rows)


def table(costs: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per variant: its budget, and what its runs on all training slices took."""
    rows = []
    for cost in costs:
        own = [r for r in runs if (r["variant"], str(r["num_train"])) == (cost["variant"], "all")]
        used_s = [r["cpu_s"] for r in own if r["cpu_s"] is not None]
        rows.append(
            {key: cost[key] for key in COLUMNS}
            | {
                "cpu_s": float(np.mean(used_s)) if used_s else None,
                "gflops_per_step": cost["flops_per_step"] / 1e9,
                "tflops": cost["flops_per_step"] * cost["num_steps"] / 1e12,
                "parameters": sum(cost["parameters"].values()),
                "diverged": sum(bool(r["diverged"]) for r in own),
            }
        )
    return pd.DataFrame(rows)


def num_steps(
    cost: Mapping[str, Any], budget_steps: int, charge_preparation: bool, variant: str
) -> int:
    """Return the number of steps that a variant may take; 0 for one that is fitted.

    Parameters
    ----------
    cost : mapping
        From `measure`.
    budget_steps : int
        Cost of every training, in steps of the reference.
    charge_preparation : bool
        Whether that includes the preparation.
    variant : str
        Its name, for the message.

    Raises
    ------
    InputError
        If the budget does not cover the preparation and one step.
    """
    charged_s = cost["preparation_s"] if charge_preparation else 0.0
    left_s = budget_steps * cost["reference_step_s"] - charged_s
    if left_s < cost["step_s"]:
        raise InputError(
            f"study.budget_steps: got {budget_steps}, which is "
            f"{budget_steps * cost['reference_step_s']:.1f} s, expected more than the "
            f"{charged_s:.1f} s that the preparation of {variant} takes, and a step"
        )
    return int(left_s / cost["step_s"]) if cost["step_s"] > 0 else 0
