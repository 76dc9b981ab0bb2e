# The checked config, the list of tubes, the wildcard patterns, and the functions that rules name
# as inputs and params. No rules. Functions that need no rule are in src/tubepet/plan, with their tests.
from math import ceil, hypot
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError

from tubepet import layout
from tubepet.errors import InputError
from tubepet.plan import models, observers, outside, pod, reality, shards, validation
from tubepet.plan.config import checked_config
from tubepet.plan.provenance import code_digest, share_package
from tubepet.plan.snakemake import refuse_prefix, stages
from tubepet.plan.study import Study
from tubepet.root import ROOT
from tubepet.types import Scanner

try:
    refuse_prefix(workflow)
    config = checked_config(config, ROOT)
    outside.check_former_results(Path("results"))
except InputError as error:
    raise WorkflowError(str(error)) from None

TUBES = [f"tube_{i:04d}" for i in range(config["phantom"]["num_tubes"])]
SHARDS = shards.cut(TUBES, config["phantom"]["tubes_per_job"])
# tubes with jobs of their own; the others are in shards
SINGLE_TUBES = TUBES[:1] if SHARDS else TUBES
ENHANCERS = ["plain", "memory", "adversarial", "attention_gan"]
STUDY = Study(config)


wildcard_constraints:
    network="|".join(ENHANCERS),
    tube="|".join([*TUBES, *STUDY.feature_tubes, "literal"]),
    shard=r"tubes_\d+-\d+",
    model="|".join(config["generate"]["models"]),
    variant="|".join(STUDY.variants),
    num_train=r"all|\d+",
    i_seed=r"\d+",
    i_candidate=r"\d+",
    batch=r"[a-z]+_\d+-\d+",
    duration_s=r"[\d.e+-]+",


share_package()


def section_keys(section, keys):
    """Some keys of a config section: a change of another key re-runs nothing."""
    return {key: config[section][key] for key in keys.split()}


def memory(mem_mb):
    """Memory of a job: a second try gets twice as much (retries are set in the profile)."""

    def grown(wildcards, attempt):
        return round(mem_mb) * attempt

    return grown


def images_mb(num):
    """Memory of images of the config's size in float32, for rules that hold whole sets of them."""
    return num * config["reconstruct"]["num_pixels"] ** 2 * 4 / 1e6


# no tube has more slices than its image
MOST_SLICES = config["phantom"]["num_tubes"] * config["reconstruct"]["num_slices"]


def all_tubes(pattern):
    """Paths of one kind, all tubes of the data set: params, so that shards need no single inputs."""
    return expand(pattern, tube=TUBES)


# With `--cache`, rules that say `cache: IS_CACHING` take what another working copy has made of the same script, params and
# inputs (docs/cluster.md). Snakemake's key holds neither package code nor wildcards: such rules name both as params.
IS_CACHING = workflow.workflow_settings.cache is not None


# 01 phantom.

# The tube named "literal" is the first tube with the activity that the paper's words give it: 600 Bq
# in all, 60 decays. The report shows the result.
LITERAL_PROTOCOL = {"activity_bq": 600, "per": "total"}


def drawn_as(wildcards):
    return TUBES[0] if wildcards.tube == "literal" else wildcards.tube


def phantom_ranges():
    """What tubes are drawn from, without how many they are and what is fixed of some."""
    left_out = ("num_tubes", "tubes", "parts", "tubes_per_job")
    return {k: v for k, v in config["phantom"].items() if k not in left_out}


def tube_override(wildcards):
    """What the config fixes of this tube: a change re-runs this tube only."""
    return config["phantom"]["tubes"].get(drawn_as(wildcards), {})


def own_part(wildcards):
    """The part that takes this tube's place, hashes of its files, what it must fit into; else {}."""
    if not (part := config["phantom"]["parts"].get(drawn_as(wildcards))):
        return {}
    room = {"bore_mm": layout.bore_mm(Scanner(**config["scanner"]))} | image_half_mm()
    return {"part": part, "files": outside.part_files(part), "room": room}


def tube_protocol(wildcards):
    literal = LITERAL_PROTOCOL if wildcards.tube == "literal" else {}
    return section_keys("protocol", "activity_bq per") | literal


# Shards. A shard's digest holds the params of the rules that run inside it, and its inputs are those
# that these rules share.

TUBE_RULES = ["make_phantom", "simulate_tube", "reconstruct_tube"]
TUBE_RULES += ["simulate_reference", "reconstruct_reference", "inspect_tube"]
MANIFESTS = [f"results/shards/{shard}.json" for shard in SHARDS]


