# 15 reality. A side chain (target few_real, not part of the default run). Reality is declared: a scanner with other
# crystals, positrons, 176Lu, parts beside their place. Networks learn from few of its parts, from simulated ones, from
# both, or from images that a surrogate makes. All are judged on the same parts of reality, as in stage 14.

REALITY_ARMS = reality.arms(config["reality"])


rule declare_reality:
    """Draw the crystals of the real scanner."""
    output:
        efficiencies="results/reality/efficiencies.csv",
    log:
        "logs/declare_reality.log",
    benchmark:
        "results/benchmarks/declare_reality.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        scanner=config["scanner"],
        reality=section_keys(
            "reality", "efficiency_spread dead_share shift_mm source lutetium"
        ),
        seed=config["seed"],
        code=code_digest("tubepet.observers.reality"),
    script:
        "../scripts/declare_reality.py"


use rule observe_parts as make_parts with:
    input:
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
        efficiencies=reality.where_real(rules.declare_reality.output.efficiencies, []),
    output:
        volumes="results/reality/{batch}/volumes.npy",
        table="results/reality/{batch}/parts.csv",
    log:
        "logs/make_parts/{batch}.log",
    benchmark:
        "results/benchmarks/make_parts/{batch}.tsv"
    params:
        reality=reality.where_real(rules.declare_reality.params.reality, {}),


rule train_on_reality:
    """Train networks on the parts of one arm, and score those that are judged."""
    input:
        volumes=expand(
            rules.make_parts.output.volumes, batch=reality.batches(config["reality"])
        ),
        tables=expand(
            rules.make_parts.output.table, batch=reality.batches(config["reality"])
        ),
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        scores="results/reality/{arm}/scores.csv",
    log:
        "logs/train_on_reality/{arm}.log",
    benchmark:
        "results/benchmarks/train_on_reality/{arm}.tsv"
    wildcard_constraints:
        arm="|".join(REALITY_ARMS),
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=240,
    params:
        arm=observers.by_arm(REALITY_ARMS),
        training=section_keys("reality", "num_networks num_steps"),
        seed=config["seed"],
        image=rules.train_inspector.params.image,
        phantom=phantom_ranges(),
        code=code_digest(
            "tubepet.observers.few_real",
            "tubepet.observers.design",
            "tubepet.observers.reality",
            "tubepet.reconstruct.read",
        ),
    script:
        "../scripts/train_on_reality.py"


rule collect_reality:
    """Compare what the networks found on the same parts of reality."""
    input:
        tables=expand(
            rules.make_parts.output.table, batch=reality.batches(config["reality"])
        ),
        scores=expand(rules.train_on_reality.output.scores, arm=REALITY_ARMS),
    output:
        parts="results/reality/parts.csv",
        facts="results/reality/reality.json",
        figure=report(
            "results/reality/reality.png",
            category="10 Inspect",
            caption="../report/collect_reality.rst",
            labels={"tube": "all", "figure": "few real parts"},
        ),
    log:
        "logs/collect_reality.log",
    benchmark:
        "results/benchmarks/collect_reality.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=15,
    params:
        arms=REALITY_ARMS,
        reference=reality.reference(config["reality"]),
        false_call_rate=config["observers"]["false_call_rate"],
        seed=config["seed"],
        code=code_digest("tubepet.observers.compare", "tubepet.observers.figures"),
    script:
        "../scripts/collect_reality.py"
