"""Losses and penalties of adversarial training, on logits of any shape (B, ...)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class AdversarialLoss(NamedTuple):
    """critic(real_logits, fake_logits) and generator(fake_logits), both to be minimised."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _bce_critic(real: Tensor, fake: Tensor) -> Tensor:
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def _bce_generator(fake: Tensor) -> Tensor:
    return functional.softplus(-fake).mean()


def _hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def _lsgan_critic(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def _lsgan_generator(fake: Tensor) -> Tensor:
    return 0.5 * (fake - 1).square().mean()


def _wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    return fake.mean() - real.mean()


def _mean_generator(fake: Tensor) -> Tensor:
    return -fake.mean()


# bce: the paper's eq. 1 with the non-saturating generator of Goodfellow et al. 2014;
# hinge: Lim & Ye 2017 (arXiv:1705.02894), eq. 7 and 8;
# lsgan: Mao et al. 2017 (arXiv:1611.04076), eq. 9, targets 0 and 1;
# wasserstein: Arjovsky, Chintala, Bottou 2017 (arXiv:1701.07875), eq. 3, for a Lipschitz critic
ADVERSARIAL = {
    "bce": AdversarialLoss(_bce_critic, _bce_generator),
    "hinge": AdversarialLoss(_hinge_critic, _mean_generator),
    "lsgan": AdversarialLoss(_lsgan_critic, _lsgan_generator),
    "wasserstein": AdversarialLoss(_wasserstein_critic, _mean_generator),
}


def attention_perceptual(real_layers: Sequence[Tensor], fake_layers: Sequence[Tensor]) -> Tensor:
    """L_APG = E sum_i (1 / W_i) || D_i(x) - D_i(G(a)) ||_1, the paper's eq. 9.

    Parameters
    ----------
    real_layers, fake_layers : sequence of tensor, each (B, ...)
        Hidden layers of the discriminator; row b of one is paired with row b of the other.

    Notes
    -----
    W_i is the number of elements of layer i of one image, so each term is a mean of |difference|.
    """
    terms = [(x - f).abs().mean() for x, f in zip(real_layers, fake_layers, strict=True)]
    return torch.stack(terms).sum()


def lecam(real: Tensor, fake: Tensor, real_anchor: Tensor, fake_anchor: Tensor) -> Tensor:
    """E (D(x) - a_F)^2 + E (D(G(z)) - a_R)^2: keep logits near past means of the other side.

    Parameters
    ----------
    real, fake : tensor, any shape
        Logits of the step.
    real_anchor, fake_anchor : scalar tensors
        a_R and a_F, exponential moving averages of the mean logits of real and generated images.

    References
    ----------
    Tseng et al. 2021, arXiv:2104.03310, eq. 4.
    """
    return (real - fake_anchor).square().mean() + (fake - real_anchor).square().mean()


def r1_penalty(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """E || grad D(x) ||^2 / 2 at real images; for a patch critic D(x) is its mean logit.

    References
    ----------
    Mescheder et al. 2018, arXiv:1801.04406, eq. 9.
    """
    real = real.detach().requires_grad_()
    logits = critic(real).reshape(len(real), -1).mean(1)  # (B,)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return 0.5 * gradient.square().sum((1, 2, 3)).mean()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within the context, gradients pass through a module, but not into its parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
