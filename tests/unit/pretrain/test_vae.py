"""The VAE: shapes, range, the two terms of the ELBO, weights on disk."""

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch.distributions import Independent, Normal, kl_divergence

from tubepet import io
from tubepet.errors import InputError
from tubepet.pretrain.vae import ConvVAE, elbo_terms, gaussian_kl, load_vae


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ConvVAE(32, 16, 8)


@pytest.mark.parametrize("image_size", [8, 32, 64, 256])
def test_shapes_and_range(image_size):
    torch.manual_seed(0)
    model = ConvVAE(image_size, 5, 8)
    mu, log_var = model.encode(torch.rand(2, 1, image_size, image_size) * 2 - 1)
    image = model.decode(100 * mu)
    assert mu.shape == log_var.shape == (2, 5)
    assert image.shape == (2, 1, image_size, image_size)
    assert image.abs().max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((48, 16, 8), "image_size: got 48 pixels"), ((32, 16, 12), "channels: got 12")],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvVAE(*arguments)


def test_kl_by_hand_and_against_torch():
    # mu = 1, sigma = 1 costs 1/2 nat per dimension; the prior itself costs nothing
    assert gaussian_kl(torch.ones(1, 3), torch.zeros(1, 3)).item() == pytest.approx(1.5)
    assert gaussian_kl(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0
    generator = torch.Generator().manual_seed(1)
    mu, log_var = torch.randn(2, 7, 20, generator=generator, dtype=torch.float64)
    posterior = Independent(Normal(mu, torch.exp(0.5 * log_var)), 1)
    prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    # the same closed form in float64: rounding only
    torch.testing.assert_close(gaussian_kl(mu, log_var), kl_divergence(posterior, prior))


def test_reconstruction_term_by_hand(model):
    # all errors are 0.5 on 32 x 32 pixels: 1024 * 0.25 / (2 * 0.1^2) = 12800 nats
    model.forward = lambda x, noise: (x - 0.5, torch.zeros(len(x), 16), torch.zeros(len(x), 16))
    nll, kl = elbo_terms(model, torch.zeros(3, 1, 32, 32), 0.1, torch.zeros(3, model.latent_size))
    assert nll.item() == pytest.approx(12800) and kl.item() == 0


def test_elbo_depends_on_the_noise_given(model):
    x, noise = torch.rand(4, 1, 32, 32) * 2 - 1, torch.randn(4, model.latent_size)
    terms = [elbo_terms(model, x, 0.1, n)[0].item() for n in (noise, noise, -noise)]
    assert terms[0] == terms[1] != terms[2]


def test_gradients_reach_every_weight(model):
    nll, kl = elbo_terms(model, torch.rand(4, 1, 32, 32), 0.1, torch.zeros(4, model.latent_size))
    (nll + kl).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_one_code_does_not_depend_on_the_batch(model):
    x = torch.rand(6, 1, 32, 32)
    # groups are within an image; other batch sizes may sum in another order: float32 rounding
    torch.testing.assert_close(model.encode(x)[0][:1], model.encode(x[:1])[0], atol=1e-5, rtol=1e-5)


def test_weights_survive_the_disk(model, tmp_path):
    path = tmp_path / "vae.safetensors"
    with io.atomic(path) as part:
        save_model(model, str(part))
    facts = {"image_size": 32, "latent_size": 16, "channels": 8, "seed": 3}
    x = torch.rand(2, 1, 32, 32)
    loaded = load_vae(path, facts)
    assert not loaded.training
    assert torch.equal(loaded.encode(x)[0], model.encode(x)[0])
    with pytest.raises(InputError, match=r"vae\.safetensors: expected the weights of a VAE with"):
        load_vae(path, facts | {"latent_size": 8})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"vae\.safetensors: got a damaged file"):
        load_vae(path, facts)
    save_file({"other": x}, path)
    with pytest.raises(InputError, match=r"vae\.safetensors: expected the weights"):
        load_vae(path, facts)
