"""Losses, by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from tubepet.gan.loss import ADVERSARIAL, attention_perceptual, frozen, gradient_penalty


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


def test_gradient_penalty_of_a_linear_critic() -> None:
    # D(x) = w.x has the gradient w everywhere: the penalty is (|w| - 1)^2, for |w| = 5 it is 16
    weight = torch.zeros(4)
    weight[:2] = torch.tensor([3.0, 4.0])

    def critic(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ weight

    real, fake = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    assert float(penalty) == pytest.approx(16.0, rel=1e-6)  # float32


def test_frozen_lets_gradients_through_but_not_in() -> None:
    layer = nn.Linear(2, 1)
    x = torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is None
    assert all(p.requires_grad for p in layer.parameters())
    assert math.isclose(float(x.grad.sum()), float(layer.weight.detach().sum()), rel_tol=1e-6)
