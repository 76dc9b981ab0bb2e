"""Attention memory, generator and discriminator of the paper's model."""

import pytest
import torch
from torch import nn

from tubepet.dataset.symmetries import dihedral
from tubepet.generate.layers.augment import draw_transform
from tubepet.generate.layers.dense_generator import DenseGenerator, TiramisuGenerator
from tubepet.generate.layers.memory import SCORES, AttentionMemory, mean_entropy, memory_bank
from tubepet.generate.layers.patch_critic import (
    PatchDiscriminator,
    patch_layers,
    receptive_field,
)
from tubepet.generate.models.dcgan import DCCritic, DCGenerator


def test_receptive_field_of_the_patchgan_is_70_step_by_step() -> None:
    fields = [receptive_field(patch_layers(256)[-i:]) for i in range(1, 6)]
    assert fields == [4, 7, 16, 34, 70]  # docs/model.md, eq. 8


def test_receptive_field_is_what_the_gradient_reaches() -> None:
    critic = PatchDiscriminator(
        4, 256
    ).eval()  # running statistics: no path through the batch's mean
    image = torch.randn(1, 1, 256, 256, requires_grad=True)
    logits, _ = critic(image)
    centre = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, centre, centre], image)
    rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
    assert rows.max() - rows.min() + 1 == 70
    assert columns.max() - columns.min() + 1 == 70


@pytest.mark.parametrize(
    ("size", "field", "patches", "channels"),
    [
        (8, 16, 2, [4, 8]), (32, 16, 14, [4, 8]), (33, 16, 14, [4, 8]), (34, 34, 6, [4, 8, 16]),
        (64, 34, 14, [4, 8, 16]), (70, 70, 6, [4, 8, 16, 32]), (256, 70, 30, [4, 8, 16, 32]),
    ],
)  # fmt: skip
def test_patches_are_the_largest_that_fit_the_image(size, field, patches, channels) -> None:
    assert receptive_field(patch_layers(size)) == field
    logits, layers = PatchDiscriminator(4, size)(torch.zeros(2, 1, size, size))
    assert logits.shape == (2, 1, patches, patches)
    assert [layer.shape[1] for layer in layers] == channels


def make_memory(query_size, bank_shape, attention="cosine", kappa=10.0, is_projected=False):
    return AttentionMemory(query_size, bank_shape, attention, kappa, 3.0, is_projected)


@pytest.mark.parametrize("attention", SCORES)
def test_attention_sums_to_one_and_context_is_its_mean_of_slots(attention: str) -> None:
    memory = make_memory(6, (9, 4), attention)
    memory.bank.normal_()
    context, log_attention = memory(torch.randn(5, 6))
    weights = log_attention.exp()
    # 1e-6: nine float32 terms
    torch.testing.assert_close(weights.sum(1), torch.ones(5), rtol=0, atol=1e-6)
    torch.testing.assert_close(context, weights @ memory.bank)


@pytest.mark.parametrize(("attention", "gap"), [("bilinear", 2.0), ("scaled_bilinear", 2**0.5)])
def test_bilinear_score_by_hand(attention: str, gap: float) -> None:
    memory = make_memory(2, (2, 2), attention)
    memory.alignment.data = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    memory.bank.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # z = (1, 1): z^T W_a = (1, 3), scores 1 and 3, attention 1 : e^2; scaled by the root of d_y = 2
    _, log_attention = memory(torch.tensor([[1.0, 1.0]]))
    ratio = log_attention[0, 1] - log_attention[0, 0]
    assert float(ratio.detach()) == pytest.approx(gap, abs=1e-6)  # float32


def test_cosine_logits_stay_within_kappa() -> None:
    memory = make_memory(6, (9, 4), kappa=3.0)
    memory.bank.normal_()
    _, log_attention = memory(1e6 * torch.randn(5, 6))
    spread = log_attention.max(1).values - log_attention.min(1).values
    assert float(spread.detach().max()) <= 6.0 + 1e-5  # twice kappa, and rounding


def test_entropy_of_uniform_and_of_single_attention() -> None:
    uniform = torch.full((2, 8), 1 / 8).log()
    assert float(mean_entropy(uniform).exp()) == pytest.approx(8.0, rel=1e-5)
    single = torch.log_softmax(torch.tensor([[50.0, 0.0, 0.0]]), dim=1)
    assert float(mean_entropy(single).exp()) == pytest.approx(1.0, rel=1e-5)


