"""Train the VAE of CT slices (stage 05): a loop on Lightning Fabric.

Batches and noise depend on seed and step alone. So a killed and resumed training gives the same
result, bit for bit on one kind of machine, and checkpoints need no state of random generators.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from tubepet import io
from tubepet.errors import InputError
from tubepet.logs import Bar, log
from tubepet.pretrain.loss import aggregate_gap, kl_weight, negative_elbo
from tubepet.pretrain.vae import ConvVAE, elbo_terms
from tubepet.rng import derived_seed, stream
from tubepet.training.checkpoint import load_checkpoint, save_checkpoint
from tubepet.training.devices import State, launch, make_fabric
from tubepet.training.processes import average_gradients, share, stop_if_not_shared

MAX_GRADIENT_NORM = 1e4  # of nats per image; only the first steps exceed it
EVALUATION_BATCH = 64
MAX_VALIDATION = (
    512  # slices at most, evenly taken from the validation patients: enough for a curve
)
MAX_CODES = 10_000  # training slices that q(z) is fitted to: bias D^2 / 4e4 nats, 0.4 at D = 128
CURVE_COLUMNS = ["step", "split", "kl_weight", "reconstruction_nats", "kl_nats"]

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """A trained VAE, its curves and the facts for vae.json."""

    model: ConvVAE
    curves: pd.DataFrame
    facts: dict[str, Any]


def normalised(images_hu: Images, window_hu: tuple[float, float]) -> Images:
    """Map HU in the window to [-1, 1]: x = 2 (hu - low) / (high - low) - 1."""
    low, high = window_hu
    return np.asarray(2 * (images_hu - low) / (high - low) - 1, np.float32)


def batch_indices(num_images: int, batch_size: int, step: int, seed: int) -> NDArray[np.int64]:
    """Return the images of one step: endless random permutations, cut into batches.

    Parameters
    ----------
    num_images, batch_size : int
        Every image is seen once before any is seen again. A batch may take several permutations.
    step : int
        Counted from 0.
    seed : int
        The run's seed.
    """
    first, last = step * batch_size, (step + 1) * batch_size - 1
    rounds = range(first // num_images, last // num_images + 1)
    order = np.concatenate(
        [stream(seed, "pretrain", "order", r).permutation(num_images) for r in rounds]
    )
    start = first - rounds[0] * num_images
    return order[start : start + batch_size]


def _generator(model: nn.Module, seed: int, *items: str | int) -> torch.Generator:
    """Return a generator on the model's device."""
    generator = torch.Generator(next(model.parameters()).device)
    generator.manual_seed(derived_seed(seed, "pretrain", *items))
    return generator


def _noise(model: ConvVAE, num: int, generator: torch.Generator) -> Tensor:
    """Return N(0, 1) numbers for the codes of some images, (num, D)."""
    return torch.randn(num, model.latent_size, generator=generator, device=generator.device)


