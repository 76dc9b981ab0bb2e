# 14 observers. A side chain (target observers, not part of the default run): parts drawn for it, half of them
# clean; their images and, of those that are judged, their inspections; networks and channels that learn from
# training parts; all of them judged on the same test parts, beside the limit.


rule observe_parts:
    """Images of some parts, and verdicts on those that are judged."""
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
        phantom=phantom_ranges(),
        protocol=section_keys("protocol", "activity_bq per"),
        duration_s=config["protocol"]["duration_s"],
        pod=section_keys("pod", "defects defect_size_mm"),
        source=rules.pod_batch.params.source,
        background=config["reconstruct"]["background"],
        stride=config["reconstruct"]["sensitivity_stride"],
        mlem=section_keys("reconstruct", MLEM_KEYS),
        false_call_rate=config["inspect"]["false_call_rate"],
        seed=config["seed"],
        code=code_digest("tubepet.observers.volumes"),
    script:
        "../scripts/observe_parts.py"