def test_logits_of_the_bilinear_score_start_with_the_stated_spread() -> None:
    memory = AttentionMemory(64, (400, 96), "bilinear", 1.0, 3.0, is_projected=False)
    memory.bank.normal_()
    _, log_attention = memory(torch.randn(200, 64))
    # 5 %: |z| varies by 9 % from query to query, and the spread is averaged over 200 of them
    assert float(log_attention.detach().std(1).mean()) == pytest.approx(3.0, rel=0.05)


def test_slots_hold_the_columns_that_are_asked_for() -> None:
    bank = torch.randn(7, 5)
    assert torch.equal(memory_bank(bank, 3, "pca", "image"), bank[:, :3])
    assert torch.equal(memory_bank(bank, 3, "pcanet", "image"), bank[:, 3:])
    assert torch.equal(memory_bank(bank, 3, "both", "image"), bank)


def test_component_slots_have_the_covariance_of_the_slices() -> None:
    bank = torch.randn(40, 5)
    slots = memory_bank(bank, 3, "both", "component")
    assert slots.shape == (5, 5)
    # 1e-5: a singular value decomposition in float32
    torch.testing.assert_close(slots.T @ slots, bank.T.cov(correction=0), rtol=0, atol=1e-5)
    across = slots @ slots.T
    torch.testing.assert_close(across, across.diag().diag(), rtol=0, atol=1e-5)


def test_projection_starts_as_the_identity_and_learns_while_the_bank_does_not() -> None:
    memory = make_memory(6, (9, 4), is_projected=True)
    memory.bank.normal_()
    context, log_attention = memory(torch.randn(5, 6))
    torch.testing.assert_close(context, log_attention.exp() @ memory.bank)
    context.square().sum().backward()
    assert memory.projection.weight.grad.abs().sum() > 0
    assert not memory.bank.requires_grad


@pytest.mark.parametrize("size", [32, 64, 256])
def test_generators_make_images_of_any_size_in_range(size: int) -> None:
    dense = DenseGenerator(7, size, 16, growth=4, layers_per_block=1, output=nn.Tanh())
    both_ways = TiramisuGenerator(7, size, 4, growth=2, layers_per_block=1, output=nn.Tanh())
    plain = DCGenerator(size, 7, 4, "activity", 1.3)
    for generator in (dense, both_ways, plain):
        image = generator(torch.randn(2, 7))
        assert image.shape == (2, 1, size, size)
        assert image.abs().max() <= 1
    assert DCCritic(size, 4)(image).shape == (2,)


def test_symmetries_are_eight_different_ones() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert len({tuple(dihedral(image, e).flatten().tolist()) for e in range(8)}) == 8
    assert torch.equal(dihedral(image, 0), image)


def test_transform_of_symmetries_only_turns_each_image() -> None:
    images = torch.randn(6, 2, 8, 8)
    transform = draw_transform("dihedral", 6, 8, torch.Generator().manual_seed(0))
    chosen = set()
    for before, after in zip(images, transform(images), strict=True):
        (element,) = (e for e in range(8) if torch.equal(dihedral(before, e), after))
        chosen.add(element)
    assert len(chosen) > 1  # a draw per image
    assert torch.equal(transform(images[:, :1]), transform(images)[:, :1])  # one draw for both
    assert torch.equal(draw_transform("none", 6, 8, torch.Generator())(images), images)


def test_shift_and_cutout_move_and_blank_whole_pixels() -> None:
    rng = torch.Generator().manual_seed(3)
    size, empty = 16, -1.0
    images = 2 + torch.rand(32, 1, size, size)  # no pixel looks empty or half bright
    images.requires_grad_()
    out = draw_transform("diffaug", 32, size, rng)(images, empty)
    shown = (out != empty) & (out != 0)
    values = set(images.detach().flatten().tolist())
    assert set(out[shown].tolist()) <= values  # intensities are kept
    assert 1 < shown.sum() < shown.numel()
    for kept in out:
        cut = (kept[0] == 0).nonzero()
        height, width = (cut.max(0).values - cut.min(0).values + 1).tolist() if len(cut) else (0, 0)
        assert len(cut) == height * width and max(height, width) <= size // 2  # a square, clipped
        edge = (kept[0] == empty).all(1).sum()
        assert edge <= size // 8
    out.sum().backward()
    # each shown pixel came from one input pixel, whose gradient is 1
    assert images.grad is not None and set(images.grad.unique().tolist()) == {0.0, 1.0}
    assert images.grad.sum() == shown.sum()
