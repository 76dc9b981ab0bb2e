# tubepet: tube -> GATE -> MLEM -> generated positron images. `snakemake --cores 2` makes everything;
# the rule files, in order, are the story. Results lie in results/<stage>/.
from snakemake.utils import min_version

min_version("9.20")


configfile: f"{workflow.basedir}/config/config.yaml"


report: "workflow/report/workflow.rst"


# A limit of jobs per second makes Snakemake (9.27, JobScheduler.schedule) look round once more per second for every job that has
# ended: four minutes of CPU time in the default run. Its default of 100 goes; a limit that the user gives stays.
onstart:
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


# Seconds each: not worth a submission on a cluster.
localrules:
    prepare_g4data,
    calibrate_scanner,
    collect_phantoms,
    collect_counts,
    draw_follow,
    collect_report,


include: "workflow/rules/common.smk"
include: "workflow/rules/01_phantom.smk"
include: "workflow/rules/02_simulate.smk"
include: "workflow/rules/03_reconstruct.smk"
include: "workflow/rules/shards.smk"
include: "workflow/rules/04_ct.smk"
include: "workflow/rules/05_pretrain.smk"
include: "workflow/rules/06_features.smk"
include: "workflow/rules/07_gan.smk"
include: "workflow/rules/08_evaluate.smk"
include: "workflow/rules/09_report.smk"
include: "workflow/rules/10_study.smk"
include: "workflow/rules/11_enhance.smk"


# Snakemake does not measure rules that it may take from a cache, and refuses a benchmark file of theirs.
for one in workflow.rules:
    if one.cache and one.cache.output:
        one._benchmark = None


rule all:
    """Everything that the report shows."""
    default_target: True
    input:
        rules.make_report.output,
        rules.collect_report.output,
        rules.make_turing.output,
        expand("results/gan/{model}/card.md", model=config["gan"]["models"]),
        "results/reconstruct/literal/image.png",


rule only_phantom:
    """All tubes, no physics."""
    input:
        rules.collect_phantoms.output,


rule only_simulate:
    """All coincidences."""
    input:
        rules.collect_counts.output,


rule validate:
    """GATE against the fast engine in full: a million decays each, some minutes."""
    input:
        expand(
            "results/simulate/validation/full_{case}.json",
            case=["tube_0000", "tube_0001", "tube_0005", "tube_0005_asymmetric"],
        ),


rule validate_gate:
    """GATE's physics against what is known without it."""
    input:
        rules.validate_physics.output,


rule validate_images:
    """The reconstruction against phantoms with known answers: seven minutes."""
    input:
        rules.validate_reconstruction.output,


rule only_reconstruct:
    """All MLEM images, the slice dataset and its labels."""
    input:
        rules.collect_slices.output,
        rules.label_slices.output,


rule only_train:
    """All generators and their samples."""
    input:
        expand("results/gan/{model}/samples.npy", model=config["gan"]["models"]),


rule study:
    """Many trainings at equal compute, and the page of conclusions (config/study.yaml: an hour and a half)."""
    input:
        rules.conclude_study.output,


rule enhance:
    """Long images from short ones: networks against filters, on tubes of their own."""
    input:
        rules.evaluate_enhancers.output,
