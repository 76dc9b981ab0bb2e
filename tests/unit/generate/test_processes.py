"""Several processes train like one but for rounding, and one continues what several began."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.optim import SGD

from tubepet.errors import InputError
from tubepet.generate.loop import train
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.models.dcgan import DCGAN
from tubepet.generate.run import Task, start
from tubepet.training.devices import launch, make_fabric
from tubepet.training.processes import share, share_batch_norms

EXACT = ["dcgan", "edm", "fastgan", "vae", "wgan"]
NUM_STEPS = 2
# of a loss, relative: float32 sums in another order (measured: 2e-5); half of the batch alone is
# off by more than 1e-2
ROUNDING = 1e-4


def of_all_processes(fabric, x):
    """Tensors of all processes, one on the other."""
    parts = [torch.empty_like(x) for _ in range(fabric.world_size)]
    if fabric.world_size > 1:
        dist.all_gather(parts, x.contiguous())
    return torch.stack(parts if fabric.world_size > 1 else [x])


def take_steps(fabric, config, data):
    """Losses of the first steps of every model, and how far the processes' weights are apart."""
    facts = {}
    for name in [*EXACT, "paper"]:
        run = start(Task(MODELS[name], config(name), data, 1), fabric)
        # not Adam, whose first step is the sign of a gradient, also where that is but rounding
        for key, network in run.networks.items():
            run.optimizers[key] = fabric.setup_optimizers(SGD(network.parameters(), lr=0.01))
        for run.step in range(NUM_STEPS):  # R1 comes in the first
            for key, value in MODELS[name].train_step(run).items():
                loss = fabric.all_reduce(value.detach().clone())
                facts[f"{name}: {key} of step {run.step}"] = float(loss)
        for key, network in run.networks.items():
            sums = torch.stack([p.detach().double().sum() for p in network.state_dict().values()])
            sums = of_all_processes(fabric, sums)
            facts[f"{name}: {key} apart"] = float((sums - sums[0]).abs().max())
    return facts


def test_losses_of_two_processes_are_those_of_one_with_twice_the_batch(config, data) -> None:
    alone = launch(make_fabric(), take_steps, config, data)
    together = launch(make_fabric(num_processes=2), take_steps, config, data)
    assert alone.keys() == together.keys()
    for key, one in alone.items():
        if key.endswith("apart"):
            assert together[key] == 0, key  # bit for bit
        elif not key.startswith("paper"):  # which pairs images within a process
            assert together[key] == pytest.approx(one, rel=ROUNDING, abs=1e-6), key


def normalise(fabric, x):
    """Output, gradient and second derivative of a batch norm for all rows, and its statistics."""
    layer = nn.BatchNorm2d(3)
    nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(0))
    share_batch_norms(layer)
    own = share(fabric, x).clone().requires_grad_()
    out = layer(own)
    (first,) = torch.autograd.grad(out.pow(3).mean(), own, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), own)
    # the mean over the processes is what is trained: each one's part of it is smaller
    parts = (out, first / fabric.world_size, second / fabric.world_size**2)
    whole = [of_all_processes(fabric, part.detach()) for part in parts]
    layer.eval()
    return {"rows": whole, "state": layer.state_dict(), "evaluated": layer(x).detach()}


def test_batch_norm_is_over_all_processes_and_twice_differentiable() -> None:
    x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 3 + 2
    alone = launch(make_fabric(), normalise, x)
    together = launch(make_fabric(num_processes=2), normalise, x)
    for one, two in zip(alone["rows"], together["rows"], strict=True):
        rows = two.transpose(0, 1).flatten(0, 1)  # process r had rows r, r + 2, ..
        torch.testing.assert_close(rows, one[0], rtol=1e-4, atol=1e-6)  # float32
    torch.testing.assert_close(together["state"], alone["state"])
    torch.testing.assert_close(together["evaluated"], alone["evaluated"])


class Fragile(DCGAN):
    """A DCGAN that fails in its fourth step, or says that a loss is NaN."""

    def __init__(self, is_killed):
        self.is_killed = is_killed

    def train_step(self, run):
        losses = super().train_step(run)
        if run.step == 3 and self.is_killed:
            raise ConnectionError("killed")
        return losses | ({"critic_real": torch.tensor(torch.nan)} if run.step == 3 else {})


@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_resumed_with_another_number_of_processes(before, after, config, data, tmp_path) -> None:
    task = Task(MODELS["dcgan"], config("dcgan"), data, 1)
    whole = train(task, "code", tmp_path / "whole")
    with pytest.raises(Exception, match="killed"):
        train(replace(task, model=Fragile(is_killed=True)), "code", tmp_path / "part", before)
    resumed = train(task, "code", tmp_path / "part", after)
    kept = torch.load(tmp_path / "part/checkpoint.pt", weights_only=True)
    assert kept["state"]["step"] == 4
    np.testing.assert_allclose(resumed.curves, whole.curves, rtol=ROUNDING, atol=1e-6)
    assert np.isfinite(resumed.grid).all() and resumed.grid.shape == whole.grid.shape
    assert resumed.weights.keys() == whole.weights.keys()
    # the first process alone writes: one file of events for each of the two starts
    assert len(list((tmp_path / "part/tensorboard").iterdir())) == 2


def test_a_loss_that_is_not_finite_stops_all_processes(config, data, tmp_path) -> None:
    with pytest.raises(
        InputError, match=r"generate\.dcgan: critic_real is nan at step 4, expected a f"
    ):
        train(Task(Fragile(is_killed=False), config("dcgan"), data, 1), "code", tmp_path, 2)
    assert (tmp_path / "checkpoint.pt").is_file()


def test_processes_that_cannot_share_the_batch_are_refused(config, data, tmp_path) -> None:
    with pytest.raises(
        InputError, match=r"generate\.num_processes: got 3, expected a divisor of generate\.b"
    ):
        train(Task(MODELS["vae"], config("vae"), data, 1), "code", tmp_path, 3)
