"""The one device that a training runs on (Lightning Fabric)."""

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment

from tubepet.logs import log


def make_fabric(precision: str = "full") -> Fabric:
    """Return the runtime: a GPU if there is one, and only there another precision than float32.

    Each training is one process, whoever started it: without the environment given here, Fabric
    would take a job of SLURM, or a machine that merely has it, for a training on many nodes.
    """
    alone = LightningEnvironment()
    fabric = Fabric(accelerator="auto", devices=1, plugins=[alone])
    if precision == "full":
        return fabric
    if fabric.device.type != "cuda":
        log.warning("gan.precision: %s needs a GPU, there is none: float32 on the CPU", precision)
        return fabric
    return Fabric(accelerator="auto", devices=1, plugins=[alone], precision="bf16-mixed")
