# 10 inspect. Needs coincidences and drawing of every tube; makes a verdict on it, without an image. Only
# collect_inspections, which judges the verdicts, uses the true defects. Target pod (not part of the default run): the same
# for many further parts of each class, simulated by the fast engine, and how often their defects are found.


rule inspect_tube:
    """Tell whether one tube has a defect, where, how large, and how sure this is."""
    input:
        coincidences="results/simulate/{tube}/coincidences.root",
        stats="results/simulate/{tube}/stats.json",
        truth="results/phantom/{tube}/truth.json",
        mu="results/phantom/{tube}/mu_nominal.nii.gz",
        calibration="results/reconstruct/calibration.json",
        sensitivity="results/reconstruct/sensitivity.nii.gz",
        resolution="results/reconstruct/resolution.json",
    output:
        verdict="results/inspect/{tube}/verdict.json",
        map="results/inspect/{tube}/map.nii.gz",
        figure=report(
            "results/inspect/{tube}/map.png",
            category="10 Inspect",
            caption="../report/inspect_tube.rst",
            labels={"tube": "{tube}", "figure": "verdict"},
        ),
    log:
        "logs/inspect_tube/{tube}.log",
    benchmark:
        "results/benchmarks/inspect_tube/{tube}.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=30,
    params:
        scanner=config["scanner"],
        phantom=phantom_ranges(),
        duration_s=config["protocol"]["duration_s"],
        background=config["reconstruct"]["background"],
        stride=config["reconstruct"]["sensitivity_stride"],
        false_call_rate=config["inspect"]["false_call_rate"],
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.inspect.setup",
            "tubepet.inspect.verdict",
            "tubepet.inspect.figures",
        ),
    script:
        "../scripts/inspect_tube.py"


rule collect_inspections:
    """Compare the verdicts on all tubes with the truth."""
    input:
        verdicts=expand(rules.inspect_tube.output.verdict, tube=SINGLE_TUBES),
        truths=expand("results/phantom/{tube}/truth.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        table="results/inspect/verdicts.csv",
        classes="results/inspect/classes.csv",
        figure=report(
            "results/inspect/verdicts.png",
            category="10 Inspect",
            caption="../report/collect_inspections.rst",
            labels={"tube": "all", "figure": "verdicts"},
        ),
    log:
        "logs/collect_inspections.log",
    benchmark:
        "results/benchmarks/collect_inspections.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        verdicts=all_tubes(rules.inspect_tube.output.verdict),
        truths=all_tubes("results/phantom/{tube}/truth.json"),
        code=code_digest(
            "tubepet.inspect.judge", "tubepet.inspect.figures", "tubepet.pod.table"
        ),
    script:
        "../scripts/collect_inspections.py"


rule pod_batch:
    """Simulate and inspect some parts of one class, which are no tubes of the run."""
    input:
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        table="results/inspect/pod/{duration_s}s/{batch}.csv",
    log:
        "logs/pod_batch/{duration_s}s_{batch}.log",
    benchmark:
        "results/benchmarks/pod_batch/{duration_s}s_{batch}.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        scanner=config["scanner"],
        efficiencies=rules.simulate_tube.params.efficiencies,
        reference_s=config["protocol"]["duration_s"],
        bench={
            "phantom": phantom_ranges(),
            "protocol": section_keys("protocol", "activity_bq per"),
            "source": {
                "particle": config["simulate"]["source"],
                "isotope": config["simulate"]["isotope"],
                "delay_ns": config["simulate"]["delay_ns"],
                "device": config["simulate"]["device"],
                "has_lutetium": config["simulate"]["lutetium"],
            },
            "background": config["reconstruct"]["background"],
            "stride": config["reconstruct"]["sensitivity_stride"],
            "false_call_rate": config["inspect"]["false_call_rate"],
            "seed": config["seed"],
        },
        code=code_digest("tubepet.pod.design", "tubepet.pod.parts"),
    script:
        "../scripts/pod_batch.py"


rule collect_pod:
    """Fit the probability of detection by class and duration; collect all parts."""
    input:
        batches=expand(
            rules.pod_batch.output.table,
            duration_s=[f"{s:g}" for s in config["pod"]["durations_s"]],
            batch=pod.batches(config["pod"]),
        ),
    output:
        parts="results/inspect/pod/parts.csv",
        facts="results/inspect/pod/pod.json",
        figure=report(
            "results/inspect/pod/pod.png",
            category="10 Inspect",
            caption="../report/collect_pod.rst",
            labels={"tube": "all", "figure": "probability of detection"},
        ),
    log:
        "logs/collect_pod.log",
    benchmark:
        "results/benchmarks/collect_pod.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        false_call_rate=config["inspect"]["false_call_rate"],
        code=code_digest("tubepet.pod.table", "tubepet.pod.figures"),
    script:
        "../scripts/collect_pod.py"
