"""The training loop of all generators.

A model defines a training step. The loop adds what all models share: the exponential moving average
of the generator, checkpoints, logs, grids of samples of fixed noise, and a stop at NaN.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tubepet import io
from tubepet.errors import InputError
from tubepet.generate.data import Data
from tubepet.generate.figures import draw_grid
from tubepet.generate.footprint import stop_if_too_large
from tubepet.generate.run import Run, Task, bare, start
from tubepet.generate.sample import sample_images
from tubepet.logs import Bar, log
from tubepet.rng import derived_seed
from tubepet.training.checkpoint import load_checkpoint, save_checkpoint, training_digest
from tubepet.training.devices import State, launch, make_fabric
from tubepet.training.processes import stop_if_not_shared

MAX_LOG_ROWS = 1000  # a longer training logs every second, third, .. step
GRID_IMAGES = 32  # in the sample grid
EMA_RAMPUP = 0.05  # the half life of the average is at most this share of the images seen
CHUNK_ROWS = 256  # slices compared at once


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes
    ----------
    weights : dict of tensor
        State of the averaged generator: parameters, normalisation statistics, memory.
    arguments : dict
        Constructor arguments of the generator (JSON).
    curves : DataFrame
        One row per logged step.
    grid : float32 array, shape (n, H, W)
        Images of the fixed noise, Bq/mm3.
    """

    weights: dict[str, Tensor]
    arguments: dict[str, Any]
    curves: pd.DataFrame
    grid: NDArray[np.float32]


class Diverged(InputError):
    """A loss or a weight is not finite."""


def train(
    task: Task, code: str, progress_dir: str | os.PathLike[str], num_processes: int = 1
) -> Trained:
    """Train one generator, or continue a training that was killed.

    Parameters
    ----------
    task : Task
        Model, settings, training images and seed.
    code : str
        Digest of the code (`provenance.code_digest`); a checkpoint of other code is not resumed.
    progress_dir : path
        Folder of checkpoint, grids and TensorBoard events.
    num_processes : int
        Processes that share each batch, a divisor of its size (`training.processes`). Their number
        changes the result by rounding only, except for the paper's model: it pairs queries and real
        images among the rows of one process.

    Raises
    ------
    InputError
        If training slices are fewer than a batch or all constant, if processes cannot share the
        batch, or if memory is too small.
    Diverged
        If a loss or weight is not finite; a plain `InputError` with several processes.
    """
    data, batch_size = task.data, task.config["batch_size"]
    for what, images in (("positron", data.real), ("CT", data.ct)):
        if images is not None and len(images) < batch_size:
            raise InputError(
                f"generate.batch_size: got {batch_size}, expected at most {len(images)}, the "
                f"number of {what} training slices"
            )
    stop_if_not_shared("generate", batch_size, num_processes)
    stop_if_constant(data)
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    if task.model.is_fitted:
        return _fitted(task)
    progress_dir = Path(progress_dir)
    torch.use_deterministic_algorithms(True, warn_only=True)
    digest = _digest(task, code)
    begun = load_checkpoint(progress_dir / "checkpoint.pt", digest)
    fabric = make_fabric(task.config["precision"], num_processes)
    state = launch(fabric, _take_steps, task, digest, begun, progress_dir)
    arguments = task.model.generator_arguments(task.config, data)
    return Trained(state["weights"], arguments, pd.DataFrame(state["rows"]), state["grid"].numpy())


def _fitted(task: Task) -> Trained:
    """Return a model that is fitted, without steps, checkpoints and average."""
    network, rounds = task.model.fit(task.config, task.data)
    arguments = task.model.generator_arguments(task.config, task.data)
    return Trained(network.state_dict(), arguments, rounds, _grid(task, network))


def _grid(task: Task, network: nn.Module) -> NDArray[np.float32]:
    """Return images of the fixed noise."""
    seed = derived_seed(task.seed, "generate", task.model.name, "grid")
    rng = torch.Generator().manual_seed(seed)
    return sample_images(task.model, network, GRID_IMAGES, task.data, rng)