@torch.no_grad()
def encode_all(
    model: ConvVAE, images: Images, rows: NDArray[np.intp], window_hu: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return posterior means and log variances (n, D), on the CPU, of some rows of HU images."""
    device = next(model.parameters()).device
    codes = [
        model.encode(_tensor(io.take(images, rows[i : i + EVALUATION_BATCH]), window_hu).to(device))
        for i in range(0, len(rows), EVALUATION_BATCH)
    ]
    mu, log_var = zip(*codes, strict=True)
    return torch.cat(mu).cpu(), torch.cat(log_var).cpu()


def _tensor(images_hu: Images, window_hu: tuple[float, float]) -> Tensor:
    return torch.from_numpy(normalised(images_hu, window_hu))[:, None]  # (B, 1, H, W)


@torch.no_grad()
def _validate(
    model: ConvVAE,
    images: Images,
    window_hu: tuple[float, float],
    sigma_x: float,
    seed: int,
) -> tuple[float, float]:
    """Return both terms of the ELBO on all validation images; the noise is the same every time."""
    generator = _generator(model, seed, "validation")
    sums = np.zeros(2)
    for i in range(0, len(images), EVALUATION_BATCH):
        x = _tensor(images[i : i + EVALUATION_BATCH], window_hu).to(generator.device)
        noise = _noise(model, len(x), generator)
        sums += len(x) * np.array([float(t) for t in elbo_terms(model, x, sigma_x, noise)])
    return float(sums[0] / len(images)), float(sums[1] / len(images))


def train_vae(
    images_hu: Images,
    split: NDArray[np.str_],
    window_hu: tuple[float, float],
    settings: Mapping[str, Any],
    seed: int,
    checkpoint_path: str | os.PathLike[str],
    digest: str,
    num_processes: int = 1,
) -> Trained:
    """Train the VAE on the CT slices of the training patients.

    Parameters
    ----------
    images_hu : float32 array, shape (N, H, W)
        HU inside the window; may be memory-mapped.
    split : str array, shape (N,)
        "train", "val" or "test".
    window_hu : tuple of float
        HU that map to -1 and 1.
    settings : mapping
        The config section `pretrain`: latent_size, channels, num_steps, batch_size, learning_rate,
        beta, kl_anneal_steps, sigma_x, validate_every, checkpoint_every.
    seed : int
        The run's seed.
    checkpoint_path : path
        The checkpoint of this training; if it exists, training continues from it.
    digest : str
        `training_digest` of settings, data and code; a checkpoint with another digest is ignored.
    num_processes : int
        Processes that share each batch, a divisor of its size (`training.processes`). Their number
        changes the result by rounding only.

    Returns
    -------
    Trained
        Model on the CPU; curves with a row per training step and per validation (step, split,
        kl_weight, reconstruction_nats, kl_nats); facts.

    Raises
    ------
    InputError
        If the loss is not finite, or the number of processes does not divide the batch.
    """
    stop_if_not_shared("pretrain", settings["batch_size"], num_processes)
    torch.set_num_threads(1)  # the same sums in the same order, however many cores there are
    torch.use_deterministic_algorithms(True, warn_only=True)  # some GPU kernels have no such form
    i_train, i_val = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
    begun = load_checkpoint(checkpoint_path, digest)
    val_hu = io.take(images_hu, io.evenly(i_val, MAX_VALIDATION))
    state = launch(
        make_fabric(num_processes=num_processes), _take_steps, images_hu, i_train, val_hu,
        window_hu, settings, seed, digest, begun, checkpoint_path,
    )  # fmt: skip
    trained = ConvVAE(images_hu.shape[-1], settings["latent_size"], settings["channels"]).eval()
    trained.load_state_dict(state["model"])
    curves = pd.DataFrame(state["rows"], columns=CURVE_COLUMNS)
    # on training slices, whose codes the GAN draws; the validation set is not much larger than D
    i_coded = io.evenly(i_train, MAX_CODES)
    gap = aggregate_gap(*encode_all(trained, images_hu, i_coded, window_hu))
    facts = {
        "image_size": trained.image_size,
        "latent_size": trained.latent_size,
        "channels": trained.channels,
        "window_hu": list(window_hu),
        "num_parameters": sum(p.numel() for p in trained.parameters()),
        "num_train": len(i_train),
        "num_val": len(i_val),
        "num_steps": settings["num_steps"],
        **_last_validation(curves, settings["sigma_x"], trained.image_size, window_hu),
        **gap,
    }
    log.info(
        "val: %.0f nats + KL %.0f nats, %.0f HU rms; aggregate posterior %.0f nats from N(0, I)",
        facts["val_reconstruction_nats"], facts["val_kl_nats"], facts["val_rmse_hu"],
        gap["aggregate_gap_nats"],
    )  # fmt: skip
    return Trained(trained, curves, facts)


def _take_steps(
    fabric: Fabric,
    images_hu: Images,
    i_train: NDArray[np.intp],
    val_hu: Images,
    window_hu: tuple[float, float],
    settings: Mapping[str, Any],
    seed: int,
    digest: str,
    begun: State | None,
    checkpoint_path: str | os.PathLike[str],
) -> State:
    """Train in one process or one of several; return the weights and the rows of the curves."""
    torch.manual_seed(derived_seed(seed, "pretrain", "weights"))
    plain = ConvVAE(images_hu.shape[-1], settings["latent_size"], settings["channels"])
    model, optimiser = fabric.setup(
        plain.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        torch.optim.Adam(plain.parameters(), settings["learning_rate"]),
    )
    first_step, rows = 0, list[tuple[int, str, float, float, float]]()
    if begun is not None:
        plain.load_state_dict(begun["model"])
        optimiser.load_state_dict(begun["optimiser"])
        first_step, rows = begun["step"], begun["rows"]
        log.info("resumed after step %d of %d", first_step, settings["num_steps"])

    steps = Bar(
        range(first_step, settings["num_steps"]), desc="VAE", unit="step",
        disable=not fabric.is_global_zero, initial=first_step, total=settings["num_steps"],
    )  # fmt: skip
    for step in steps:
        chosen = np.sort(batch_indices(len(i_train), settings["batch_size"], step, seed))
        own = chosen[share(fabric, torch.arange(len(chosen))).numpy()]
        x = fabric.to_device(_tensor(io.take(images_hu, i_train[own]), window_hu))
        noise = _noise(plain, len(chosen), _generator(plain, seed, "noise", step))
        weight = kl_weight(step, settings["beta"], settings["kl_anneal_steps"])
        nll, kl = elbo_terms(model, x, settings["sigma_x"], share(fabric, noise))
        loss = negative_elbo(nll, kl, weight)
        optimiser.zero_grad()
        fabric.backward(loss)
        average_gradients(plain.parameters())
        terms = fabric.all_reduce([nll.detach(), kl.detach()])
        _check_finite(
            negative_elbo(terms[0], terms[1], weight).item(), step, settings["learning_rate"]
        )
        clip_grad_norm_(plain.parameters(), MAX_GRADIENT_NORM)
        optimiser.step()
        rows.append((step, "train", weight, terms[0].item(), terms[1].item()))
        done = step + 1
        if done % settings["validate_every"] == 0 or done == settings["num_steps"]:
            val = _validate(plain, val_hu, window_hu, settings["sigma_x"], seed)
            _check_finite(sum(val), step, settings["learning_rate"])
            rows.append((step, "val", weight, *val))
            steps.set_postfix_str(f"val {val[0]:.0f} + {val[1]:.0f} nats", refresh=False)
        if done % settings["checkpoint_every"] == 0 or done == settings["num_steps"]:
            state = {"model": plain.state_dict(), "optimiser": optimiser.state_dict(),
                     "step": done, "rows": rows}  # fmt: skip
            if fabric.is_global_zero:
                save_checkpoint(checkpoint_path, state, digest)
    weights = {key: w.cpu().contiguous() for key, w in plain.state_dict().items()}
    return {"model": weights, "rows": rows}


def _check_finite(loss: float, step: int, learning_rate: float) -> None:
    if not np.isfinite(loss):
        raise InputError(
            f"pretrain.learning_rate: got {learning_rate:g}, and the loss is {loss} at step "
            f"{step}, expected a smaller rate or a larger sigma_x"
        )


def _last_validation(
    curves: pd.DataFrame, sigma_x: float, image_size: int, window_hu: tuple[float, float]
) -> dict[str, float]:
    """Return both terms after the last step, and the pixel error in HU from the first."""
    last = curves[curves["split"] == "val"].iloc[-1]
    mean_square = last["reconstruction_nats"] * 2 * sigma_x**2 / image_size**2  # of x
    return {
        "val_reconstruction_nats": float(last["reconstruction_nats"]),
        "val_kl_nats": float(last["kl_nats"]),
        "val_rmse_hu": float(np.sqrt(mean_square) * (window_hu[1] - window_hu[0]) / 2),
    }
