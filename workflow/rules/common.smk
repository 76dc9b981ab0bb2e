# The checked config, the list of tubes, the wildcard patterns, and the functions that rules name
# as inputs and params. No rules.
import importlib.util
import json
import re
from math import ceil, hypot
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError

from tubepet import checksums
from tubepet.plan import shards
from tubepet.plan.config import checked_config, variant_section
from tubepet.errors import InputError, reading
from tubepet.plan.provenance import code_digest, share_package

try:
    config = checked_config(
        config, f"{workflow.basedir}/workflow/schemas/config.schema.yaml"
    )
except InputError as error:
    raise WorkflowError(f"config: {error}") from None

# The first lines of the report say what was substituted; known once the run has finished.
facts_path = Path("results/report/facts.json")
if facts_path.is_file():
    try:
        with reading(facts_path, "JSON", checksums.remedy(facts_path)):
            checksums.check(facts_path)
            config["facts"] = json.loads(facts_path.read_text())["sentences"]
    except InputError as error:
        raise WorkflowError(str(error)) from None

TUBES = [f"tube_{i:04d}" for i in range(config["phantom"]["num_tubes"])]
SHARDS = shards.cut(TUBES, config["phantom"]["tubes_per_job"])
SINGLE_TUBES = (
    TUBES[:1] if SHARDS else TUBES
)  # jobs of their own; the others are in shards


# The side chain 11 enhance has tubes of its own number, drawn as the others are.
PAIR_TUBES = [f"tube_{i:04d}" for i in range(config["enhance"]["num_tubes"])]
ENHANCERS = ["plain", "memory", "adversarial"]


wildcard_constraints:
    network="|".join(ENHANCERS),
    tube=r"tube_\d+|literal",
    shard=r"tubes_\d+-\d+",
    model="|".join(config["gan"]["models"]),
    variant="|".join(config["study"]["variants"]),
    num_train=r"all|\d+",
    i_seed=r"\d+",
    i_candidate=r"\d+",


share_package()


def memory(mem_mb):
    """Memory of a job: a second try gets twice as much (retries are set in the profile)."""

    def grown(wildcards, attempt):
        return round(mem_mb) * attempt

    return grown


def images_mb(num):
    """Memory of images of the config's size in float32, for rules that hold whole sets of them."""
    return num * config["reconstruct"]["num_pixels"] ** 2 * 4 / 1e6


def training_minutes(wildcards):
    """An hour, up to a day at the paper's scale: partitions rarely give more, and resumed is not lost."""
    num_pixels = (
        config["gan"][wildcards.model]["num_steps"]
        * config["reconstruct"]["num_pixels"] ** 2
    )
    return min(1440, round(60 + num_pixels / 4e6))


# no tube has more slices than its image
MOST_SLICES = config["phantom"]["num_tubes"] * config["reconstruct"]["num_slices"]


# `--cache`: rules that say `cache: IS_CACHING` take what another working copy has made of the same script, params and inputs
# (docs/cluster.md). Params are all that Snakemake's key sees of the code (`code`) and of wildcards, of which it sees nothing.
IS_CACHING = workflow.workflow_settings.cache is not None

# Inputs and params of 01 phantom.

# The tube named "literal" is the first tube with the activity that the paper's words give it: 600 Bq
# in all, 60 decays. The report shows what comes of it.
LITERAL_PROTOCOL = {"activity_bq": 600, "per": "total"}


def drawn_as(wildcards):
    return TUBES[0] if wildcards.tube == "literal" else wildcards.tube


def phantom_ranges():
    """What tubes are drawn from, without how many they are and what is fixed of some."""
    left_out = ("num_tubes", "tubes", "tubes_per_job")
    return {k: v for k, v in config["phantom"].items() if k not in left_out}


def tube_override(wildcards):
    """What the config fixes of this tube: a change re-runs this tube only."""
    return config["phantom"]["tubes"].get(drawn_as(wildcards), {})


