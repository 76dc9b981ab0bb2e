# 01 phantom. Needs the config only; makes each tube's materials, activity and attenuation on a
# voxel grid, the truth about it, and a picture. Steps: draw or fix the geometry, measure volume
# fractions by supersampling, write maps; then one table of all tubes.


rule make_phantom:
    """Draw one tube, or take an own part, and put it on voxels."""
    output:
        labels="results/phantom/{tube}/labels.nii.gz",
        activity="results/phantom/{tube}/activity.nii.gz",
        mu="results/phantom/{tube}/mu.nii.gz",
        mu_nominal="results/phantom/{tube}/mu_nominal.nii.gz",
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
        mem_mb=memory(1000),
        runtime=10,
    params:
        seed=config["seed"],
        phantom=phantom_ranges(),
        drawn_as=drawn_as,
        override=tube_override,
        own=own_part,
        protocol=tube_protocol,
        code=code_digest(
            "tubepet.phantom.spec",
            "tubepet.phantom.geometry",
            "tubepet.phantom.maps",
            "tubepet.phantom.parts",
            "tubepet.phantom.picture",
        ),
    script:
        "../scripts/make_phantom.py"


rule collect_phantoms:
    """One row per tube."""
    input:
        truths=expand("results/phantom/{tube}/truth.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        table="results/phantom/phantoms.parquet",
    log:
        "logs/collect_phantoms.log",
    benchmark:
        "results/benchmarks/collect_phantoms.tsv"
    localrule: True
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        truths=all_tubes("results/phantom/{tube}/truth.json"),
        code=code_digest("tubepet.phantom.maps"),
    script:
        "../scripts/collect_phantoms.py"
