"""A small convolutional network of slices, and the training of such networks.

The learned feature space and the study's defect detector use them.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from tubepet.dataset.symmetries import NUM_SYMMETRIES, dihedral
from tubepet.logs import Bar

Net = TypeVar("Net", bound=nn.Module)

NUM_FEATURES = 32
WIDTHS = (16, 32, 64)  # channels at 1/2, 1/4, 1/8 of the size
GROUP = 8  # channels per normalisation group; needs no statistics of a batch
MAX_SHIFT_PX = 2
BATCH = 32
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
CHUNK = 256  # slices seen at once, which bounds the memory


def block(narrow: int, wide: int, stride: int) -> list[nn.Module]:
    """Return a 3x3 convolution with normalisation and GELU."""
    return [
        nn.Conv2d(narrow, wide, 3, stride=stride, padding=1),
        nn.GroupNorm(wide // GROUP, wide),
        nn.GELU(),
    ]


class SliceNet(nn.Module):
    """Slices (at least 16 pixels) -> 32 features -> outputs, and maps in cells of 8 x 8 pixels.

    Learning the maps keeps the network from memorising single tubes.
    """

    def __init__(self, num_outputs: int, num_maps: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += block(narrow, wide, stride=2)
        self.trunk = nn.Sequential(*layers, *block(WIDTHS[-1], WIDTHS[-1], stride=1))
        self.cells = nn.Conv2d(WIDTHS[-1], num_maps, 1)
        self.embed = nn.Linear(2 * WIDTHS[-1], NUM_FEATURES)
        self.head = nn.Linear(NUM_FEATURES, num_outputs)

    def features(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, NUM_FEATURES)."""
        return self._embedded(self.trunk(image))

    def _embedded(self, maps: Tensor) -> Tensor:
        embedded: Tensor = self.embed(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1))
        return embedded

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, H, W) -> (B, num_outputs) and (B, num_maps, H / 8, W / 8)."""
        maps = self.trunk(image)
        return self.head(nn.functional.gelu(self._embedded(maps))), self.cells(maps)


def augmented(images: Tensor, rng: torch.Generator) -> Tensor:
    """Turn, mirror and shift each image (B, C, H, W) at random; zeros fill the edge."""
    elements = torch.randint(NUM_SYMMETRIES, (len(images),), generator=rng)
    shifts = torch.randint(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, (len(images), 2), generator=rng)
    padded = nn.functional.pad(images, (MAX_SHIFT_PX,) * 4)
    height, width = images.shape[-2:]
    cut = [
        dihedral(image, int(element))[:, top : top + height, left : left + width]
        for image, element, (top, left) in zip(
            padded, elements, (shifts + MAX_SHIFT_PX).tolist(), strict=True
        )
    ]
    return torch.stack(cut)


def fit(
    make: Callable[[], Net],
    images: NDArray[np.float32],
    loss: Callable[[Net, Tensor, Tensor], Tensor],
    num_steps: int,
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> Net:
    """Train a network from scratch with classical augmentation.

    Parameters
    ----------
    make : function
        Returns a fresh network.
    images : float32 array, shape (N, C, H, W)
        Any unit; further channels, for instance a mask, are turned and shifted with the first.
    loss : function
        (network, augmented batch (B, C, H, W), its rows (B,)) -> scalar.
    num_steps : int
        Batches of 32, drawn with replacement.
    seed : int
        Decides weights, batches and augmentation.
    weights : float64 array, shape (N,), optional
        Relative probability of each image to be drawn; equal if not given.
    """
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = make()
    rng = torch.Generator().manual_seed(seed)
    optimizer = AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=num_steps + 1)
    odds = torch.ones(len(images)) if weights is None else torch.from_numpy(weights)
    for _ in Bar(range(num_steps), desc="training", unit="step"):
        rows = torch.multinomial(odds, BATCH, replacement=True, generator=rng)
        batch = torch.from_numpy(np.asarray(images[rows.numpy()], np.float32))
        value = loss(net, augmented(batch, rng), rows)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def apply(function: Callable[[Tensor], Tensor], images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Apply a function of tensors (B, 1, H, W) to images (N, H, W) in pieces; return N rows."""
    parts = torch.from_numpy(np.ascontiguousarray(images, np.float32)).unsqueeze(1).split(CHUNK)
    return torch.cat([function(part) for part in parts]).double().numpy()