def tube_protocol(wildcards):
    literal = LITERAL_PROTOCOL if wildcards.tube == "literal" else {}
    return {key: config["protocol"][key] for key in ("activity_bq", "per")} | literal


# Inputs and params of the shards. A shard's digest holds the params of the rules that run inside it,
# and its inputs are those that these rules share.

TUBE_RULES = ["make_phantom", "simulate_tube", "reconstruct_tube"]
MANIFESTS = [f"results/shards/{shard}.json" for shard in SHARDS]


def shard_paths(pattern):
    """Paths of one kind, all tubes of a shard."""

    def paths(wildcards):
        return expand(pattern, tube=SHARDS[wildcards.shard])

    return paths


def shared_files(wildcards):
    """Inputs of the rules inside a shard that do not belong to one tube."""
    inputs = [path for name in TUBE_RULES for path in getattr(rules, name).input]
    return sorted({str(path) for path in inputs if "{tube}" not in path})


def shard_digest(wildcards):
    tubes = [SimpleNamespace(tube=tube) for tube in SHARDS[wildcards.shard]]
    params = {
        f"{name}.{key}": [value(t) for t in tubes] if callable(value) else value
        for name in TUBE_RULES
        for key, value in getattr(rules, name).params.items()
    }
    scripts = Path(workflow.basedir) / "workflow" / "scripts"
    return shards.digest(params, [scripts / f"{name}.py" for name in TUBE_RULES])


# Inputs and params of 02 simulate.


def official_tables(wildcards):
    """Where Geant4's own tables would be, and which lie there: files that no rule declares."""
    section = config["simulate"]
    spec = importlib.util.find_spec("opengate_core")
    opengate = Path(spec.origin).parent / "geant4_data" if spec else Path()
    folder = Path(section["g4_data_dir"] or opengate)
    if section["g4_data"] == "substitute" or not folder.is_dir():
        return []
    return [str(folder), sorted(path.name for path in folder.iterdir())]


def validation_tube(kind):
    """Path of a map of the tube that a validation case names."""

    def path(wildcards):
        tube = re.search(r"tube_\d+", wildcards.case).group()
        return f"results/phantom/{tube}/{kind}.nii.gz"

    return path


def validation_decays(wildcards):
    """Expected GATE decays of a case: a million in full."""
    decays = config["simulate"]["validation_decays"]
    return max(decays, 1_000_000) if wildcards.case.startswith("full_") else decays


# Inputs and params of 03 reconstruct.


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
    keys = ("num_pixels", "pixel_mm", "slice_mm", "filter_fwhm_mm")
    return {key: section[key] for key in keys} | {"fwhm_mm": round(fwhm_mm, 6)}


# Inputs and params of 04 ct.

CT_PARTS = [
    f"{i:04d}"
    for i in range(ceil(config["ct"]["num_slices"] / config["ct"]["slices_per_job"]))
]


def ct_source():
    """Where the slices are and in which format: the user's folder or the stand-in."""
    source_dir = config["ct"]["source_dir"]
    return {
        "source_dir": source_dir,
        "standin_dir": "results/ct/standin",
        "file_format": config["ct"]["format"] if source_dir else "deeplesion",
    }


def ct_source_files(wildcards):
    """What choose_ct watches: DL_info.csv or the stand-in; of DICOM files see `ct_listing`.

    What is missing is left to the reader, which says so in a sentence.
    """
    source_dir = config["ct"]["source_dir"]
    if not source_dir:
        return rules.make_ct_standin.output.folder
    if config["ct"]["format"] == "deeplesion":
        return [str(path) for path in Path(source_dir).glob("DL_info.csv")]
    return []


def ct_listing(wildcards):
    """Hash of names, sizes and times of all DICOM files: 150,000 inputs would slow down every plan."""
    source_dir = config["ct"]["source_dir"]
    if not source_dir or config["ct"]["format"] == "deeplesion":
        return ""
    return shards.listing(source_dir)


# Inputs and params of 07 gan.


