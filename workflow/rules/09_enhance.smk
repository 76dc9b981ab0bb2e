# 09 enhance. Needs two images of every tube, of a short and of a long acquisition; makes networks that learn on training
# tubes to turn the short one into the long one, and compares both on test tubes. Steps: slices of the long images, a network,
# a table and the picture "one to one". Target enhance (not part of the default run): all networks against classical filters,
# a reconstruction with a prior, a network in the iterations, and a decoder that learns from nothing but the image.

OTHER_ENHANCERS = ["map_rdp", "iterated", "zero_shot"]


rule collect_references:
    """Cut the long images into slices, in the order of the data set's rows."""
    input:
        references=expand(
            "results/reconstruct/{tube}/reference.nii.gz", tube=SINGLE_TUBES
        ),
        shards=MANIFESTS,
        slices=rules.collect_slices.output.slices,
        table=rules.collect_slices.output.table,
        info=rules.collect_slices.output.info,
    output:
        long="results/enhance/long.npy",
        info="results/enhance/pairs.json",
    log:
        "logs/collect_references.log",
    benchmark:
        "results/benchmarks/collect_references.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        references=all_tubes("results/reconstruct/{tube}/reference.nii.gz"),
        scale_quantile=config["reconstruct"]["scale_quantile"],
        code=code_digest("tubepet.enhance.pairs"),
    script:
        "../scripts/collect_references.py"


rule train_enhancer:
    """Train one network, with as many operations as the plain one."""
    input:
        short=rules.collect_slices.output.slices,
        long=rules.collect_references.output.long,
        table=rules.collect_slices.output.table,
        info=rules.collect_references.output.info,
    output:
        weights="results/enhance/{network}/network.safetensors",
        info="results/enhance/{network}/network.json",
        log="results/enhance/{network}/log.csv",
    log:
        "logs/train_enhancer/{network}.log",
    benchmark:
        "results/benchmarks/train_enhancer/{network}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000 + 2 * images_mb(MOST_SLICES)),
        runtime=240,
    params:
        seed=config["seed"],
        settings=config["enhance"],
        scanner=config["scanner"],
        protocol=config["protocol"],
        image=section_keys(
            "reconstruct",
            "num_pixels num_iterations num_subsets filter_fwhm_mm algorithm prior_strength stopping psf tof",
        ),
        code=code_digest("tubepet.enhance.train", "tubepet.enhance.trained"),
    script:
        "../scripts/train_enhancer.py"


