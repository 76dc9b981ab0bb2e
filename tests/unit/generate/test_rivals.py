"""Rivals of the paper's model, and the last layer of generators, against their formulas."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tubepet.errors import InputError
from tubepet.generate.data import Data, positron_images
from tubepet.generate.layers.mirror_filter import (
    filter_transfer,
    filtered,
    gaussian_transfer,
    noise_std,
)
from tubepet.generate.layers.output import ActivityOutput
from tubepet.generate.models import edm, fastgan
from tubepet.generate.models.vae import SliceVAE


def test_preconditioning_identities() -> None:
    # table 1: the input of F has variance 1 for data of variance sigma_data^2, and so has its
    # target (y - c_skip (y + n)) / c_out; lambda c_out^2 = 1. Float64: exact to rounding
    sigma = torch.logspace(-3, 2, 20, dtype=torch.float64)
    sigma_data = 0.3
    c_skip, c_out, c_in, c_noise = edm.preconditioning(sigma, sigma_data)
    ones = torch.ones_like(sigma)
    torch.testing.assert_close(c_in**2 * (sigma_data**2 + sigma**2), ones)
    target_variance = (1 - c_skip) ** 2 * sigma_data**2 + c_skip**2 * sigma**2
    torch.testing.assert_close(target_variance / c_out**2, ones)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    torch.testing.assert_close(weight * c_out**2, ones)
    assert float(c_noise[0]) == pytest.approx(math.log(1e-3) / 4)


def test_noise_levels_fall_to_nothing() -> None:
    levels = edm.noise_levels(18)
    assert levels[0] == pytest.approx(40) and levels[-2] == pytest.approx(0.01)
    assert levels[-1] == 0 and levels == sorted(levels, reverse=True) and len(levels) == 19


def test_sampler_reproduces_a_gaussian_with_its_exact_denoiser() -> None:
    # data N(m, s^2): D(x; sigma) = (s^2 x + sigma^2 m) / (s^2 + sigma^2), and the ODE takes noise n
    # to m + s n, but for sigma_max / sqrt(s^2 + sigma_max^2), which is 1 to 1e-4
    m, s = 0.4, 0.5
    noise = torch.randn(2000, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()

    def error(num_steps: int) -> float:
        images = edm.heun(
            lambda x, sigma: (s**2 * x + sigma**2 * m) / (s**2 + sigma**2),
            noise,
            edm.noise_levels(num_steps),
        )
        return float((images - (m + s * noise)).std() / s)

    assert error(18) < 0.04  # measured 0.035; Euler's method is at 0.126
    assert error(72) < error(18) / 12  # second order: 16 times less, first order: 4 times


def test_denoiser_starts_as_the_best_linear_one_near_no_noise() -> None:
    # F is bounded, c_out -> 0 and c_skip -> 1: an image without noise comes back
    denoiser = edm.Denoiser(16, 8, -0.8, 0.3, 4, output="activity", filter_px=1.3)
    image = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(denoiser(image, torch.full((2,), 1e-6)), image, rtol=1e-4, atol=1e-4)


def test_samples_have_no_frequency_that_the_filter_removes(config) -> None:
    slices = torch.rand(4, 32, 32).numpy()
    data = Data(real=positron_images(slices, slices[:, 0, 0] >= 0, 1.0))
    settings = config("edm", filter_px=1.3)
    denoiser = edm.EDM().make_networks(settings, data)["generator"]
    assert denoiser.band[0, 0] == 1 and denoiser.band[0, -1] == 0  # at rest, at Nyquist
    image = torch.randn(3, 1, 32, 32)
    kept = denoiser.in_band(image)
    torch.testing.assert_close(denoiser.in_band(kept), kept)  # a projection
    assert 0.1 < float(kept.square().mean() / image.square().mean()) < 0.5  # a third of the plane
    published = edm.EDM().make_networks({**settings, "output": "tanh"}, data)["generator"]
    torch.testing.assert_close(published.in_band(image), image)


def test_data_statistics_are_those_of_the_pixels() -> None:
    # half empty, half at the scale: -1 and 1 in equal shares
    slices = torch.zeros(4, 8, 8).numpy()
    slices[:, :4] = 5.0
    mean, sigma_data = edm.data_statistics(positron_images(slices, slices[:, 0, 0] >= 0, 5.0))
    assert mean == pytest.approx(0) and sigma_data == pytest.approx(1, rel=0.01)  # n - 1


def test_skip_layer_excitation_gates_channels_alone() -> None:
    layer = fastgan.SkipLayerExcitation(3, 5)
    small, large = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 32, 32)
    out = layer(small, large)
    assert out.shape == large.shape
    gate = out / large
    assert 0 < gate.min() and gate.max() < 1
    # one number per image and channel; 1e-4: a float32 product and quotient
    torch.testing.assert_close(gate, gate[:, :, :1, :1].expand_as(gate), rtol=1e-4, atol=0)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_fastgan_shapes(size: int) -> None:
    generator = fastgan.FastGenerator(size, 6, 2, "tanh", 1.0)
    noise = generator.draw_noise(2, torch.Generator().manual_seed(0))
    image = generator(*noise)
    assert image.shape == (2, 1, size, size) and image.abs().max() <= 1
    judged = fastgan.ReconstructingCritic(size, 2)(image, quadrant=1)
    assert judged.logits.shape == (2, 1, 5, 5)
    assert [x.shape for x in judged.reconstructed] == [(2, 1, size // 2, size // 2)] * 2


def test_quadrants_in_reading_order() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    corners = [float(fastgan.take_quadrant(image, q)[0, 0, 0, 0]) for q in range(4)]
    assert corners == [0, 2, 8, 10]


def test_perfect_reconstruction_costs_nothing() -> None:
    image = torch.rand(2, 1, 8, 8)
    half = torch.nn.functional.avg_pool2d(image, 2)
    judged = fastgan.Judged(image, (half, fastgan.take_quadrant(image, 3)))
    assert float(fastgan.reconstruction_error(judged, image, 3)) == 0
    shifted = fastgan.Judged(image, (half + 0.25, fastgan.take_quadrant(image, 3) - 0.5))
    assert float(fastgan.reconstruction_error(shifted, image, 3)) == pytest.approx(0.75, rel=1e-5)


def test_fastgan_refuses_slices_below_its_smallest_size(config) -> None:
    slices = torch.rand(4, 16, 16).numpy()
    small = Data(real=positron_images(slices, slices[:, 0, 0] >= 0, 1.0))
    with pytest.raises(InputError, match=r"num_pixels: got 16, expected at least 32"):
        fastgan.FastGAN().make_networks(config("fastgan"), small)


def test_output_is_the_reconstructions_filter_of_a_non_negative_activity() -> None:
    x = torch.randn(1, 1, 64, 64)
    image = ActivityOutput(64, 1.274)(x)
    activity = torch.nn.functional.softplus(x - 2)[0, 0].numpy()
    expected = gaussian_filter(activity, 1.274, mode="reflect")  # as the reconstruction
    seen = (image[0, 0].numpy() + 1) / 2
    assert np.abs(seen - np.clip(expected, 0, 1)).max() < 1e-5  # float32
    assert -1 <= float(image.min()) and float(image.max()) <= 1


def test_decoders_noise_has_its_spread_and_the_filters_correlation() -> None:
    torch.manual_seed(0)
    vae = SliceVAE(32, 4, 8, "tanh", 1.3).eval()
    z = torch.zeros(200, 4)
    with torch.no_grad():
        mean, spread = vae.decode(z).split(1, dim=1)
        little = 0.05 * torch.randn(200, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        noisy = vae.draw(z, little)  # a twentieth of the noise: none is clipped
    assert spread.min() >= 0.02 and noisy.abs().max() < 1
    unit = ((noisy - mean) / (0.05 * spread))[:, 0]
    # 2e5 numbers, about 1e4 of them independent: standard deviation to 1 %, correlation to 0.01
    assert float(unit.std()) == pytest.approx(1, abs=0.03)
    neighbours = float((unit[:, :, 1:] * unit[:, :, :-1]).mean())
    assert neighbours == pytest.approx(math.exp(-1 / (4 * 1.3**2)), abs=0.03)  # of a Gaussian


def test_transfer_passes_the_mean_and_falls_as_a_gaussian() -> None:
    transfer = gaussian_transfer(8, 1.0)
    assert transfer[0, 0] == 1 and transfer.shape == (8, 8)
    assert float(transfer[0, 4]) == pytest.approx(math.exp(-2 * math.pi**2 / 16))  # at 1/4 per px


def test_noise_has_the_spread_that_is_said_up_to_the_borders() -> None:
    transfer = filter_transfer(16, 1.3)
    noise = filtered(np.random.default_rng(0).normal(size=(20000, 16, 16)), transfer)
    # 20,000 numbers a pixel: standard deviation to 0.5 %, the largest of 256 to 2 %
    np.testing.assert_allclose(noise.std(0) / noise_std(transfer), 1, atol=0.03)
    assert noise_std(transfer)[0, 0] > 1.5 * noise_std(transfer)[8, 8]  # mirrored: counted twice