def settings_of(model, section):
    """The common keys that training reads, and the model's own: another model's do not count."""
    common = (
        "batch_size",
        "ema_images",
        "augment",
        "lecam_weight",
        "r1_weight",
        "output",
    )
    loop = ("precision", "checkpoint_every", "sample_every")
    settings = {key: section[key] for key in (*common, *loop)}
    image = config["reconstruct"]
    settings["filter_px"] = image["filter_fwhm_mm"] / 2.3548 / image["pixel_mm"]
    if model == "paper":  # its encoder keeps the loss that it was pretrained with
        settings |= {key: config["pretrain"][key] for key in ("sigma_x", "beta")}
    return settings | section[model]


def gan_settings(wildcards):
    return settings_of(wildcards.model, config["gan"])


def gan_code(wildcards):
    return code_digest(
        "tubepet.generate.loop",
        "tubepet.generate.read",
        f"tubepet.generate.models.{wildcards.model}",
    )


# What a model reads besides the positron slices, for training and for sampling.
NEEDS = {
    "paper": {"train": ("ct", "memory"), "sample": ("ct",)},
    "ours": {"train": ("drawings",)},
}


def needed_files(model, step):
    """Inputs of a model's training or sampling, by name."""
    files = {
        "ct": {
            "ct_images": rules.prepare_ct.output.images,
            "ct_table": rules.prepare_ct.output.table,
            "ct_info": rules.prepare_ct.output.info,
        },
        "memory": {
            "vae": rules.train_vae.output.weights,
            "vae_info": rules.train_vae.output.info,
            "bank": rules.fit_features.output.bank,
        },
        "drawings": {
            "fluid": rules.label_slices.output.fluid,
            "expected": rules.label_slices.output.expected,
            "labels": rules.label_slices.output.labels,
            "population": rules.label_slices.output.population,
        },
    }
    needs = NEEDS.get(model, {}).get(step, ())
    return {name: path for need in needs for name, path in files[need].items()}


def training_files(wildcards):
    return needed_files(wildcards.model, "train")


def sampling_files(wildcards):
    return needed_files(wildcards.model, "sample")


# Params of 09 report.


def stage_of_rule(wildcards):
    """The rule file of every rule, which is its stage."""
    return {rule.name: Path(str(rule.snakefile)).stem for rule in workflow.rules}


def study_files(wildcards):
    """What the report shows of the study, which is a target of its own: nothing before it ran."""
    names = ("conclusions.md", "variants.png", "curve.png", "detector.png")
    paths = [f"results/study/{name}" for name in names]
    return paths if Path(paths[0]).is_file() else []


# Inputs and params of 10 study.

STUDY = config["study"]
# the tubes that follow those of the data set: in no split, whatever is drawn
FEATURE_TUBES = [
    f"tube_{config['phantom']['num_tubes'] + i:04d}"
    for i in range(STUDY["features"]["num_tubes"])
]
REFERENCE = "dcgan"  # its step is the unit of compute


def variant_model(wildcards):
    return STUDY["variants"][wildcards.variant]["model"]


def variant_set(wildcards):
    """What the variant fixes for itself, whatever tuning says."""
    return STUDY["variants"][wildcards.variant]["set"]


def candidate_set(wildcards):
    return STUDY["variants"][wildcards.variant]["candidates"][
        int(wildcards.i_candidate)
    ]


def candidate_scores(wildcards):
    name = wildcards.variant
    num = len(STUDY["variants"][name]["candidates"])
    return [f"results/study/tuning/{name}/{i}.json" for i in range(num)]


def tuned_variants():
    """Variants with candidates of their own."""
    return [name for name, v in STUDY["variants"].items() if v["candidates"]]


def choice_files(wildcards):
    """The candidate chosen for a variant, or else for the variant of which it is an ablation."""
    names = (wildcards.variant, STUDY["variants"][wildcards.variant]["ablates"])
    tuned = [name for name in names if name in tuned_variants()]
    return {"choice": f"results/study/tuning/{tuned[0]}.json"} if tuned else {}


