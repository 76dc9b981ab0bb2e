# 10 inspect. From the coincidences and the drawing of every tube to a verdict, with no image between them.
# Nothing of the true defect is used but by collect_inspections, which judges.


rule inspect_tube:
    """Is there a defect in one tube, where, how large, how sure."""
    input:
        coincidences="results/simulate/{tube}/coincidences.root",
        stats="results/simulate/{tube}/stats.json",
        truth="results/phantom/{tube}/truth.json",
        mu="results/phantom/{tube}/mu_nominal.nii.gz",
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
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
            "tubepet.inspect.verdict",
            "tubepet.inspect.figures",
        ),
    script:
        "../scripts/inspect_tube.py"


rule collect_inspections:
    """Verdicts of all tubes beside what was there; with shards, of the first tube only."""
    input:
        verdicts=expand(rules.inspect_tube.output.verdict, tube=SINGLE_TUBES),
        truths=expand("results/phantom/{tube}/truth.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        table="results/inspect/verdicts.csv",
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
        code=code_digest("tubepet.inspect.judge", "tubepet.inspect.figures"),
    script:
        "../scripts/collect_inspections.py"
