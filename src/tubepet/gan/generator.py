"""The generator: a DenseNet turned round, from a vector to an image (eq. 7).

The paper copies the classifier's transition (1x1 convolution, 2x2 average pooling), which cannot
make an image out of a vector; here the transition goes up (docs/model.md A7).
"""

import torch
from torch import Tensor, nn

START_SIZE = 4  # pixels
COMPRESSION = 0.5  # theta of DenseNet-BC, Huang et al. 2017, doi:10.1109/CVPR.2017.243
MIN_CHANNELS = 16  # a transition leaves at least these (docs/model.md, prototypes)


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


def transition_up(channels_in: int, channels_out: int) -> nn.Sequential:
    """BN, ReLU, 1x1 convolution, then each pixel becomes 2x2."""
    return nn.Sequential(
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.Upsample(scale_factor=2, mode="nearest"),
    )


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
    """

    def __init__(
        self,
        input_size: int,
        image_size: int,
        stem_channels: int,
        growth: int,
        layers_per_block: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(input_size, stem_channels * START_SIZE**2)
        layers: list[nn.Module] = []
        channels, size = stem_channels, START_SIZE
        while True:
            for _ in range(layers_per_block):
                layers.append(DenseLayer(channels, growth))
                channels += growth
            if size == image_size:
                break
            narrow = max(MIN_CHANNELS, int(COMPRESSION * channels))
            layers.append(transition_up(channels, narrow))
            channels, size = narrow, 2 * size
        self.blocks = nn.Sequential(*layers)
        self.out = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 1, 3, padding=1), nn.Tanh()
        )

    def forward(self, vector: Tensor) -> Tensor:
        """(B, input_size) -> (B, 1, image_size, image_size) in [-1, 1]."""
        stem = self.stem(vector).view(len(vector), -1, START_SIZE, START_SIZE)
        image: Tensor = self.out(self.blocks(stem.contiguous(memory_format=torch.channels_last)))
        return image
