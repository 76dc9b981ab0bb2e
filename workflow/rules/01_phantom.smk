# 01 phantom. Needs the config only; makes each tube's materials, activity and attenuation on a
# voxel grid, the truth about it, and a picture. Steps: draw or fix the geometry, measure volume
# fractions by supersampling, write maps; then one table of all tubes.


# The tube named "literal" is the first tube with the activity that the paper's words give it: 600 Bq
# in all, 60 decays. The report shows what comes of it.
LITERAL_PROTOCOL = {"activity_bq": 600, "per": "total"}


def drawn_as(wildcards):
    return TUBES[0] if wildcards.tube == "literal" else wildcards.tube


def tube_override(wildcards):
    """What the config fixes of this tube: a change re-runs this tube only."""
    return config["phantom"]["tubes"].get(drawn_as(wildcards), {})


def tube_protocol(wildcards):
    literal = LITERAL_PROTOCOL if wildcards.tube == "literal" else {}
    return {key: config["protocol"][key] for key in ("activity_bq", "per")} | literal


rule make_phantom:
    """Draw one tube and put it on voxels."""
    output:
        labels="results/phantom/{tube}/labels.nii.gz",
        activity="results/phantom/{tube}/activity.nii.gz",
        mu="results/phantom/{tube}/mu.nii.gz",
        truth="results/phantom/{tube}/truth.json",
        picture=report(
            "results/phantom/{tube}/picture.png",
            category="1 Phantom",
            caption="../report/make_phantom.rst",
            labels={"tube": "{tube}"},
        ),
    log:
        "logs/make_phantom/{tube}.log",
    benchmark:
        "results/benchmarks/make_phantom/{tube}.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        seed=config["seed"],
        phantom={
            k: v
            for k, v in config["phantom"].items()
            if k not in ("num_tubes", "tubes")
        },
        drawn_as=drawn_as,
        override=tube_override,
        protocol=tube_protocol,
        code=code_digest(
            "tubepet.phantom.spec",
            "tubepet.phantom.geometry",
            "tubepet.phantom.maps",
            "tubepet.phantom.picture",
        ),
    script:
        "../scripts/make_phantom.py"


rule collect_phantoms:
    """One row per tube."""
    input:
        truths=expand("results/phantom/{tube}/truth.json", tube=TUBES),
    output:
        table="results/phantom/phantoms.parquet",
    log:
        "logs/collect_phantoms.log",
    benchmark:
        "results/benchmarks/collect_phantoms.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_digest("tubepet.phantom.maps"),
    script:
        "../scripts/collect_phantoms.py"
