"""The VAE's loss, and how far the distribution of its codes is from the prior (stage 05)."""

import torch
from torch import Tensor


def kl_weight(step: int, beta: float, anneal_steps: int) -> float:
    """Return the weight of the KL term at a step: linear from 0 to `beta`, then constant.

    Parameters
    ----------
    step : int
        Counted from 0.
    beta : float
        Final weight; 1 is the ELBO.
    anneal_steps : int
        Length of the ramp; 0 switches annealing off.

    References
    ----------
    Bowman et al. 2016, arXiv:1511.06349 (annealing); Higgins et al. 2017 (beta).
    """
    return beta if step >= anneal_steps else beta * step / anneal_steps


def negative_elbo(reconstruction_nll: Tensor, kl: Tensor, weight: float) -> Tensor:
    """Return ||x - x_hat||^2 / (2 sigma_x^2) + weight * KL, nats per image."""
    return reconstruction_nll + weight * kl


def aggregate_gap(mu: Tensor, log_var: Tensor) -> dict[str, float]:
    """Compare the aggregate posterior q(z) = mean over images of q(z|x) with N(0, I).

    The paper's eq. 3 takes them as equal (docs/model.md A2). The farther they differ, the less
    codes drawn from the prior look like codes of images.

    Parameters
    ----------
    mu, log_var : float tensors, shape (N, D)
        Posterior means and log variances of N images.

    Returns
    -------
    dict
        aggregate_gap_nats: KL(N(m, C) || N(0, I)) with the mean m and covariance C of q(z), from
        the law of total variance. It is 0 if they are equal, and biased upwards if N is not well
        above D.
        aggregate_mean_norm: |m|.
        num_active_dimensions: dimensions in which posterior means vary, Var(mu) > 0.01.

    References
    ----------
    Active units: Burda et al. 2016, arXiv:1509.00519, section 5.2.
    """
    mu64, var = mu.double(), log_var.double().exp()
    mean = mu64.mean(0)
    centred = mu64 - mean
    of_means = centred.T @ centred / len(mu64)  # (D, D)
    covariance = of_means + torch.diag(var.mean(0))
    gap = 0.5 * (covariance.trace() + mean.square().sum() - len(mean) - covariance.logdet())
    return {
        "aggregate_gap_nats": float(gap),
        "aggregate_mean_norm": float(mean.norm()),
        "num_active_dimensions": int((of_means.diagonal() > 0.01).sum()),
    }
