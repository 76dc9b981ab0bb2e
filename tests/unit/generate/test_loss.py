"""Losses, by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from tubepet.generate.layers.loss import (
    ADVERSARIAL,
    attention_perceptual,
    frozen,
    lecam,
    r1_penalty,
)


def test_perceptual_loss_by_hand() -> None:
    # two layers with W_1 = 2 and W_2 = 1 elements, two images:
    # image 1: |1 - 0| + |3 - 1| = 3, / 2; |5 - 4| / 1     -> 1.5 + 1
    # image 2: |0 - 2| + |0 - 0| = 2, / 2; |1 - 4| / 1     -> 1.0 + 3
    real = [torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[5.0], [1.0]])]
    fake = [torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[4.0], [4.0]])]
    assert float(attention_perceptual(real, fake)) == pytest.approx((2.5 + 4.0) / 2)


def test_bce_is_the_papers_equation() -> None:
    real, fake = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    expected = -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean())
    torch.testing.assert_close(ADVERSARIAL["bce"].critic(real, fake), expected)
    ones = torch.ones_like(fake)
    non_saturating = functional.binary_cross_entropy_with_logits(fake, ones)
    torch.testing.assert_close(ADVERSARIAL["bce"].generator(fake), non_saturating)


def test_wasserstein_by_hand() -> None:
    loss = ADVERSARIAL["wasserstein"]
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0])
    assert float(loss.critic(real, fake)) == -2.5
    assert float(loss.generator(fake)) == 0.5


def test_hinge_and_least_squares_by_hand() -> None:
    real, fake = torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 1.0])
    # hinge: (0.5 + 0) / 2 and (0 + 2) / 2; generator: -(-2 + 1) / 2
    assert float(ADVERSARIAL["hinge"].critic(real, fake)) == 0.25 + 1.0
    assert float(ADVERSARIAL["hinge"].generator(fake)) == 0.5
    # least squares: half of (0.25 + 4) / 2 + (4 + 1) / 2; generator: half of (9 + 0) / 2
    assert float(ADVERSARIAL["lsgan"].critic(real, fake)) == 0.5 * (2.125 + 2.5)
    assert float(ADVERSARIAL["lsgan"].generator(fake)) == 2.25


def test_lecam_by_hand() -> None:
    # real logits against the fake anchor: (1 - 0)^2, (3 - 0)^2; fake against real: (-1 - 2)^2
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0])
    assert float(lecam(real, fake, torch.tensor(2.0), torch.tensor(0.0))) == 5.0 + 9.0


def test_r1_of_a_linear_critic() -> None:
    # D(x) = w.x: |grad|^2 / 2 = 25 / 2, alike for one logit and for patches whose mean is w.x
    weight = torch.zeros(4)
    weight[:2] = torch.tensor([3.0, 4.0])
    real = torch.randn(3, 1, 2, 2)
    for patches in (1, 6):

        def critic(x: torch.Tensor, patches: int = patches) -> torch.Tensor:
            return (x.flatten(1) @ weight)[:, None].expand(-1, patches)

        assert float(r1_penalty(critic, real)) == pytest.approx(12.5, rel=1e-6)  # float32


def test_frozen_lets_gradients_through_but_not_in() -> None:
    layer = nn.Linear(2, 1)
    x = torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is None
    assert all(p.requires_grad for p in layer.parameters())
    assert math.isclose(float(x.grad.sum()), float(layer.weight.detach().sum()), rel_tol=1e-6)
