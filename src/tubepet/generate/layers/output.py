"""The last layer of generators: it makes images in [-1, 1] of any numbers."""

from torch import Tensor, nn
from torch.nn import functional

from tubepet.generate.layers import mirror_filter as mirrored

DARK = -2.0  # untrained images are near softplus(-2) = 0.13 of the scale: slices are mostly empty


class ActivityOutput(nn.Module):
    """Activity >= 0, smoothed by the last filter of the reconstruction.

    No slice has spatial frequencies that this filter removes. A classifier easily recognises
    generated images that have any. Values above the scale are clipped, as in the slices.

    Parameters
    ----------
    image_size : int
        Side in pixels.
    filter_px : float
        Standard deviation of the reconstruction's Gaussian filter.
    """

    transfer: Tensor
    cosines: Tensor

    def __init__(self, image_size: int, filter_px: float) -> None:
        super().__init__()
        transfer = mirrored.filter_transfer(image_size, filter_px)
        self.register_buffer("transfer", mirrored.buffer(transfer))
        self.register_buffer("cosines", mirrored.buffer(mirrored.cosines(image_size)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W)."""
        activity = functional.softplus(x.float() + DARK)
        seen = mirrored.apply(activity, self.transfer, self.cosines)
        return 2 * seen.clamp(0, 1) - 1


def output_layer(output: str, image_size: int, filter_px: float) -> nn.Module:
    """Return the layer of `generate.output`: "tanh", as published, or "activity"."""
    return nn.Tanh() if output == "tanh" else ActivityOutput(image_size, filter_px)
