"""Write a trained generator as an ONNX graph, for programs without torch and tubepet.

Random numbers are inputs of the graph, so the same numbers give the same images. The output is in
Bq/mm3. https://onnx.ai
"""

import json
import logging
import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn

import tubepet
from tubepet import io
from tubepet.errors import InputError
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Inputs
from tubepet.generate.sample import Generator

OPSET = 20  # the first with a DFT for both directions of the output filter
OUTPUT = "image_bq_mm3"


class Physical(nn.Module):
    """The graph: random inputs -> activity in Bq/mm3, (B, H, W)."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.network = generator.network
        self.model = generator.model
        self.scale_bq_mm3 = generator.scale_bq_mm3

    def forward(self, *inputs: Tensor) -> Tensor:
        """See the class."""
        image = self.model.make_images(self.network, *inputs).squeeze(1)
        return (image + 1) / 2 * self.scale_bq_mm3


def example(generator: Generator, num: int, rng: torch.Generator) -> Inputs:
    """Return random inputs of the graph for `num` images, by name.

    Raises
    ------
    InputError
        If the model cannot be one graph.
    """
    model = generator.model
    if model.why_no_graph:
        others = ", ".join(name for name, other in MODELS.items() if not other.why_no_graph)
        raise InputError(
            f"--model: got {model.name!r}, which cannot be one ONNX graph: {model.why_no_graph}; "
            f"expected one of {others}"
        )
    return model.draw_inputs(generator.network, num, generator.data, rng)


def write_onnx(path: str | os.PathLike[str], generator: Generator) -> dict[str, str]:
    """Write the graph, its weights and its metadata into one file.

    Parameters
    ----------
    path : path
    generator : Generator
        From `tubepet.generate.trained.read_generator`.

    Returns
    -------
    dict
        The metadata. Their `inputs` is JSON, with shape and content of each input.

    Raises
    ------
    InputError
        If the model cannot be one graph.
    """
    inputs = example(generator, 2, torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch")
    described = {
        name: {
            "shape": ["batch", *value.shape[1:]],
            "holds": generator.model.holds.get(name, "N(0, 1)"),
        }
        for name, value in inputs.items()
    }
    facts = {
        "model": generator.model.name,
        "seed": str(generator.facts.get("seed", "unknown")),
        "scale_bq_mm3": str(generator.scale_bq_mm3),
        "pixel_mm": str(generator.pixel_mm),
        "slice_mm": str(generator.slice_mm),
        "inputs": json.dumps(described),
        "unit": "Bq/mm3",
        "tubepet": tubepet.__version__,
        "code": str(generator.facts["code"]),
        "note": "generated, not measured",
    }
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # it misses torchvision, which is unused
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own code
        program: Any = torch.onnx.export(
            Physical(generator).eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props.update(facts)
    with io.atomic(path) as part:
        program.save(part, external_data=False)
    return facts