def charges_preparation(wildcards):
    return STUDY["variants"][wildcards.variant].get(
        "charge_preparation", STUDY["charge_preparation"]
    )


def variant_settings(wildcards):
    """Settings of a training; grids of samples are not drawn, the budget counts."""
    model = variant_model(wildcards)
    section = variant_section(config["gan"], model, variant_set(wildcards))
    settings = settings_of(model, section) | {"sample_every": 10**9}
    settings.pop("num_steps")  # the budget decides, see fixed_steps
    return settings


def fixed_steps(wildcards):
    """Number of steps that a variant fixes for itself; 0 if the budget decides."""
    return variant_set(wildcards).get("num_steps", 0)


def reference_settings(wildcards):
    return settings_of(REFERENCE, config["gan"])


def variant_code(wildcards):
    model = variant_model(wildcards)
    gan = (
        "tubepet.generate.loop",
        "tubepet.generate.read",
        f"tubepet.generate.models.{model}",
    )
    return code_digest(*gan, "tubepet.study.outcome")


def variant_files(wildcards):
    """What a variant reads besides the slices, for training and for sampling."""
    model = variant_model(wildcards)
    return needed_files(model, "train") | needed_files(model, "sample")


def training_rows(num_train, i_seed):
    """Table of the slices with the split that a run sees."""
    if num_train == "all":
        return rules.collect_slices.output.table
    return f"results/study/subsets/{num_train}/{i_seed}/slices.parquet"


def run_files(wildcards):
    """As `variant_files`, with the rows, and the bank, of the run's own training slices."""
    num_train, i_seed = wildcards.num_train, wildcards.i_seed
    files = variant_files(wildcards) | choice_files(wildcards)
    files["table"] = training_rows(num_train, i_seed)
    if num_train != "all" and "bank" in files:
        files["bank"] = f"results/study/subsets/{num_train}/{i_seed}/bank.safetensors"
    return files


def study_runs(name):
    """All (training slices, seed) that the study asks of a variant."""
    variant, curve, detector = (
        STUDY["variants"][name],
        STUDY["curve"],
        STUDY["detector"],
    )
    seeds = range(variant.get("num_seeds", STUDY["num_seeds"]))
    runs = {("all", i) for i in seeds}
    if name in curve["variants"]:
        runs |= {(n, i) for n in curve["num_images"] for i in range(curve["num_seeds"])}
    if name == detector["generator"]:
        runs |= {
            (n, i) for n in detector["num_real"] for i in range(detector["num_seeds"])
        }
    return [f"{n}/{i}" for n, i in sorted(runs, key=str)]


def runs_of_variant(kind):
    """Paths of one kind of file of all runs of a variant."""

    def paths(wildcards):
        name = wildcards.variant
        return [f"results/study/runs/{name}/{run}/{kind}" for run in study_runs(name)]

    return paths


def detector_files(kind):
    """Paths of one kind of file of the runs whose images the detector gets; none without a generator."""

    def paths(wildcards):
        name, num = STUDY["detector"]["generator"], wildcards.num_train
        seeds = range(STUDY["detector"]["num_seeds"]) if name else []
        return [f"results/study/runs/{name}/{num}/{i}/{kind}" for i in seeds]

    return paths


def detector_tables(wildcards):
    seeds = range(STUDY["detector"]["num_seeds"])
    return [training_rows(wildcards.num_train, i) for i in seeds]


def pictured_variants():
    """Variants whose images are shown: all but the ablations."""
    return [name for name, v in STUDY["variants"].items() if not v["ablates"]]


# Inputs and params of 11 enhance.


def pair_files(wildcards):
    """Slices of both acquisitions, their table and scale."""
    return dict(rules.collect_pairs.output.items())


def enhance_settings(wildcards):
    """What the training of one network reads."""
    keys = (
        "channels",
        "num_steps",
        "batch_size",
        "learning_rate",
        "adversarial_weight",
    )
    return {key: config["enhance"][key] for key in keys}
