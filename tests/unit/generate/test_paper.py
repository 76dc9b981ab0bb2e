"""The settings of the paper's model: each changes what it should, and nothing else."""

from pathlib import Path

import pytest
import torch
import yaml

from tubepet.errors import InputError
from tubepet.generate.layers.dense_generator import LAYOUTS
from tubepet.generate.layers.loss import attention_perceptual
from tubepet.generate.layers.memory import SCORES, SLOTS
from tubepet.generate.loop import train
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.models.paper import (
    ATTENTIVE,
    FUSIONS,
    PAIRINGS,
    QUERIES,
    REAL,
    REDUCE,
    Batch,
    assign,
)
from tubepet.generate.run import Task, start
from tubepet.generate.sample import sample_images
from tubepet.training.devices import make_fabric

PAPER = MODELS["paper"]
CONFIG = Path(__file__).parents[3] / "config"
SCHEMA = yaml.safe_load((CONFIG.parent / "workflow/schemas/config.schema.yaml").read_text())
CHOICES = {
    "features": {"both", "pca", "pcanet", "projected", "repeated"},
    "slots": SLOTS,
    "attention": SCORES,
    "fuse": FUSIONS,
    "layout": LAYOUTS,
    "reduce": REDUCE,
    "real": REAL,
    "pairing": PAIRINGS,
    "sample_query": QUERIES,
}
SWITCHES = [
    *((key, value) for key, values in CHOICES.items() for value in sorted(values)),
    ("normalise_query", False),
    ("shuffle_contexts", True),
    ("apg_margin", 10.0),
    ("entropy_weight", 0.1),
    ("encoder_learning_rate", 0.0),
    ("prior_fraction", 1.0),
    ("apg_weight", 0.0),
]


def begin(config, data):
    return start(Task(PAPER, config, data, 1), make_fabric())


def after_steps(config, data, num_steps=2):
    """Return the trained state of all networks as one vector per tensor, and the last losses."""
    begun = begin(config, data)
    for _ in range(num_steps):
        losses = PAPER.train_step(begun)
    states = {
        f"{name}.{key}": value.clone()
        for name, network in begun.networks.items()
        for key, value in network.module.state_dict().items()
    }
    return states, losses


def differs(one, other) -> bool:
    return one.keys() != other.keys() or any(
        one[key].shape != other[key].shape or not torch.equal(one[key], other[key]) for key in one
    )


def test_the_schema_offers_what_the_tables_hold() -> None:
    section = SCHEMA["properties"]["generate"]["properties"]["paper"]["properties"]
    for key, values in CHOICES.items():
        assert set(section[key]["enum"]) == set(values), key


@pytest.mark.parametrize(("key", "value"), SWITCHES)
def test_every_switch_trains_and_changes_what_is_learned(key, value, config, data) -> None:
    base = config("paper")
    if key == "slots" and value == "component":
        base |= {"pairing": "random"}
    states, losses = after_steps(base | {key: value}, data)
    assert all(torch.isfinite(loss) for loss in losses.values())
    if base[key] == value or key == "sample_query":  # the default; sampling, tested below
        return
    if key == "prior_fraction":
        base |= {"prior_fraction": 0.0}
    assert differs(states, after_steps(base, data)[0])


def test_training_is_a_function_of_the_seed(config, data) -> None:
    changes = {"pairing": "attention_sample", "layout": "tiramisu", "real": "mixture"}
    first, _ = after_steps(config("paper", **changes), data)
    assert not differs(first, after_steps(config("paper", **changes), data)[0])


def generator_of(config, data, **changes):
    begun = begin(config("paper", **changes), data)
    return begun.networks["generator"].module.eval()


def inputs(generator, data, num):
    noise = generator.draw_noise(num, torch.Generator().manual_seed(0))
    return (data.ct.batch(torch.arange(num)), *noise)


