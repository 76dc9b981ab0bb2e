"""Estimate the memory of a training before it starts."""

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from weakref import finalize

import psutil
import torch
from lightning_fabric import Fabric
from torch import Tensor

from tubepet.errors import InputError
from tubepet.generate.run import Model, Networks, Run, Task, start
from tubepet.logs import log

PARAMETER_COPIES = 4  # weights, gradients and Adam's two moments
PROBE_IMAGES = 2  # in the measured step


@dataclass(frozen=True)
class Footprint:
    """Bytes of weights, gradients and moments, and of what a batch keeps for the backward pass."""

    weights: int
    activations: int = 0

    @property
    def total(self) -> int:
        """Bytes of both."""
        return self.weights + self.activations


def weight_bytes(networks: Networks) -> int:
    """Return the bytes that networks take in training. They may be on the device "meta"."""
    parameters = sum(_size(p) for net in networks.values() for p in net.parameters())
    buffers = sum(_size(b) for net in networks.values() for b in net.buffers())
    average = sum(_size(t) for t in networks["generator"].state_dict().values())
    return PARAMETER_COPIES * parameters + buffers + average


def activation_bytes(model: Model, run: Run) -> int:
    """Take one step and return the largest number of bytes kept at once for backward passes."""
    weights = {p.data_ptr() for net in run.networks.values() for p in net.parameters()}
    holders: Counter[int] = Counter()  # by storage: saved tensors that use it
    held = peak = 0

    def hold(tensor: Tensor) -> list[Tensor]:
        nonlocal held, peak
        storage = tensor.untyped_storage()
        kept = _Kept([tensor])
        if storage.data_ptr() not in weights:
            finalize(kept, release, storage.data_ptr(), storage.nbytes())
            holders[storage.data_ptr()] += 1
            held += storage.nbytes() if holders[storage.data_ptr()] == 1 else 0
            peak = max(peak, held)
        return kept

    def release(pointer: int, size: int) -> None:
        nonlocal held
        holders[pointer] -= 1
        held -= size if holders[pointer] == 0 else 0

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda kept: kept[0]):
        model.train_step(run)
    return peak


class _Kept(list[Tensor]):
    """A list of one tensor. Unlike a plain list it can be weakly referenced."""


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def free_bytes(device: torch.device) -> int:
    """Return the free memory of the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def estimate(task: Task, fabric: Fabric) -> Footprint:
    """Estimate the memory of a training from its networks and from a step of two images.

    Weights are counted on the device "meta", where they take no memory. Only if they fit, the step
    is taken; what it keeps per image is multiplied by the size of the batch.

    Raises
    ------
    InputError
        If the weights alone do not fit.
    """
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loading the encoder's weights does nothing there
        weights = Footprint(weight_bytes(task.model.make_networks(task.config, task.data)))
    _check(task, weights, fabric)
    few = {"batch_size": PROBE_IMAGES * fabric.world_size, "precision": "full"}
    probe = start(replace(task, config={**task.config, **few}, seed=0), fabric)
    per_image = activation_bytes(task.model, probe) / PROBE_IMAGES
    batch_size = task.config["batch_size"]
    return Footprint(weights.weights, round(per_image * batch_size / fabric.world_size))


def stop_if_too_large(task: Task, fabric: Fabric) -> None:
    """Log the estimate, or refuse the training.

    Raises
    ------
    InputError
        If the training needs more than the device has free.
    """
    footprint = estimate(task, fabric)
    _check(task, footprint, fabric)
    log.info("%s: estimated memory %.3f GB", task.model.name, footprint.total / 1e9)


def _check(task: Task, footprint: Footprint, fabric: Fabric) -> None:
    num_sharing = 1 if fabric.device.type == "cuda" else fabric.world_size
    available = free_bytes(fabric.device) / num_sharing
    lowest = fabric.to_device(torch.tensor(available, dtype=torch.float64))
    available = float(fabric.all_reduce(lowest, reduce_op="min"))  # all refuse, or none
    if footprint.total > available:
        raise InputError(
            f"generate.{task.model.name}: training needs about {footprint.total / 1e9:.3g} GB "
            f"({footprint.weights / 1e9:.3g} GB for the weights, {footprint.activations / 1e9:.3g} "
            f"GB for a batch of {task.config['batch_size']}), expected at most the "
            f"{available / 1e9:.3g} GB free on {fabric.device}; lower generate.batch_size or the "
            "model's channels"
        )
