# 14 observers. A side chain (target observers, not part of the default run). An observer decides whether a part has
# a defect. Parts are drawn for it, half of them clean. All get images, those that are judged get inspections too.
# Networks and Hotelling observers learn from training parts. All are judged on the same test parts, beside the limit of
# an observer that knows shape and place.

OBSERVED = observers.batches(config["observers"])
ARMS = observers.arms(config["observers"])
HOTELLING = observers.HOTELLING


rule observe_parts:
    """Simulate some parts and make their images; inspect those that are judged."""
    input:
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        volumes="results/observers/{batch}/volumes.npy",
        table="results/observers/{batch}/parts.csv",
    log:
        "logs/observe_parts/{batch}.log",
    benchmark:
        "results/benchmarks/observe_parts/{batch}.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        scanner=config["scanner"],
        efficiencies=rules.pod_batch.params.efficiencies,
        duration_s=config["protocol"]["duration_s"],
        defects=config["pod"]["defects"],
        bench=rules.pod_batch.params.bench,
        mlem=section_keys("reconstruct", MLEM_KEYS),
        code=code_digest("tubepet.observers.volumes", "tubepet.observers.reality"),
    script:
        "../scripts/observe_parts.py"


rule train_inspector:
    """Train a network that marks defects on the training parts, and score the others."""
    input:
        volumes=expand(rules.observe_parts.output.volumes, batch=OBSERVED),
        tables=expand(rules.observe_parts.output.table, batch=OBSERVED),
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        weights="results/observers/{arm}/network.safetensors",
        scores="results/observers/{arm}/scores.csv",
    log:
        "logs/train_inspector/{arm}.log",
    benchmark:
        "results/benchmarks/train_inspector/{arm}.tsv"
    wildcard_constraints:
        arm="|".join(ARMS),
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=240,
    params:
        arm=observers.by_arm(ARMS),
        num_steps=config["observers"]["num_steps"],
        seed=config["seed"],
        image=section_keys(
            "reconstruct",
            "num_pixels pixel_mm num_slices slice_mm psf_fwhm_mm filter_fwhm_mm num_iterations num_subsets",
        ),
        phantom=phantom_ranges(),
        code=code_digest(
            "tubepet.observers.learned",
            "tubepet.observers.generated",
            "tubepet.observers.design",
            "tubepet.reconstruct.read",
        ),
    script:
        "../scripts/train_inspector.py"


rule fit_hotelling:
    """Fit a channelised Hotelling observer, with or without the drawing, and score parts."""
    input:
        volumes=expand(rules.observe_parts.output.volumes, batch=OBSERVED),
        tables=expand(rules.observe_parts.output.table, batch=OBSERVED),
    output:
        scores="results/observers/{arm}/scores.csv",
    log:
        "logs/fit_hotelling/{arm}.log",
    benchmark:
        "results/benchmarks/fit_hotelling/{arm}.tsv"
    wildcard_constraints:
        arm="|".join(HOTELLING),
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        has_drawing=HOTELLING,
        code=code_digest("tubepet.observers.hotelling", "tubepet.observers.design"),
    script:
        "../scripts/fit_hotelling.py"


rule collect_observers:
    """Compare AUC and detection of all observers on the same test parts."""
    input:
        tables=expand(rules.observe_parts.output.table, batch=OBSERVED),
        scores=expand("results/observers/{arm}/scores.csv", arm=[*ARMS, *HOTELLING]),
    output:
        parts="results/observers/parts.csv",
        facts="results/observers/observers.json",
        figure=report(
            "results/observers/observers.png",
            category="10 Inspect",
            caption="../report/collect_observers.rst",
            labels={"tube": "all", "figure": "observers"},
        ),
    log:
        "logs/collect_observers.log",
    benchmark:
        "results/benchmarks/collect_observers.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=15,
    params:
        names=[*ARMS, *HOTELLING],
        train_parts=config["observers"]["train_parts"],
        false_call_rate=config["observers"]["false_call_rate"],
        seed=config["seed"],
        code=code_digest("tubepet.observers.compare", "tubepet.observers.figures"),
    script:
        "../scripts/collect_observers.py"