def test_shuffled_contexts_are_the_same_contexts_in_other_places(config, data) -> None:
    with torch.no_grad():
        seen = []
        for is_shuffled in (False, True):
            generator = generator_of(
                config, data, fuse="context", prior_fraction=0.0, shuffle_contexts=is_shuffled
            )
            vectors: list[torch.Tensor] = []
            generator.generator.stem.register_forward_pre_hook(
                lambda _, given, kept=vectors: kept.append(given[0])
            )
            generator(*inputs(generator, data, 5))
            seen += vectors
    straight, shuffled = seen
    assert torch.equal(shuffled.sort(dim=0).values, straight.sort(dim=0).values)
    assert not (shuffled == straight).all(dim=1).any()  # nobody keeps its own


def test_without_the_memory_the_bank_does_not_matter(config, data) -> None:
    with torch.no_grad():
        for fuse in FUSIONS:
            generator = generator_of(config, data, fuse=fuse)
            given = inputs(generator, data, 4)
            before = generator(*given).image
            generator.memory.bank.add_(torch.randn(8, 5))
            is_same = torch.equal(generator(*given).image, before)
            assert is_same == (fuse == "query"), fuse


@pytest.mark.parametrize(
    ("source", "depends_on"),
    [("prior", {"prior"}), ("ct_mean", {"ct"}), ("ct_posterior", {"ct", "code_noise"})],
)
def test_queries_come_from_where_they_say(source, depends_on, config, data) -> None:
    generator = generator_of(config, data, fuse="concat")
    given = dict(
        zip(("ct", "code_noise", "prior", "noise"), inputs(generator, data, 4), strict=True)
    )
    with torch.no_grad():
        before = generator(**given, source=source).image
        for name, value in given.items():
            changed = generator(**given | {name: value.flip(0)}, source=source).image
            assert (not torch.equal(changed, before)) == (name in depends_on), name


def test_sampling_uses_the_query_of_the_config(config, data) -> None:
    samples = {}
    for source in QUERIES:
        generator = generator_of(config, data, sample_query=source)
        rng = torch.Generator().manual_seed(0)
        samples[source] = sample_images(PAPER, generator, 4, data, rng)
    assert len({images.tobytes() for images in samples.values()}) == len(QUERIES)


def test_medical_real_shows_the_discriminator_ct(config, data) -> None:
    shown = {}
    for real in REAL:
        begun = begin(config("paper", real=real, augment="none"), data)
        images: list[torch.Tensor] = []
        begun.networks["critic"].module.register_forward_pre_hook(
            lambda _, given, kept=images: kept.append(given[0].clone())
        )
        PAPER.train_step(begun)
        shown[real] = images
    ct = {image.numpy().tobytes() for image in data.ct.batch(torch.arange(6))}
    is_ct = {real: [i.numpy().tobytes() in ct for i in images[0]] for real, images in shown.items()}
    assert is_ct["positron"] == [False] * 4
    assert is_ct["medical"] == [True] * 4
    assert is_ct["mixture"] == [False, False, True, True]
    # L_APG still compares with positron slices: one more pass of the discriminator
    assert torch.equal(shown["medical"][1], shown["positron"][0])


def test_the_margin_moves_the_discriminator_only_below_it(config, data) -> None:
    plain, _ = after_steps(config("paper"), data, 1)
    reached, _ = after_steps(config("paper", apg_margin=1e-6), data, 1)
    missed, _ = after_steps(config("paper", apg_margin=1e3), data, 1)
    assert not differs(plain, reached)
    assert differs(plain, missed)


def test_frozen_encoder_stays_as_it_was_pretrained(config, data) -> None:
    states, _ = after_steps(config("paper", encoder_learning_rate=0.0), data)
    for key, weight in data.vae.named_parameters():
        assert torch.equal(states[f"generator.vae.{key}"], weight), key


def test_attentional_vector_learns(config, data) -> None:
    begun = begin(config("paper", fuse="tanh_concat"), data)
    PAPER.train_step(begun)
    weight = begun.networks["generator"].module.attentional.weight  # W_c
    assert weight.shape == (5, 5 + 8) and weight.grad.abs().sum() > 0


def test_component_slots_refuse_pairs_by_attention(config, data) -> None:
    for pairing in ATTENTIVE:
        with pytest.raises(
            InputError, match=rf"pairing: got {pairing} with slots component.*random"
        ):
            begin(config("paper", slots="component", pairing=pairing), data)


