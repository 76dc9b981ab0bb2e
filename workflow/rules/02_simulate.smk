# 02 simulate. Needs labels and activity of each tube; makes coincidences by GATE or the fast engine, and counts.
# Steps: data tables for Geant4, two acquisitions of each tube (the second long, with decays of its own), one of the
# calibration source, one table.


rule prepare_g4data:
    """Find the official Geant4 tables, or compute the substitute."""
    output:
        facts="results/simulate/g4data.json",
        folder=directory("results/simulate/g4data"),
    log:
        "logs/prepare_g4data.log",
    benchmark:
        "results/benchmarks/prepare_g4data.tsv"
    cache: IS_CACHING
    localrule: True
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        choice=config["simulate"]["g4_data"],
        official_dir=config["simulate"]["g4_data_dir"],
        official=outside.at_planning(outside.official_tables, config["simulate"]),
        code=code_digest("tubepet.simulate.geant4.em_tables"),
    script:
        "../scripts/prepare_g4data.py"


rule simulate_tube:
    """Simulate the acquisition of one tube."""
    input:
        labels="results/phantom/{tube}/labels.nii.gz",
        activity="results/phantom/{tube}/activity.nii.gz",
        truth="results/phantom/{tube}/truth.json",
        g4data="results/simulate/g4data.json",
        g4data_folder="results/simulate/g4data",
    output:
        coincidences="results/simulate/{tube}/coincidences.root",
        stats="results/simulate/{tube}/stats.json",
    log:
        "logs/simulate_tube/{tube}.log",
    benchmark:
        "results/benchmarks/simulate_tube/{tube}.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=120,
    params:
        seed=config["seed"],
        scanner=config["scanner"],
        efficiencies=outside.at_planning(outside.efficiencies, config["scanner"]),
        stream="simulate",
        duration_s=config["protocol"]["duration_s"],
        engine=config["simulate"]["engine"],
        physics_list=config["simulate"]["physics_list"],
        geometry=config["simulate"]["geometry"],
        particle=config["simulate"]["source"],
        isotope=config["simulate"]["isotope"],
        delay_ns=config["simulate"]["delay_ns"],
        device=config["simulate"]["device"],
        lutetium=config["simulate"]["lutetium"],
        code=code_digest(
            "tubepet.rng",
            "tubepet.simulate.engines",
            "tubepet.simulate.sources",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/simulate_tube.py"


use rule simulate_tube as simulate_reference with:
    output:
        coincidences=temp("results/simulate/{tube}/reference/coincidences.root"),
        stats="results/simulate/{tube}/reference/stats.json",
    log:
        "logs/simulate_reference/{tube}.log",
    benchmark:
        "results/benchmarks/simulate_reference/{tube}.tsv"
    resources:
        mem_mb=memory(2000),
        runtime=600,
    params:
        stream="reference",
        duration_s=config["protocol"]["reference_duration_s"],


rule simulate_calibration:
    """Simulate a uniform cylinder of known activity in air, for the scanner's absolute efficiency."""
    input:
        g4data=rules.prepare_g4data.output.facts,
        g4data_folder=rules.prepare_g4data.output.folder,
    output:
        coincidences="results/simulate/calibration/coincidences.root",
        stats="results/simulate/calibration/stats.json",
    log:
        "logs/simulate_calibration.log",
    benchmark:
        "results/benchmarks/simulate_calibration.tsv"
    cache: IS_CACHING
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=120,
    params:
        seed=config["seed"],
        scanner=config["scanner"],
        efficiencies=outside.at_planning(outside.efficiencies, config["scanner"]),
        engine=config["simulate"]["engine"],
        physics_list=config["simulate"]["physics_list"],
        delay_ns=config["simulate"]["delay_ns"],
        device=config["simulate"]["device"],
        decays=config["simulate"]["calibration_decays"],
        image=section_keys("reconstruct", IMAGE_KEYS),
        code=code_digest(
            "tubepet.rng",
            "tubepet.simulate.engines",
            "tubepet.simulate.sources",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/simulate_calibration.py"


rule collect_counts:
    """One row of counts per tube."""
    input:
        stats=expand("results/simulate/{tube}/stats.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        table="results/simulate/counts.csv",
    log:
        "logs/collect_counts.log",
    benchmark:
        "results/benchmarks/collect_counts.tsv"
    localrule: True
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        stats=all_tubes("results/simulate/{tube}/stats.json"),
        code=code_digest("tubepet.simulate.coincidences"),
    script:
        "../scripts/collect_counts.py"