rule compare_one_to_one:
    """Compare drawing, short, enhanced and long image and indications of test tubes, also in numbers."""
    input:
        short=rules.collect_slices.output.slices,
        long=rules.collect_references.output.long,
        table=rules.collect_slices.output.table,
        info=rules.collect_references.output.info,
        defect=rules.label_slices.output.defect,
        weights="results/enhance/plain/network.safetensors",
        facts="results/enhance/plain/network.json",
        verdicts="results/inspect/verdicts.csv",
        found=expand("results/inspect/{tube}/verdict.json", tube=SINGLE_TUBES),
        maps=expand("results/inspect/{tube}/map.nii.gz", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        table="results/enhance/one_to_one.csv",
        figure=report(
            "results/enhance/one_to_one.png",
            category="9 Enhance",
            caption="../report/compare_one_to_one.rst",
            labels={"what": "short, enhanced and long images, one to one"},
        ),
    log:
        "logs/compare_one_to_one.log",
    benchmark:
        "results/benchmarks/compare_one_to_one.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000 + 2 * images_mb(MOST_SLICES)),
        runtime=60,
    params:
        truths=all_tubes("results/phantom/{tube}/truth.json"),
        tubes=TUBES,
        found=all_tubes("results/inspect/{tube}/verdict.json"),
        maps=all_tubes("results/inspect/{tube}/map.nii.gz"),
        phantom=phantom_ranges(),
        durations_s=[
            config["protocol"]["duration_s"],
            config["protocol"]["reference_duration_s"],
        ],
        code=code_digest("tubepet.enhance.one_to_one", "tubepet.enhance.figures"),
    script:
        "../scripts/compare_one_to_one.py"


# What methods need that make images of the short acquisitions again.
SHORT_FILES = {
    "short": rules.collect_slices.output.slices,
    "long": rules.collect_references.output.long,
    "table": rules.collect_slices.output.table,
    "info": rules.collect_references.output.info,
    "coincidences": expand(
        "results/simulate/{tube}/coincidences.root", tube=SINGLE_TUBES
    ),
    "shards": MANIFESTS,
    "calibration": rules.calibrate_scanner.output.calibration,
    "sensitivity": rules.compute_sensitivity.output.sensitivity,
    "resolution": rules.calibrate_resolution.output.resolution,
}
SHORT_PARAMS = {
    "scanner": config["scanner"],
    "duration_s": config["protocol"]["duration_s"],
    "background": config["reconstruct"]["background"],
    "mlem": section_keys("reconstruct", MLEM_KEYS),
    "acquisitions": {
        tube: {
            "coincidences": f"results/simulate/{tube}/coincidences.root",
            "stats": f"results/simulate/{tube}/stats.json",
            "mu": ATTENUATION(SimpleNamespace(tube=tube)),
        }
        for tube in TUBES
    },
}


rule enhance_with_prior:
    """Reconstruct validation and test tubes with a relative difference prior."""
    input:
        **SHORT_FILES,
    output:
        slices="results/enhance/map_rdp/slices.npy",
        facts="results/enhance/map_rdp/facts.json",
    log:
        "logs/enhance_with_prior.log",
    benchmark:
        "results/benchmarks/enhance_with_prior.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000 + 2 * images_mb(MOST_SLICES)),
        runtime=600,
    params:
        **SHORT_PARAMS,
        code=code_digest(
            "tubepet.enhance.penalised",
            "tubepet.enhance.shorts",
            "tubepet.enhance.evaluate",
        ),
    script:
        "../scripts/enhance_with_prior.py"


rule enhance_in_iterations:
    """Reconstruct validation and test tubes with a network in the iterations."""
    input:
        **SHORT_FILES,
        weights="results/enhance/attention_gan/network.safetensors",
        network="results/enhance/attention_gan/network.json",
    output:
        slices="results/enhance/iterated/slices.npy",
        facts="results/enhance/iterated/facts.json",
    log:
        "logs/enhance_in_iterations.log",
    benchmark:
        "results/benchmarks/enhance_in_iterations.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000 + 2 * images_mb(MOST_SLICES)),
        runtime=600,
    params:
        **SHORT_PARAMS,
        code=code_digest(
            "tubepet.enhance.iterated",
            "tubepet.enhance.shorts",
            "tubepet.enhance.evaluate",
        ),
    script:
        "../scripts/enhance_in_iterations.py"


rule enhance_zero_shot:
    """Denoise validation and test tubes, each from itself alone."""
    input:
        short=rules.collect_slices.output.slices,
        long=rules.collect_references.output.long,
        table=rules.collect_slices.output.table,
        info=rules.collect_references.output.info,
    output:
        slices="results/enhance/zero_shot/slices.npy",
        facts="results/enhance/zero_shot/facts.json",
    log:
        "logs/enhance_zero_shot.log",
    benchmark:
        "results/benchmarks/enhance_zero_shot.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000 + 2 * images_mb(MOST_SLICES)),
        runtime=600,
    params:
        seed=config["seed"],
        code=code_digest("tubepet.enhance.zero_shot", "tubepet.enhance.evaluate"),
    script:
        "../scripts/enhance_zero_shot.py"


rule evaluate_enhancers:
    """Measure PSNR, SSIM, MS-SSIM and activity on test tubes, beside filters tuned on validation tubes."""
    input:
        short=rules.collect_slices.output.slices,
        long=rules.collect_references.output.long,
        table=rules.collect_slices.output.table,
        info=rules.collect_references.output.info,
        weights=expand(rules.train_enhancer.output.weights, network=ENHANCERS),
        infos=expand(rules.train_enhancer.output.info, network=ENHANCERS),
        slices=expand("results/enhance/{other}/slices.npy", other=OTHER_ENHANCERS),
        facts=expand("results/enhance/{other}/facts.json", other=OTHER_ENHANCERS),
    output:
        metrics="results/enhance/metrics.json",
        table="results/enhance/table.csv",
        figure="results/enhance/figure.png",
    log:
        "logs/evaluate_enhancers.log",
    benchmark:
        "results/benchmarks/evaluate_enhancers.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000 + 2 * images_mb(MOST_SLICES)),
        runtime=120,
    params:
        seed=config["seed"],
        names=ENHANCERS,
        others=OTHER_ENHANCERS,
        durations_s=rules.compare_one_to_one.params.durations_s,
        code=code_digest("tubepet.enhance.evaluate", "tubepet.enhance.figures"),
    script:
        "../scripts/evaluate_enhancers.py"
