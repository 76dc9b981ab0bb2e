"""Features that are extracted again: those of the bank, by a network that training changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tubepet.errors import InputError
from tubepet.features.bank import fit_bank, transform
from tubepet.generate.data import positron_images
from tubepet.generate.layers.extractor import Extractor
from tubepet.generate.layers.memory import AttentionMemory, Fresh
from tubepet.generate.loop import train
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Task, start
from tubepet.training.devices import make_fabric

LEARNED = {"pca_components", "pcanet_first", "pcanet_second", "pcanet_components"}
PAPER = MODELS["paper"]


def begin(config, data):
    return start(Task(PAPER, config, data, 1), make_fabric())


def test_a_steep_hash_gives_the_features_of_the_bank(data) -> None:
    """Other images than those of the fit; three blocks of 32 pixels differ by one."""
    fractions = np.random.default_rng(7).uniform(0, 1, (4, 32, 32))
    fractions[:, :, :12] = 0.0  # air: its response is 0, and its code
    expected = transform(fractions, {k: v.numpy() for k, v in data.features.items()}, 3)
    images = torch.from_numpy(2 * fractions - 1).float()[:, None]
    found = Extractor(data.features, steepness=1e9)(images).detach().numpy()
    # a response within 1e-5 of 0 may flip a bit, which is one count of some hundred in a block
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_slots_that_are_extracted_first_are_like_those_of_the_bank() -> None:
    """On slices of tubes; a soft hash moves all histograms together, which does not count."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:48, :48] - 23.5
    radii = rng.uniform(8, 18, (40, 1, 1))
    tubes = gaussian_filter((np.hypot(y, x) < radii).astype(float), 1.5, axes=(1, 2))
    noise = gaussian_filter(rng.standard_normal(tubes.shape), 1.2, axes=(1, 2))
    slices = (600 * tubes * np.exp(noise)).astype(np.float32)
    real = positron_images(slices, np.ones(40, bool), 1200.0)
    settings = {
        "num_components": 8, "pcanet_filter_size": 7, "pcanet_num_filters": 3,
        "pcanet_num_blocks": 3, "pcanet_components": 8,
    }  # fmt: skip
    fitted = {k: torch.from_numpy(v) for k, v in fit_bank(real.exact(), settings)[0].items()}
    extractor = Extractor(fitted)
    slots = extractor.adapt(real.batch, 40)
    torch.testing.assert_close(slots, extractor(real.batch(torch.arange(40))), rtol=0, atol=1e-4)
    torch.testing.assert_close(slots.mean(0), torch.zeros(16), rtol=0, atol=1e-4)
    torch.testing.assert_close(slots[:, :8], fitted["bank"][:, :8], rtol=0, atol=1e-3)  # PCA
    pairs = torch.stack([slots[:, 8:].flatten(), fitted["bank"][:, 8:].flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.7  # 0.75; 0.4 at a steepness of 5, 0.8 at 1e5


def test_every_block_counts_its_pixels(data) -> None:
    histograms = Extractor(data.features).histograms(torch.rand(2, 1, 32, 32))
    assert histograms.shape == (2, 2 * 9 * 4)
    blocks = histograms.reshape(2, 2, 3, 3, 4).sum(-1)
    sides = torch.tensor([11.0, 11.0, 10.0])  # of 32 pixels
    torch.testing.assert_close(blocks, (sides[:, None] * sides).expand(2, 2, 3, 3))


def test_gradients_reach_filters_and_components(config, data) -> None:
    begun = begin(config("paper", features="repeated"), data)
    PAPER.train_step(begun)
    named = dict(begun.networks["extractor"].module.named_parameters())
    assert set(named) == LEARNED
    assert all(p.grad.abs().sum() > 0 for p in named.values())


def test_a_step_extracts_the_slots_of_its_batch_again(config, data) -> None:
    begun = begin(config("paper", features="repeated"), data)
    memory = begun.networks["generator"].module.memory
    before = memory.bank.clone()
    assert torch.allclose(before.std(0, correction=0), torch.ones(5), atol=1e-3)
    PAPER.train_step(begun)  # 4 of 8 slices: half of them wait for the next step
    left = set(begun.queues["real"].tolist())
    torch.testing.assert_close(memory.bank, before, rtol=0, atol=1e-4)  # nothing was learned yet
    before = memory.bank.clone()
    PAPER.train_step(begun)
    has_moved = (memory.bank != before).any(dim=1)
    assert {i for i in range(8) if has_moved[i]} == left and len(left) == 4
    assert torch.isfinite(memory.bank).all() and not memory.bank.requires_grad


def test_fresh_slots_stand_for_those_of_the_bank() -> None:
    memory = AttentionMemory(2, (3, 2), "cosine", 10.0, 3.0, False)
    memory.bank.normal_()
    query, slot = torch.randn(4, 2), torch.randn(1, 2)
    found = memory(query, Fresh(torch.tensor([1]), slot))
    memory.bank[1] = slot
    torch.testing.assert_close(found, memory(query))


def test_what_cannot_be_extracted_again_is_refused(config, data) -> None:
    section = config("paper", features="repeated", slots="component", pairing="random")
    with pytest.raises(InputError, match="slots: got component with features repeated, expected"):
        begin(section, data)
    begun = begin(config("paper", features="repeated"), data)

    class Two:
        world_size = 2

        def __getattr__(self, name):
            return getattr(begun.fabric, name)

    shared = replace(begun, fabric=Two())
    with pytest.raises(InputError, match="num_processes: got 2, expected 1 with"):
        PAPER.train_step(shared)


def test_a_training_extracts_again_and_is_counted_before(config, data, tmp_path) -> None:
    """The whole loop, with its estimate of memory and the average of the slots."""
    section = config("paper", features="repeated", num_steps=4)
    result = train(Task(PAPER, section, data, 1), "code", tmp_path)
    begun = begin(config("paper", features="repeated"), data)
    first = begun.networks["generator"].module.memory.bank
    moved = (result.weights["memory.bank"] - first).abs().max()
    assert 0 < moved < 1 and result.grid.shape[1:] == (32, 32)
    assert not any(name.startswith("extractor") for name in result.weights)
