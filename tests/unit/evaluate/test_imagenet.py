"""ImageNet features: the published weights know photographs, and what is done with slices."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from tubepet.errors import InputError
from tubepet.evaluate import distances, imagenet, spaces
from tubepet.evaluate.gate import SPOILT
from tubepet.evaluate.imagenet import STRIDES, Network, load_network, load_weights

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return load_weights(imagenet.WEIGHTS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As in all rules; more wait for each other on a busy machine."""
    torch.set_num_threads(1)


def discs(num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40] - 19.5
    images = 0.6 * (np.hypot(x, y) < rng.uniform(6, 14, (num, 1, 1)))
    return np.clip(images + 0.05 * rng.normal(size=images.shape), 0, 1).astype(np.float32)


def as_trained(photograph: np.ndarray) -> torch.Tensor:
    """Return the middle 224 of 256 pixels, as the network's authors test it."""
    rows, columns = photograph.shape[:2]
    side = min(rows, columns) * 224 // 256
    top, left = (rows - side) // 2, (columns - side) // 2
    cut = photograph[top : top + side, left : left + side].reshape(side, side, -1)
    image = torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1).float()[None]
    size = (224, 224)
    small = nn.functional.interpolate(image.expand(-1, 3, -1, -1), size, mode="area")
    return (small - 127) / 128


@pytest.mark.parametrize(
    ("name", "known"),
    [("chelsea", CATS), ("coffee", {967}), ("camera", {872}), ("rocket", {657, 744})],
    ids=["cats", "espresso", "tripod", "missile and projectile"],
)
def test_photographs_are_known(
    name: str, known: set[int], weights: dict[str, torch.Tensor]
) -> None:
    """Of 1,000 classes; weights that were changed, or lie in the wrong layers, know none."""
    hidden = Network(weights).hidden(as_trained(getattr(data, name)()))
    scores = hidden @ weights["_fc.weight"].T + weights["_fc.bias"]
    first, *others = scores[0].topk(5).indices.tolist()
    assert first in known and known <= {first, *others}


def plain(weights: dict[str, torch.Tensor]) -> nn.Sequential:
    """Return the network of modules, after Table 1 of Tan & Le 2019, with its own padding."""

    def layer(wide: int, out: int, side: int, stride: int, groups: int, last: bool) -> list:
        far = (side - stride + 1) // 2
        norm = nn.BatchNorm2d(out, eps=1e-3)
        convolution = nn.Conv2d(wide, out, side, stride, groups=groups, bias=False)
        pad = nn.ZeroPad2d(((side - stride) // 2, far) * 2)
        return [pad, convolution, norm, *([] if last else [nn.ReLU6()])]

    class Block(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x)
            return x + y if x.shape == y.shape else y

    stages = [(1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2),
              (6, 112, 3, 5, 1), (6, 192, 4, 5, 2), (6, 320, 1, 3, 1)]  # fmt: skip
    layers, wide, strides = layer(3, 32, 3, 2, 1, False), 32, []
    for expand, out, repeats, side, first in stages:
        for stride in [first] + [1] * (repeats - 1):
            inner = wide * expand
            widen = layer(wide, inner, 1, 1, 1, False) if expand > 1 else []
            look = layer(inner, inner, side, stride, inner, False)
            layers.append(Block(*widen, *look, *layer(inner, out, 1, 1, 1, True)))
            strides.append(stride)
            wide = out
    assert tuple(strides) == STRIDES
    net = nn.Sequential(*layers, *layer(wide, 1280, 1, 1, 1, False))
    given = [tensor for name, tensor in weights.items() if not name.startswith("_fc")]
    net.load_state_dict(dict(zip(net.state_dict(), given, strict=True)))
    return net.eval()


@pytest.mark.parametrize("side", [96, 224])
@torch.no_grad()
def test_parity_with_the_network_of_modules(side: int, weights: dict[str, torch.Tensor]) -> None:
    image = 2 * torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) - 1
    expected = plain(weights)(image).mean((2, 3))
    found = Network(weights).hidden(image)
    assert expected.max() > 1  # of at most 6
    np.testing.assert_allclose(found, expected, atol=1e-4)  # float32, 50 layers


@pytest.mark.parametrize(("size", "side"), [(40, 96), (96, 96), (128, 224), (256, 224)])
def test_grey_values_are_scaled_by_hand(size: int, side: int) -> None:
    """0, 127/255 and 1 of the scale are -127/128, 0 and 1 for the network, in each channel."""
    grey = torch.tensor([0.0, 127 / 255, 1.0])[:, None, None, None].expand(-1, 1, size, size)
    made = imagenet._as_photographs(grey)
    assert made.shape == (3, 3, side, side)
    expected = torch.tensor([-127 / 128, 0, 1])[:, None, None, None].expand_as(made)
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=0)


def test_a_set_is_described_image_by_image() -> None:
    """Order and company change nothing but the last digits of float32."""
    images, net = discs(20, 0), load_network()
    features = net.features(images)
    assert features.shape == (20, 1280) and features.dtype == np.float64
    assert np.array_equal(features, net.features(images))
    np.testing.assert_allclose(net.features(images[::-1])[::-1], features, atol=1e-4)


def test_the_space_has_a_component_for_ten_images_and_sees_spoilt_ones() -> None:
    train = discs(60, 0)
    space = imagenet.fit_space(train, 45)
    assert space.components.shape == (4, 1280) and (space.std == 1).all()
    own, again = space.features(train), space.features(discs(60, 1))
    np.testing.assert_allclose(own.mean(0), 0, atol=1e-9)
    for spoil in SPOILT.values():
        made = space.features(spoil(discs(60, 1)))
        assert distances.frechet(made, own) > 3 * distances.frechet(again, own)


def test_another_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    data = bytearray(Path(imagenet.WEIGHTS).read_bytes())
    data[-1] ^= 1
    (tmp_path / "lite0.pth").write_bytes(data)
    message = rf"lite0\.pth: got sha256 [0-9a-f]{{64}}, expected {imagenet.WEIGHTS_SHA256} "
    with pytest.raises(InputError, match=message):
        load_weights(tmp_path / "lite0.pth")


def test_fitted_spaces_are_written_and_read(tmp_path: Path) -> None:
    train, others = discs(30, 0), discs(10, 1)
    fitted = spaces.fit(train, 20)
    spaces.write(tmp_path / "spaces.safetensors", fitted)
    found = spaces.read(tmp_path / "spaces.safetensors")
    assert found.keys() == fitted.keys() == {"statistics", "imagenet"}
    for name, space in found.items():
        assert np.array_equal(space.features(others), fitted[name].features(others))
