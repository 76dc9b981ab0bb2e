"""The generator of the paper's model: dense blocks from a vector to an image (eq. 7).

The paper copies the transition of DenseNet, a classifier: 1x1 convolution and 2x2 average pooling.
That cannot make an image out of a vector. There are two readings (docs/model.md A7). In
`DenseGenerator` the transitions double the size instead. In `TiramisuGenerator` the vector becomes
a map of full size, which is pooled as written and then enlarged again.
"""

import torch
from torch import Tensor, nn

START_SIZE = 4  # pixels
COMPRESSION = 0.5  # theta of DenseNet-BC, Huang et al. 2017, doi:10.1109/CVPR.2017.243
MIN_CHANNELS = 16  # that a transition leaves at least (docs/notes/2026-11-model.md)


class DenseLayer(nn.Module):
    """x_l = [x_0 .. x_{l-1}, H_l([x_0 .. x_{l-1}])] with H = BN, ReLU, 3x3 convolution."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.new = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C + growth, H, W)."""
        return torch.cat([x, self.new(x)], dim=1)


def dense_block(channels: int, growth: int, num_layers: int) -> nn.Sequential:
    """Return `num_layers` dense layers: (B, C, H, W) -> (B, C + num_layers growth, H, W)."""
    return nn.Sequential(*(DenseLayer(channels + i * growth, growth) for i in range(num_layers)))


def transition(channels_in: int, channels_out: int, resize: nn.Module) -> nn.Sequential:
    """Return BN, ReLU and 1x1 convolution, followed by `resize`."""
    convolution = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU(), convolution, resize)


def transition_up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a transition that doubles the side; each pixel becomes 2x2."""
    return transition(channels_in, channels_out, nn.Upsample(scale_factor=2, mode="nearest"))


def transition_down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a transition that halves the side by 2x2 means, as in DenseNet and the paper."""
    return transition(channels_in, channels_out, nn.AvgPool2d(2))


def to_image(channels: int, output: nn.Module) -> nn.Sequential:
    """Return the last layers: BN, ReLU, 3x3 convolution and `output` (docs/model.md A8)."""
    convolution = nn.Conv2d(channels, 1, 3, padding=1)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), convolution, output)


def narrowed(channels: int) -> int:
    """Return the number of channels behind a transition."""
    return max(MIN_CHANNELS, int(COMPRESSION * channels))


class DenseGenerator(nn.Module):
    """Vector -> image: a linear stem at 4x4, then dense blocks with transitions up between them.

    Parameters
    ----------
    input_size : int
        Length of the vector v.
    image_size : int
        Side of the image in pixels; a power of two, at least 8.
    stem_channels, growth, layers_per_block : int
        Channels at 4x4; channels added by a dense layer; dense layers per resolution.
    output : module
        The last layer, see `layers.output`.
    """

    def __init__(
        self,
        input_size: int,
        image_size: int,
        stem_channels: int,
        growth: int,
        layers_per_block: int,
        output: nn.Module,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(input_size, stem_channels * START_SIZE**2)
        layers: list[nn.Module] = []
        channels, size = stem_channels, START_SIZE
        while True:
            layers.append(dense_block(channels, growth, layers_per_block))
            channels += layers_per_block * growth
            if size == image_size:
                break
            layers.append(transition_up(channels, narrowed(channels)))
            channels, size = narrowed(channels), 2 * size
        self.blocks = nn.Sequential(*layers)
        self.out = to_image(channels, output)

    def forward(self, vector: Tensor) -> Tensor:
        """(B, input_size) -> (B, 1, image_size, image_size) in [-1, 1]."""
        stem = self.stem(vector).view(len(vector), -1, START_SIZE, START_SIZE)
        return self.out(self.blocks(stem.contiguous(memory_format=torch.channels_last)))


class TiramisuGenerator(nn.Module):
    """Vector -> map of full size -> dense blocks with transitions down to 4x4, then up with skips.

    Parameters as of `DenseGenerator`; `stem_channels` are the channels of the first convolution.

    References
    ----------
    Jegou et al. 2017, doi:10.1109/CVPRW.2017.156 (the way up; the paper states only the way down).
    """

    def __init__(
        self,
        input_size: int,
        image_size: int,
        stem_channels: int,
        growth: int,
        layers_per_block: int,
        output: nn.Module,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.stem = nn.Linear(input_size, image_size**2)
        self.first = nn.Conv2d(1, stem_channels, 3, padding=1)
        down: list[nn.Module] = []
        narrow: list[nn.Module] = []  # the transitions, which only change the size
        channels, size, skips = stem_channels, image_size, []
        while size > START_SIZE:
            down.append(dense_block(channels, growth, layers_per_block))
            channels += layers_per_block * growth
            skips.append(channels)
            narrow.append(transition_down(channels, narrowed(channels)))
            channels, size = narrowed(channels), size // 2
        self.bottom = dense_block(channels, growth, layers_per_block)
        channels += layers_per_block * growth
        widen: list[nn.Module] = []
        up: list[nn.Module] = []
        for skip in reversed(skips):
            widen.append(transition_up(channels, narrowed(channels)))
            channels = narrowed(channels) + skip
            up.append(dense_block(channels, growth, layers_per_block))
            channels += layers_per_block * growth
        self.down, self.narrow = nn.ModuleList(down), nn.ModuleList(narrow)
        self.widen, self.up = nn.ModuleList(widen), nn.ModuleList(up)
        self.out = to_image(channels, output)

    def forward(self, vector: Tensor) -> Tensor:
        """(B, input_size) -> (B, 1, image_size, image_size) in [-1, 1]."""
        x = self.first(self.stem(vector).view(len(vector), 1, self.image_size, self.image_size))
        skips = []
        for block, narrow in zip(self.down, self.narrow, strict=True):
            x = block(x)
            skips.append(x)
            x = narrow(x)
        x = self.bottom(x)
        for widen, block in zip(self.widen, self.up, strict=True):
            x = block(torch.cat([widen(x), skips.pop()], dim=1))
        return self.out(x)


LAYOUTS = {"up": DenseGenerator, "tiramisu": TiramisuGenerator}