def literal(config):
    section = yaml.safe_load((CONFIG / "paper_literal.yaml").read_text())["generate"]["paper"]
    return config("paper", **section)


def test_the_letter_of_the_paper_runs(config, data, tmp_path: Path) -> None:
    trained = train(Task(PAPER, literal(config), data, 1), "code", tmp_path)
    assert torch.isfinite(torch.tensor(trained.grid)).all()
    assert "query_norm.running_mean" not in trained.weights


def test_the_literal_preset_decides_what_the_text_leaves_open() -> None:
    """Each key exists, and the preset differs from the default where docs/model.md says so."""
    section = yaml.safe_load((CONFIG / "paper_literal.yaml").read_text())["generate"]["paper"]
    schema = SCHEMA["properties"]["generate"]["properties"]["paper"]["properties"]
    same = {key for key in section if schema[key]["default"] == section[key]}
    assert same == {"apg_weight", "apg_margin", "features", "slots"}


# Pairings by hand: two generated and two real images, one layer of one element each.
REAL_LAYERS = [torch.tensor([[0.0], [10.0]])]
FAKE_LAYERS = [torch.tensor([[8.0], [1.0]])]
# slots 0, 1, 2; the real batch holds slices 2 and 0
ATTENTION = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.0, 0.8]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("random", (8 + 9) / 2),  # as they come
        ("assignment", (2 + 1) / 2),  # 8 with 10 (slice 0), 1 with 0 (slice 2)
        ("batch_mean", 0.5),  # means 5 and 4.5
        # row 0: 1/9 on slice 2, 8/9 on slice 0: (8 + 8 x 2) / 9; row 1: 0.8 x 1 + 0.2 x 9
        ("attention_weighted", (24 / 9 + 2.6) / 2),
    ],
)
def test_pairings_by_hand(name, expected) -> None:
    batch = Batch(REAL_LAYERS, torch.tensor([2, 0]), ATTENTION.log(), None, None)
    assert float(PAIRINGS[name](batch, FAKE_LAYERS)) == pytest.approx(expected, rel=1e-6)  # float32


def test_sampled_pairs_follow_the_attention() -> None:
    certain = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    slices = torch.tensor([[0.0], [8.0], [3.0]])  # the layer of each training slice
    batch = Batch(
        REAL_LAYERS, torch.tensor([2, 0]), certain.log(), lambda slots: [slices[slots]],
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    # 8 with slice 1: 0; 1 with slice 2: 2
    assert float(PAIRINGS["attention_sample"](batch, FAKE_LAYERS)) == pytest.approx(1.0)


def test_weighted_pairs_of_certain_attention_are_assigned_pairs() -> None:
    layers = [torch.randn(3, 2, 4, 4), torch.randn(3, 5)]
    fakes = [torch.randn(3, 2, 4, 4), torch.randn(3, 5)]
    certain = torch.eye(3)[[1, 2, 0]].clamp(min=1e-30).log()
    batch = Batch(layers, torch.arange(3), certain, None, None)
    weighted = PAIRINGS["attention_weighted"](batch, fakes)
    torch.testing.assert_close(weighted, PAIRINGS["assignment"](batch, fakes))
    permuted = [layer[[1, 2, 0]] for layer in layers]
    torch.testing.assert_close(weighted, attention_perceptual(permuted, fakes))


def test_assignment_uses_each_image_once_and_maximises() -> None:
    # greedy would take 0.9 for row 0 and be left with 0.01; the best pairing is 0.8 x 0.7
    log_attention = torch.tensor([[0.9, 0.8], [0.7, 0.01]]).log()
    assert assign(log_attention).tolist() == [1, 0]


def test_mean_of_logits_lets_one_patch_cancel_another() -> None:
    logits = torch.tensor([5.0, -5.0]).view(1, 1, 1, 2)
    assert REDUCE["logit_mean"](logits).tolist() == [0.0]
    assert torch.equal(REDUCE["loss_mean"](logits), logits)
