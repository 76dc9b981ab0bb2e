"""The PatchGAN, a discriminator of patches whose hidden layers the loss L_APG compares.

The paper's patches are 70 x 70 pixels of 256 x 256. Where the image is smaller than that, so is the
patch: a critic that sees the whole image judges no patches.
"""

from collections.abc import Sequence

from torch import Tensor, nn

MOST_HALVINGS = 3  # of the 70 x 70 PatchGAN: Isola et al. 2017, doi:10.1109/CVPR.2017.632
LEAK = 0.2


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """Return the side, in input pixels, of the square that one output sees.

    The paper's eq. 8, from the output back to the input: r <- (r - 1) stride + kernel.
    """
    size = 1
    for kernel, stride in reversed(layers):
        size = (size - 1) * stride + kernel
    return size


def patch_layers(image_size: int) -> list[tuple[int, int]]:
    """Return (kernel, stride) from input to output, for the largest patch within an image.

    Patches have 16, 34 or 70 pixels, those of Isola's PatchGANs with 1, 2 or 3 halvings.
    """
    layers = [(4, 2), (4, 1), (4, 1)]
    while len(layers) < MOST_HALVINGS + 2 and receptive_field([(4, 2), *layers]) <= image_size:
        layers.insert(0, (4, 2))
    return layers


class PatchDiscriminator(nn.Module):
    """Hidden convolutions of c, 2c, 4c, .. channels, and one that gives a logit per patch.

    There is one hidden layer more than halvings (`patch_layers`). Zeros surround an image. Real and
    fake images pass in separate batches, with their own batch statistics.
    """

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        *inner, last = patch_layers(image_size)
        widths = [1, *(channels * 2**i for i in range(len(inner)))]
        hidden = []
        for i, (kernel, stride) in enumerate(inner):
            convolution = nn.Conv2d(widths[i], widths[i + 1], kernel, stride, padding=1)
            norm = nn.BatchNorm2d(widths[i + 1]) if i > 0 else nn.Identity()
            hidden.append(nn.Sequential(convolution, norm, nn.LeakyReLU(LEAK)))
        self.hidden = nn.ModuleList(hidden)
        kernel, stride = last
        self.judge = nn.Conv2d(widths[-1], 1, kernel, stride, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 1, H, W) -> logits (B, 1, h, w), and the hidden layers D_i(x)."""
        layers = []
        x = image
        for block in self.hidden:
            x = block(x)
            layers.append(x)
        return self.judge(x), layers