def shard_paths(patterns):
    """Paths of one kind or more, all tubes of a shard."""

    def paths(wildcards):
        return expand(patterns, tube=SHARDS[wildcards.shard])

    return paths


def shared_files(wildcards):
    """Inputs of the rules inside a shard that none of them makes."""
    inputs = [path for name in TUBE_RULES for path in getattr(rules, name).input]
    paths = {str(path) for path in inputs if not callable(path)}
    paths |= {ATTENUATION(SimpleNamespace(tube=t)) for t in SHARDS[wildcards.shard]}
    return sorted(p for p in paths if "{tube}" not in p and "phantom/tube_" not in p)


def shard_digest(wildcards):
    tubes = [SimpleNamespace(tube=tube) for tube in SHARDS[wildcards.shard]]
    params = {
        f"{name}.{key}": [value(t) for t in tubes] if callable(value) else value
        for name in TUBE_RULES
        for key, value in getattr(rules, name).params.items()
    }
    scripts = [Path(getattr(rules, name).rule.script).name for name in TUBE_RULES]
    return shards.digest(params, [ROOT / "workflow/scripts" / name for name in scripts])


# 03 reconstruct.

ATTENUATION = outside.attenuation_map(config["reconstruct"]["attenuation"], TUBES[0])
IMAGE_KEYS = "num_pixels pixel_mm num_slices slice_mm"
ERROR_KEYS = (
    "num_subsets sensitivity_stride filter_fwhm_mm algorithm prior_strength tof backend"
)
MLEM_KEYS = f"num_iterations {ERROR_KEYS} stopping"


def image_half_mm():
    """Half of the image's width and length."""
    section = config["reconstruct"]
    return {
        "half_width_mm": section["num_pixels"] * section["pixel_mm"] / 2,
        "half_length_mm": section["num_slices"] * section["slice_mm"] / 2,
    }


def slice_grid():
    """Pixels of the slices, and the resolution: that of the model and of the filter together."""
    section = config["reconstruct"]
    fwhm_mm = hypot(section["psf_fwhm_mm"], section["filter_fwhm_mm"])
    grid = section_keys("reconstruct", "num_pixels pixel_mm slice_mm filter_fwhm_mm")
    return grid | {"fwhm_mm": round(fwhm_mm, 6)}


# 04 ct.

CT_PARTS = [
    f"{i:04d}"
    for i in range(ceil(config["ct"]["num_slices"] / config["ct"]["slices_per_job"]))
]


def ct_source_files(wildcards):
    """What choose_ct reads first: DL_info.csv or the stand-in; all files: `outside.ct_listing`."""
    if not config["ct"]["source_dir"]:
        return rules.make_ct_standin.output.folder
    return outside.ct_index(config["ct"])


# 07 generate.


def training_minutes(wildcards):
    """An hour, up to a day at the paper's scale: partitions rarely give more, and resumed is not lost."""
    num_steps = config["generate"].get(wildcards.model, {}).get("num_steps", 0)
    num_pixels = num_steps * config["reconstruct"]["num_pixels"] ** 2
    return min(1440, round(60 + num_pixels / 4e6))


def generator_settings(wildcards):
    return models.settings_of(wildcards.model, config["generate"], config)


def generator_code(wildcards):
    model = f"tubepet.generate.models.{wildcards.model}"
    return code_digest("tubepet.generate.loop", "tubepet.generate.read", model)


def training_files(wildcards):
    return models.files_of(models.MODELS[wildcards.model].training)


def sampling_files(wildcards):
    return models.files_of(models.MODELS[wildcards.model].sampling)


def of_models(kind):
    """Paths of one kind of file, all models of the config."""
    return [
        f"results/generate/{model}/{kind}" for model in config["generate"]["models"]
    ]


# 11 report.


def stage_of_rule(wildcards):
    return stages(workflow)  # asked when all rules are known


def study_files(wildcards):
    """What the report shows of the study, which is a target of its own: nothing before it ran."""
    names = "conclusions.md", "claims.png", "variants.png", "curve.png", "detector.png"
    paths = [f"results/study/{name}" for name in names]
    return paths if Path(paths[0]).is_file() else []


# 13 validate.


def validation_cases(wildcards):
    names = validation.names(wildcards.scope)
    return expand("results/validate/transport/cases/{case}.json", case=names)
