"""The training loop: gradients, averages, resuming, clipping, sampling, errors that stop it."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tubepet.errors import InputError
from tubepet.generate import footprint
from tubepet.generate.data import Data, Images, positron_images, take
from tubepet.generate.loop import average_of_images, train
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.models.vae import VAE
from tubepet.generate.run import Task, bare, start
from tubepet.generate.sample import load_generator, sample_images
from tubepet.logs import log
from tubepet.plan import models
from tubepet.training.devices import make_fabric

ALL = sorted(MODELS)
TRAINED = [name for name in ALL if not MODELS[name].is_fitted]
DCGAN, PAPER, WGAN = (MODELS[name] for name in ("dcgan", "paper", "wgan"))


def run(model, config, data):
    return start(Task(model, config, data, 1), make_fabric())


def test_gradients_reach_encoder_and_attention_but_not_the_bank(config, data) -> None:
    begun = run(PAPER, config("paper"), data)
    generator = begun.networks["generator"].module
    critic_before = [p.clone() for p in begun.networks["critic"].parameters()]
    bank = generator.memory.bank.clone()
    PAPER.train_step(begun)
    reached = {name for name, p in generator.named_parameters() if p.grad.abs().sum() > 0}
    assert "memory.alignment" in reached
    assert {"vae.mu_head.weight", "vae.log_var_head.weight", "vae.trunk.0.weight"} <= reached
    assert "vae.expand.weight" in reached  # the decoder, through L_VAE only
    assert "generator.stem.weight" in reached
    assert not generator.memory.bank.requires_grad
    assert torch.equal(generator.memory.bank, bank)
    critic = begun.networks["critic"]
    # the discriminator learns in its own step and holds no gradient of the generator's
    assert any(
        not torch.equal(a, b) for a, b in zip(critic_before, critic.parameters(), strict=True)
    )


def test_encoder_gets_an_adversarial_gradient_without_its_own_loss(config, data) -> None:
    begun = run(PAPER, config("paper", vae_weight=0.0, prior_fraction=0.0), data)
    PAPER.train_step(begun)
    generator = begun.networks["generator"].module
    assert generator.vae.mu_head.weight.grad.abs().sum() > 0
    assert generator.vae.expand.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_needs_what_the_plan_says_and_no_more(name, config, data) -> None:
    model, needs = MODELS[name], models.MODELS[name]

    def only(*needed):
        parts = {"ct": ("ct",), "memory": ("vae", "features"), "volumes": ("volumes",)}
        kept = {part: getattr(data, part) for need in needed for part in parts[need]}
        return Data(data.real, **kept)

    begun = run(model, config(name), only(*needs.training))
    model.train_step(begun)
    network, rng = bare(begun.networks["generator"]).eval(), torch.Generator().manual_seed(0)
    assert len(sample_images(model, network, 3, only(*needs.sampling), rng)) == 3
    for missing in needs.training:
        with pytest.raises(ValueError, match="the model needs"):
            run(model, config(name), only(*set(needs.training) - {missing}))
    if needs.sampling:
        with pytest.raises(ValueError, match="the model needs"):
            sample_images(model, network, 3, only(), rng)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_keeps_to_the_device_of_its_networks(name, config, data, monkeypatch) -> None:
    """On PyTorch's device without values: like a GPU it takes no tensor of the CPU."""

    class Elsewhere:
        device, world_size, global_rank = torch.device("meta"), 1, 0

        def to_device(self, x):
            return x.to(self.device)

        def backward(self, loss):
            loss.backward()

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no such device
    # the best assignment of a batch is found on the CPU, from values
    section = config(name, **({"pairing": "random"} if name == "paper" else {}))
    begun = run(MODELS[name], section, data)
    networks = {key: bare(network).to("meta") for key, network in begun.networks.items()}
    optimizers = {key: optimizer.optimizer for key, optimizer in begun.optimizers.items()}
    begun = replace(begun, fabric=Elsewhere(), networks=networks, optimizers=optimizers)
    for begun.step in (1, 16):  # the second with R1
        MODELS[name].train_step(begun)
    assert {p.device.type for n in networks.values() for p in n.parameters()} == {"meta"}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # PyTorch asks itself