def _take_steps(
    fabric: Fabric, task: Task, digest: str, begun: State | None, progress_dir: Path
) -> State:
    """Train in one process or one of several; return weights, rows of the log, and last grid."""
    model, config, data, name = task.model, task.config, task.data, task.model.name
    num_steps = config["num_steps"]
    stop_if_too_large(task, fabric)
    run = start(task, fabric)
    average = AveragedModel(
        bare(run.networks["generator"]),
        multi_avg_fn=average_of_images(config["ema_images"], config["batch_size"]),
        use_buffers=True,
    )
    average.eval()
    checkpoint = progress_dir / "checkpoint.pt"
    rows: list[dict[str, float]] = []
    if begun is not None:
        rows = begun["rows"]
        _resume(begun, run, average)
    elif fabric.is_global_zero:
        shutil.rmtree(progress_dir, ignore_errors=True)  # left by another training
    first_step = run.step
    board = TensorBoardLogger(  # writes in the first process only
        progress_dir, name="tensorboard", version="", purge_step=first_step + 1
    )
    log.info("%s: %s", name, _parameter_counts(run))
    log.info(
        "%s: %d training slices in, steps %d to %d on %s",
        name, len(data.real), first_step + 1, num_steps, fabric.device,
    )  # fmt: skip

    log_every = -(-num_steps // MAX_LOG_ROWS)
    steps = range(first_step + 1, num_steps + 1)
    bar = Bar(
        steps, desc=name, initial=first_step, total=num_steps, disable=not fabric.is_global_zero,
    )  # fmt: skip
    for step in bar:
        terms = {key: value.detach() for key, value in model.train_step(run).items()}
        losses = {key: value.item() for key, value in fabric.all_reduce(terms).items()}
        _stop_unless_finite(name, losses, step, checkpoint)
        run.step = step
        average.update_parameters(bare(run.networks["generator"]))
        if step % log_every == 0:
            rows.append({"step": step, **losses})
            board.log_metrics(losses, step)
        if step % config["sample_every"] == 0 and fabric.is_global_zero:
            grid = draw_grid(_grid(task, average.module), data.real.high, f"{name}, step {step}")
            io.write_figure(progress_dir / f"grid_{step:06d}.png", grid)
        if step % config["checkpoint_every"] == 0 or step == num_steps:
            sums = {f"sum of the weights of {k}": _sum(n) for k, n in run.networks.items()}
            _stop_unless_finite(name, sums, step, checkpoint)
            if fabric.is_global_zero:
                save_checkpoint(checkpoint, _state(run, average, step, rows), digest)
    board.finalize("success")
    if not fabric.is_global_zero:
        return {}
    weights = {k: v.detach().cpu().contiguous() for k, v in average.module.state_dict().items()}
    return {"weights": weights, "rows": rows, "grid": torch.from_numpy(_grid(task, average.module))}


def average_of_images(half_life_images: float, batch_size: int) -> Callable[..., None]:
    """Return the update rule of the exponential moving average.

    Its half life is `half_life_images`, but at most a twentieth of the images seen.

    References
    ----------
    Karras et al. 2020, arXiv:2006.06676 (StyleGAN2-ADA), their code's `ema_rampup`.
    """

    def update(averages: list[Tensor], current: list[Tensor], num_averaged: Tensor) -> None:
        half_life = min(half_life_images, EMA_RAMPUP * batch_size * float(num_averaged))
        get_ema_multi_avg_fn(0.5 ** (batch_size / half_life))(averages, current, num_averaged)

    return update


def stop_if_constant(data: Data) -> None:
    """Raise `InputError` if all pixels of all positron training slices are equal."""
    first = data.real.batch(torch.tensor([0]))
    for positions in torch.arange(len(data.real)).split(CHUNK_ROWS):
        if (data.real.batch(positions) != first.flatten()[0]).any():
            return
    value = float(data.real.array[data.real.rows[0]].flat[0])
    raise InputError(
        f"slices.npy: all {len(data.real)} positron training slices are {value:g} Bq/mm3 in every "
        "pixel, expected images that differ"
    )


def _digest(task: Task, code: str) -> str:
    """Hash data, settings and code, but not when checkpoints are saved and grids drawn."""
    data, when = task.data, ("checkpoint_every", "sample_every")
    decides = {key: value for key, value in task.config.items() if key not in when}
    arrays: list[NDArray[Any]] = [data.real.array, data.real.rows]
    if data.ct is not None and data.vae is not None and data.bank is not None:
        arrays += [data.ct.array, data.ct.rows, data.bank.numpy()]
        arrays += [np.atleast_1d(weight.numpy()) for weight in data.vae.state_dict().values()]
    if data.volumes is not None:
        arrays += [data.volumes.images, data.volumes.fluid]
    ranges = [[i.low, i.high] for i in (data.real, data.ct) if i is not None]
    settings = {"model": task.model.name, "config": decides, "seed": task.seed, "code": code}
    settings["ranges"] = ranges
    return training_digest(settings, *arrays)


def _state(run: Run, average: AveragedModel, step: int, rows: list[Any]) -> dict[str, Any]:
    return {
        "step": step,
        "rows": rows,
        "networks": {key: network.state_dict() for key, network in run.networks.items()},
        "optimizers": {key: optimizer.state_dict() for key, optimizer in run.optimizers.items()},
        "average": average.state_dict(),
        "rng": run.rng.get_state(),
        "anchors": run.anchors,
        "queues": run.queues,
    }


def _resume(state: State, run: Run, average: AveragedModel) -> None:
    """Restore run and average from a checkpoint."""
    for key, network in run.networks.items():
        network.load_state_dict(state["networks"][key])
    for key, optimizer in run.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][key])
    average.load_state_dict(state["average"])
    run.rng.set_state(state["rng"])
    run.queues = deepcopy(state["queues"])
    run.anchors = {key: run.fabric.to_device(value) for key, value in state["anchors"].items()}
    run.step = state["step"]


def _stop_unless_finite(
    name: str, losses: Mapping[str, float], step: int, checkpoint: Path
) -> None:
    for key, value in losses.items():
        if not np.isfinite(value):
            kept = f"{checkpoint} is kept" if checkpoint.is_file() else "there is no checkpoint yet"
            raise Diverged(
                f"generate.{name}: {key} is {value} at step {step}, expected a finite number; "
                f"{kept}; try a lower learning_rate"
            )


def _sum(network: nn.Module) -> float:
    return sum(float(p.detach().sum()) for p in network.parameters())


def _parameter_counts(run: Run) -> str:
    counts = (
        f"{key} {sum(p.numel() for p in network.parameters())} parameters"
        for key, network in run.networks.items()
    )
    return ", ".join(counts)
