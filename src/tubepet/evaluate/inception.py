"""Features for FID. That name stands for one Inception network, which a user must supply."""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tubepet import checksums
from tubepet.errors import InputError

# NVIDIA's TorchScript export of the 2015 network, used by StyleGAN2-ADA and later work
# (docs/model.md, metrics)
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
BATCH = 50


def load_inception(path: str | os.PathLike[str]) -> torch.jit.ScriptModule:
    """Load the network.

    A TorchScript file is a program, so only a file with the known checksum is run.

    Raises
    ------
    InputError
        If there is no such file, or its SHA-256 is not the published one.
    """
    if not Path(path).is_file():
        raise InputError(f"evaluate.inception_path: got {path}, expected a file that exists")
    digest = checksums.of_file(path)
    if digest != INCEPTION_SHA256:
        raise InputError(
            f"evaluate.inception_path: {path} has sha256 {digest}, expected {INCEPTION_SHA256} "
            "(inception-2015-12-05.pt)"
        )
    return torch.jit.load(str(path), map_location="cpu").eval()


@torch.no_grad()
def inception_features(
    network: torch.nn.Module, images: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return pool features (N, 2048) of images (N, H, W) in units of the scale.

    The channel is converted to 8 bits and repeated three times; the network resizes images.
    """
    levels = np.clip(np.asarray(images) * 255 + 0.5, 0, 255).astype(np.uint8)
    batches = torch.from_numpy(levels).unsqueeze(1).expand(-1, 3, -1, -1).split(BATCH)
    parts = [network(batch.contiguous(), return_features=True) for batch in batches]
    return torch.cat(parts).double().numpy()
