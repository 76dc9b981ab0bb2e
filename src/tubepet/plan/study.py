"""Which trainings the study makes, and which files each of them reads and writes.

A variant is a generator with some fixed settings; the study trains each several times. Methods take
the wildcards of a rule: `variant`, `num_train`, `i_seed`, `i_candidate`, as far as it has them. The
Snakefile imports this module, so it needs no heavy packages.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tubepet.plan.config import variant_section
from tubepet.plan.models import MODELS, files_of, settings_of
from tubepet.plan.provenance import code_digest

FOLDER = "results/study"
REFERENCE = "dcgan"  # its step is the unit of compute
Paths = Callable[[Any], list[str]]


class Study:
    """The config section `study`, and what follows from it.

    Parameters
    ----------
    config : mapping
        The whole checked config.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.section = config["study"]
        self.variants: dict[str, Any] = self.section["variants"]
        first = config["phantom"]["num_tubes"]
        # the tubes that follow those of the data set: in no split, whatever is drawn
        self.feature_tubes = [
            f"tube_{first + i:04d}" for i in range(self.section["features"]["num_tubes"])
        ]
        self.tuned = [name for name, v in self.variants.items() if v["candidates"]]
        # variants whose images are shown: all but the ablations
        self.pictured = [name for name, v in self.variants.items() if not v["ablates"]]

    def of_feature_tubes(self, pattern: str) -> list[str]:
        """Return paths of one kind below results, for all tubes of the feature space."""
        return [f"results/{pattern.format(tube=tube)}" for tube in self.feature_tubes]

    def model(self, wildcards: Any) -> str:
        """Return the model of a variant."""
        return str(self.variants[wildcards.variant]["model"])

    def own_keys(self, wildcards: Any) -> dict[str, Any]:
        """Return the settings that a variant fixes; tuning does not touch them."""
        return dict(self.variants[wildcards.variant]["set"])

    def fixed_steps(self, wildcards: Any) -> int:
        """Return the number of steps that a variant fixes for itself; 0 if the budget decides."""
        return int(self.own_keys(wildcards).get("num_steps", 0))

    def charges_preparation(self, wildcards: Any) -> bool:
        """Whether the variant pays for what is made before its training."""
        variant = self.variants[wildcards.variant]
        return bool(variant.get("charge_preparation", self.section["charge_preparation"]))

    def candidate(self, wildcards: Any) -> dict[str, Any]:
        """Return the keys of one candidate of a variant."""
        candidates = self.variants[wildcards.variant]["candidates"]
        return dict(candidates[int(wildcards.i_candidate)])

    def candidate_scores(self, wildcards: Any) -> list[str]:
        """Return the scores of all candidates of a variant."""
        name = wildcards.variant
        num = len(self.variants[name]["candidates"])
        return [f"{FOLDER}/tuning/{name}/{i}.json" for i in range(num)]

    def choice(self, wildcards: Any) -> dict[str, str]:
        """Return the file of the candidate chosen for a variant, or for the one it ablates."""
        names = (wildcards.variant, self.variants[wildcards.variant]["ablates"])
        tuned = [name for name in names if name in self.tuned]
        return {"choice": f"{FOLDER}/tuning/{tuned[0]}.json"} if tuned else {}

    def settings(self, wildcards: Any) -> dict[str, Any]:
        """Return a training's settings, without grids of samples and without a step number."""
        model, own = self.model(wildcards), self.own_keys(wildcards)
        section = variant_section(self.config["generate"], model, own)
        settings = settings_of(model, section, self.config)
        settings.pop("num_steps", None)  # the budget decides, see `fixed_steps`
        return settings | {"sample_every": 10**9}

    def reference_settings(self, wildcards: Any) -> dict[str, Any]:
        """Return the settings of the model whose step is the unit of compute."""
        return settings_of(REFERENCE, self.config["generate"], self.config)

    def code(self, wildcards: Any) -> str:
        """Return the digest of the code behind a training of a variant."""
        model = f"tubepet.generate.models.{self.model(wildcards)}"
        return code_digest("tubepet.generate.read", "tubepet.study.outcome", model)

    def files(self, wildcards: Any) -> dict[str, str]:
        """Return what a variant reads besides the slices, for training and for sampling."""
        needs = MODELS[self.model(wildcards)]
        return files_of(needs.training) | files_of(needs.sampling)

    def table(self, num_train: str, i_seed: str | int) -> str:
        """Return the table of the slices with the split that a run sees."""
        if num_train == "all":
            return "results/reconstruct/slices.parquet"
        return f"{FOLDER}/subsets/{num_train}/{i_seed}/slices.parquet"

    def run_files(self, wildcards: Any) -> dict[str, str]:
        """Return `files`, the choice, and the table and bank of the run's own training slices."""
        num_train, i_seed = wildcards.num_train, wildcards.i_seed
        files = self.files(wildcards) | self.choice(wildcards)
        files["table"] = self.table(num_train, i_seed)
        if num_train != "all" and "bank" in files:
            files["bank"] = f"{FOLDER}/subsets/{num_train}/{i_seed}/bank.safetensors"
        return files

    def runs(self, name: str) -> list[str]:
        """Return all trainings of a variant, each as "number of training slices/seed"."""
        curve, detector = self.section["curve"], self.section["detector"]
        num_seeds = self.variants[name].get("num_seeds", self.section["num_seeds"])
        runs = {("all", i) for i in range(num_seeds)}
        if name in curve["variants"]:
            runs |= {(n, i) for n in curve["num_images"] for i in range(curve["num_seeds"])}
        if name == detector["generator"]:
            runs |= {(n, i) for n in detector["num_real"] for i in range(detector["num_seeds"])}
        return [f"{n}/{i}" for n, i in sorted(runs, key=str)]

    def of_runs(self, kind: str) -> Paths:
        """Return a function of wildcards: one kind of file of all runs of a variant."""

        def paths(wildcards: Any) -> list[str]:
            name = wildcards.variant
            return [f"{FOLDER}/runs/{name}/{run}/{kind}" for run in self.runs(name)]

        return paths

    def of_detectors(self, kind: str) -> Paths:
        """Return a function of wildcards: one kind of file of the runs that detectors use."""

        def paths(wildcards: Any) -> list[str]:
            detector = self.section["detector"]
            name, num = detector["generator"], wildcards.num_train
            seeds = range(detector["num_seeds"]) if name else []
            return [f"{FOLDER}/runs/{name}/{num}/{i}/{kind}" for i in seeds]

        return paths

    def detector_tables(self, wildcards: Any) -> list[str]:
        """Return the tables of the slices that the detectors learn from, seed by seed."""
        seeds = range(self.section["detector"]["num_seeds"])
        return [self.table(wildcards.num_train, i) for i in seeds]
