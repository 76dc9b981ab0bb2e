# 09 enhance. A side chain (target enhance, not part of the default run): tubes of its own, each with one
# acquisition, of which the first part gives the noisy image and the rest the clean one; networks that
# learn one from the other on training tubes; their judgement on test tubes beside classical filters.


use rule simulate_tube as simulate_pair with:
    output:
        coincidences=temp("results/enhance/{tube}/coincidences.root"),
        stats="results/enhance/{tube}/stats.json",
    log:
        "logs/simulate_pair/{tube}.log",
    benchmark:
        "results/benchmarks/simulate_pair/{tube}.tsv"
    params:
        duration_s=config["enhance"]["short_s"] + config["enhance"]["long_s"],


rule reconstruct_pair:
    """Images of the short and of the long part of one acquisition, which share no event."""
    input:
        coincidences=rules.simulate_pair.output.coincidences,
        stats=rules.simulate_pair.output.stats,
        mu=ATTENUATION,
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        short="results/enhance/{tube}/short.nii.gz",
        long="results/enhance/{tube}/long.nii.gz",
    log:
        "logs/reconstruct_pair/{tube}.log",
    benchmark:
        "results/benchmarks/reconstruct_pair/{tube}.tsv"
    priority: 1  # before the next simulation: coincidences of a long acquisition are large
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        scanner=config["scanner"],
        short_s=config["enhance"]["short_s"],
        long_s=config["enhance"]["long_s"],
        attenuation=config["reconstruct"]["attenuation"],
        background=config["reconstruct"]["background"],
        mlem=rules.reconstruct_tube.params.mlem,
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.reconstruct.image",
        ),
    script:
        "../scripts/reconstruct_pair.py"


rule collect_pairs:
    """Slices of both images of all tubes, row by row the same, split by tube."""
    input:
        short=expand(rules.reconstruct_pair.output.short, tube=PAIR_TUBES),
        long=expand(rules.reconstruct_pair.output.long, tube=PAIR_TUBES),
        truths=expand("results/phantom/{tube}/truth.json", tube=PAIR_TUBES),
    output:
        short="results/enhance/short.npy",
        long="results/enhance/long.npy",
        table="results/enhance/pairs.parquet",
        info="results/enhance/pairs.json",
    log:
        "logs/collect_pairs.log",
    benchmark:
        "results/benchmarks/collect_pairs.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        seed=config["seed"],
        split=config["enhance"]["split"],
        slice_margin_mm=config["reconstruct"]["slice_margin_mm"],
        scale_quantile=config["reconstruct"]["scale_quantile"],
        code=code_digest("tubepet.enhance.pairs"),
    script:
        "../scripts/collect_pairs.py"


rule train_enhancer:
    """Train one network, at the same number of operations as the plain one."""
    input:
        **dict(rules.collect_pairs.output.items()),
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
        mem_mb=memory(2000),
        runtime=240,
    params:
        seed=config["seed"],
        settings=section_keys(
            "enhance", "channels num_steps batch_size learning_rate adversarial_weight"
        ),
        scanner=config["scanner"],
        protocol=section_keys("protocol", "activity_bq per")
        | section_keys("enhance", "short_s long_s"),
        image=section_keys(
            "reconstruct",
            "num_pixels num_iterations num_subsets filter_fwhm_mm algorithm prior_strength stopping psf tof",
        ),
        code=code_digest("tubepet.enhance.train", "tubepet.enhance.trained"),
    script:
        "../scripts/train_enhancer.py"


rule evaluate_enhancers:
    """PSNR, SSIM and total activity on test tubes, beside filters tuned on validation tubes."""
    input:
        **dict(rules.collect_pairs.output.items()),
        weights=expand(rules.train_enhancer.output.weights, network=ENHANCERS),
        infos=expand(rules.train_enhancer.output.info, network=ENHANCERS),
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
        mem_mb=memory(2000),
        runtime=60,
    params:
        seed=config["seed"],
        names=ENHANCERS,
        durations_s=[config["enhance"]["short_s"], config["enhance"]["long_s"]],
        code=code_digest("tubepet.enhance.evaluate", "tubepet.enhance.figures"),
    script:
        "../scripts/evaluate_enhancers.py"
