# The checked config, the list of tubes and the wildcard patterns. No rules.
import json
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from tubepet.config import checked_config
from tubepet.errors import InputError
from tubepet.provenance import code_digest

try:
    config = checked_config(
        config, workflow.basedir + "/workflow/schemas/config.schema.yaml"
    )
except InputError as error:
    raise WorkflowError(f"config: {error}") from None

# The first lines of the report say what was substituted; known once the run has finished.
facts_path = Path("results/report/facts.json")
if facts_path.is_file():
    config["facts"] = json.loads(facts_path.read_text())["sentences"]

TUBES = [f"tube_{i:04d}" for i in range(config["phantom"]["num_tubes"])]


wildcard_constraints:
    tube=r"tube_\d+|literal",
    model="|".join(config["gan"]["models"]),


# Jobs in environments of their own (--sdm conda) import the package from here.
os.environ["PYTHONPATH"] = (
    f"{workflow.basedir}/src:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
)
