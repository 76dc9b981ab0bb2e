"""Measure a training step of config/paper.yaml on a GPU: bfloat16 and compiled against float32.

A step has 16 images of 256 x 256 pixels, drawings with noise. The result, for each model, is its
time over that of the same step in float32 without compilation, also with channels last and TF32.
Without a GPU nothing is recorded.
"""

from functools import partial
from statistics import median

import torch
import yaml
from record import record
from training import ROOT, begin, synthetic_data, take_steps

from tubepet.plan.config import checked_config
from tubepet.study.cost import spent_s

MODELS_MEASURED = ("paper", "dcgan", "fastgan")
NUM_WARM_UP = 20  # steps: compilation, and the choice of convolution kernels
NUM_ROUNDS = 5
STEPS_PER_ROUND = 20
TARGET = 0.6  # of the time in float32
TARGET_MS = 30.0  # of a step of 16 images on a card of the H100's class


def main() -> None:
    """Measure, if there is a GPU."""
    if not torch.cuda.is_available():
        print("training_gpu: skipped, there is no GPU")
        return
    config = checked_config(
        yaml.safe_load((ROOT / "config/paper.yaml").read_text()),
        ROOT,
    )
    data = synthetic_data(config)
    for name in MODELS_MEASURED:
        runs = {p: begin(name, config, data, precision=p) for p in ("bf16", "full")}
        for run in runs.values():
            take_steps(name, run, NUM_WARM_UP)
        rounds = [
            {
                p: spent_s(partial(take_steps, name, run, STEPS_PER_ROUND)) / STEPS_PER_ROUND
                for p, run in runs.items()
            }
            for _ in range(NUM_ROUNDS)
        ]
        milliseconds = {p: 1000 * median(r[p] for r in rounds) for p in runs}
        record(
            name=f"training_gpu_{name}",
            ratio=milliseconds["bf16"] / milliseconds["full"],
            target=TARGET,
            unit="time of a step, bfloat16 and compiled over float32 eager",
            peer="the same step in float32, eager",
            device=torch.cuda.get_device_name(),
            step_ms=milliseconds["bf16"],
            target_ms=TARGET_MS,
            full_step_ms=milliseconds["full"],
        )


if __name__ == "__main__":
    main()