@pytest.mark.parametrize("name", ["dcgan", "paper"])  # a plain network, and one of several parts
def test_compiled_networks_take_the_same_steps(name, config, data, monkeypatch) -> None:
    def two_steps():
        begun = run(MODELS[name], config(name), data)
        for begun.step in (1, 2):
            MODELS[name].train_step(begun)
        return begun

    eager, calls = two_steps(), []

    def backend(graph, _):
        calls.append(graph)
        return graph.forward

    monkeypatch.setattr("tubepet.generate.run._is_compiled", lambda *_: True)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compiled = two_steps()
    assert calls
    for key, network in compiled.networks.items():
        assert type(bare(network)) is type(bare(eager.networks[key]))
        found, expected = network.state_dict(), eager.networks[key].state_dict()
        assert list(found) == list(expected)
        for what, values in found.items():  # the same operations in another order
            torch.testing.assert_close(values, expected[what], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_resumed_training_equals_an_uninterrupted_one(name, config, data, tmp_path: Path) -> None:
    model = MODELS[name]
    whole = train(Task(model, config(name), data, 1), "code", tmp_path / "whole")

    class Killed(Exception):
        pass

    class Fragile(type(model)):
        """The model, killed in its fourth step."""

        def train_step(self, begun):
            if begun.step == 3:
                raise Killed
            return super().train_step(begun)

    with pytest.raises(Killed):
        train(Task(Fragile(), config(name), data, 1), "code", tmp_path / "part")
    resumed = train(Task(model, config(name), data, 1), "code", tmp_path / "part")
    assert resumed.weights.keys() == whole.weights.keys()
    for key, weight in whole.weights.items():
        assert torch.equal(resumed.weights[key], weight), key  # bit for bit
    assert resumed.curves.equals(whole.curves)
    assert np.array_equal(resumed.grid, whole.grid)


def test_checkpoint_of_other_settings_is_not_resumed(config, data, tmp_path: Path) -> None:
    train(Task(MODELS["dcgan"], config("dcgan"), data, 1), "code", tmp_path / "a")
    again = config("dcgan", learning_rate=1e-3)
    stale = train(Task(MODELS["dcgan"], again, data, 1), "code", tmp_path / "a")
    fresh = train(Task(MODELS["dcgan"], again, data, 1), "code", tmp_path / "b")
    for key, weight in fresh.weights.items():
        assert torch.equal(stale.weights[key], weight), key


@pytest.mark.parametrize("name", ALL)
def test_weights_rebuild_the_generator_and_sampling_is_seeded(
    name, config, data, tmp_path: Path
) -> None:
    model = MODELS[name]
    trained = train(Task(model, config(name, num_steps=1), data, 1), "code", tmp_path)
    save_file(trained.weights, tmp_path / "g.safetensors")
    generator = load_generator(model, tmp_path / "g.safetensors", trained.arguments)
    first, second, other = (
        sample_images(model, generator, 5, data, torch.Generator().manual_seed(s))
        for s in (3, 3, 4)
    )
    assert first.shape == (5, 32, 32) and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 600  # Bq/mm3, the range of the scale
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_average_covers_batch_norm_statistics(config, data) -> None:
    begun = run(PAPER, config("paper"), data)
    generator = begun.networks["generator"].module
    # a batch of 4 at a half life of 0.05 x 4 x 1 images after the first step: a decay of 2^-20
    average = AveragedModel(generator, multi_avg_fn=average_of_images(40, 4), use_buffers=True)
    means = []
    for _ in range(2):
        PAPER.train_step(begun)
        average.update_parameters(generator)
        means.append(generator.context_norm.running_mean.clone())
    # the first update copies, the second takes all but 2^-20 of the difference; 1e-6: float32
    expected = 2**-20 * means[0] + (1 - 2**-20) * means[1]
    torch.testing.assert_close(
        average.module.context_norm.running_mean, expected, rtol=0, atol=1e-6
    )
    assert torch.equal(average.module.memory.bank, data.bank)  # an average of equal banks


def test_wgan_parameters_stay_clipped(config, data) -> None:
    begun = run(WGAN, config("wgan"), data)
    WGAN.train_step(begun)
    bound = max(float(p.detach().abs().max()) for p in begun.networks["critic"].parameters())
    assert bound <= np.float32(0.01)


def test_almost_empty_slices_train_without_nan(config, data, tmp_path: Path) -> None:
    nothing = np.zeros((10, 32, 32), np.float32)  # tubes without a coincidence, but for one
    nothing[5, 16, 16] = 1e-6
    empty = replace(data, real=positron_images(nothing, np.arange(10) >= 2, 1e-6))
    for name in ALL:
        trained = train(Task(MODELS[name], config(name), empty, 1), "code", tmp_path / name)
        assert np.isfinite(trained.grid).all()


def test_constant_slices_are_refused(config, data, tmp_path: Path) -> None:
    flat = replace(data, real=positron_images(np.full((10, 32, 32), 7.0), np.arange(10) >= 2, 9.0))
    with pytest.raises(
        InputError, match="all 8 positron training slices are 7 Bq/mm3 in every pix"
    ):
        train(Task(MODELS["vae"], config("vae"), flat, 1), "code", tmp_path)


def test_half_life_of_the_average_grows_with_the_training() -> None:
    update = average_of_images(half_life_images=100, batch_size=10)
    for done, half_life in ((10, 5.0), (100, 50.0), (10_000, 100.0)):  # a twentieth, then 100
        average = [torch.ones(1)]
        update(average, [torch.zeros(1)], torch.tensor(done))
        assert float(average[0]) == pytest.approx(0.5 ** (10 / half_life))


def test_anchors_follow_the_logits_and_r1_comes_every_16_steps(config, data) -> None:
    begun = run(DCGAN, config("dcgan", lecam_weight=0.0), data)
    penalties = []
    for step in (0, 1, 15, 16):
        begun.step = step
        penalties.append(float(DCGAN.train_step(begun)["penalty"].detach()))
    assert penalties[0] > 0 and penalties[3] > 0 and penalties[1] == penalties[2] == 0
    begun = run(DCGAN, config("dcgan", r1_weight=0.0), data)
    first = DCGAN.train_step(begun)["critic_real"].detach()
    second = DCGAN.train_step(begun)["critic_real"].detach()
    torch.testing.assert_close(begun.anchors["real"], 0.99 * first + 0.01 * second)


def test_memory_by_hand_and_refused_with_the_estimate(config, data, monkeypatch, tmp_path) -> None:
    # 10 weights and a bias of 4 bytes: itself, gradient, two moments, and the average
    assert footprint.weight_bytes({"generator": nn.Linear(10, 1)}) == 11 * 4 * (4 + 1)
    fabric = make_fabric()
    needed = footprint.estimate(Task(DCGAN, config("dcgan"), data, 1), fabric)
    monkeypatch.setattr(footprint, "free_bytes", lambda device: needed.total - 1)
    with pytest.raises(InputError, match=r"generate\.dcgan: training needs .* a batch of 4\), exp"):
        train(Task(DCGAN, config("dcgan"), data, 1), "code", tmp_path)
    monkeypatch.setattr(footprint, "free_bytes", lambda device: needed.weights - 1)
    with pytest.raises(
        InputError, match=r"for the weights, 0 GB .* free on cpu; lower generate\.b"
    ):
        train(Task(DCGAN, config("dcgan"), data, 1), "code", tmp_path)
    assert not any(tmp_path.iterdir())


def test_estimate_grows_with_the_batch_alone(config, data) -> None:
    fabric = make_fabric()
    small, large = (
        footprint.estimate(Task(DCGAN, config("dcgan", batch_size=b), data, 1), fabric)
        for b in (2, 8)
    )
    assert large.weights == small.weights
    assert large.activations == 4 * small.activations  # what a step of two images holds, scaled


def test_held_activations_by_hand(config, data) -> None:
    class Squares:
        """Two graphs, one after the other, that keep 1 and 3 tensors of 100 float32."""

        def train_step(self, begun):
            x = torch.ones(100, requires_grad=True)
            (x * x).sum().backward()
            (x.exp().exp() * x).sum().backward()

    assert footprint.activation_bytes(Squares(), run(DCGAN, config("dcgan"), data)) == 1200


def test_each_shuffle_uses_every_row_once() -> None:
    rng, queue, seen = torch.Generator().manual_seed(0), torch.empty(0, dtype=torch.int64), []
    for _ in range(4):
        rows, queue = take(queue, 2, 8, rng)
        seen += rows.tolist()
    assert sorted(seen) == list(range(8))


def test_images_scale_and_clip() -> None:
    images = Images(np.array([[[0.0, 5.0, 10.0, 20.0]]], np.float32), np.array([0]), 0.0, 10.0)
    assert images.batch(torch.tensor([0])).flatten().tolist() == [-1.0, 0.0, 1.0, 1.0]


def test_too_few_slices_are_named(config, data, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"batch_size: got 9, expected at most 8.*positron"):
        train(Task(MODELS["vae"], config("vae", batch_size=9), data, 1), "code", tmp_path)


def test_nan_stops_the_training_and_keeps_the_checkpoint(config, data, tmp_path: Path) -> None:
    class Diverging(VAE):
        """The VAE, whose loss is NaN in step 4."""

        def train_step(self, begun):
            losses = super().train_step(begun)
            return losses | {"vae_kl": torch.tensor(float("nan"))} if begun.step == 3 else losses

    message = r"generate\.vae: vae_kl is nan at step 4, expected a finite number; .* is kept"
    with pytest.raises(InputError, match=message):
        train(Task(Diverging(), config("vae"), data, 1), "code", tmp_path)
    assert (tmp_path / "checkpoint.pt").is_file()


def test_bank_of_another_data_set_is_refused(config, data, tmp_path: Path) -> None:
    other = replace(data, features={**data.features, "bank": torch.randn(7, 5)})
    with pytest.raises(InputError, match="got 7 slots, expected 8"):
        train(Task(MODELS["paper"], config("paper"), other, 1), "code", tmp_path)


def test_weights_of_another_architecture_are_refused(config, data, tmp_path: Path) -> None:
    arguments = MODELS["dcgan"].generator_arguments(config("dcgan"), data)
    generator = MODELS["dcgan"].make_generator(arguments)
    save_file(generator.state_dict(), tmp_path / "g.safetensors")
    wider = arguments | {"channels": 8}
    with pytest.raises(InputError, match=r"g\.safetensors: expected the weights of a generator"):
        load_generator(MODELS["dcgan"], tmp_path / "g.safetensors", wider)
    (tmp_path / "g.safetensors").write_bytes(b"\x08\x00")
    with pytest.raises(InputError, match=r"g\.safetensors"):
        load_generator(MODELS["dcgan"], tmp_path / "g.safetensors", arguments)


def test_truncated_checkpoint_is_said_and_the_training_starts_again(
    config, data, tmp_path, caplog
) -> None:
    log.propagate = True  # start_log of another test may have switched it off
    whole = train(Task(DCGAN, config("dcgan"), data, 1), "code", tmp_path)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    again = train(Task(DCGAN, config("dcgan"), data, 1), "code", tmp_path)
    assert "checkpoint.pt is damaged" in caplog.text
    for key, weight in whole.weights.items():
        assert torch.equal(again.weights[key], weight), key
