"""The 70 x 70 PatchGAN, a discriminator of patches whose hidden layers the loss L_APG compares."""

from collections.abc import Sequence

from torch import Tensor, nn

# (kernel, stride) from input to output: Isola et al. 2017, doi:10.1109/CVPR.2017.632
PATCHGAN_LAYERS = ((4, 2), (4, 2), (4, 2), (4, 1), (4, 1))
LEAK = 0.2


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """Return the side, in input pixels, of the square that one output sees.

    The paper's eq. 8, from the output back to the input: r <- (r - 1) stride + kernel.
    """
    size = 1
    for kernel, stride in reversed(layers):
        size = (size - 1) * stride + kernel
    return size


class PatchDiscriminator(nn.Module):
    """Four hidden convolutions (c, 2c, 4c, 8c channels), and one that gives a logit per patch.

    Images may be smaller than the receptive field; zeros surround them. Real and fake images pass
    in separate batches, with their own batch statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [1, channels, 2 * channels, 4 * channels, 8 * channels]
        hidden = []
        for i, (kernel, stride) in enumerate(PATCHGAN_LAYERS[:-1]):
            convolution = nn.Conv2d(widths[i], widths[i + 1], kernel, stride, padding=1)
            norm = nn.BatchNorm2d(widths[i + 1]) if i > 0 else nn.Identity()
            hidden.append(nn.Sequential(convolution, norm, nn.LeakyReLU(LEAK)))
        self.hidden = nn.ModuleList(hidden)
        kernel, stride = PATCHGAN_LAYERS[-1]
        self.judge = nn.Conv2d(widths[-1], 1, kernel, stride, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 1, H, W) -> logits (B, 1, h, w), and the four hidden layers D_i(x)."""
        layers = []
        x = image
        for block in self.hidden:
            x = block(x)
            layers.append(x)
        return self.judge(x), layers
