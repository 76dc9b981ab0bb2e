# 02 simulate. Needs labels and activity of each tube; makes coincidences by GATE or the fast engine, and counts.
# Steps: data tables for Geant4, one process per tube, one for the calibration source, one table; and
# the proof that both engines agree.


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
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        choice=config["simulate"]["g4_data"],
        official_dir=config["simulate"]["g4_data_dir"],
        official=official_tables,
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
        duration_s=config["protocol"]["duration_s"],
        engine=config["simulate"]["engine"],
        physics_list=config["simulate"]["physics_list"],
        geometry=config["simulate"]["geometry"],
        particle=config["simulate"]["source"],
        delay_ns=config["simulate"]["delay_ns"],
        device=config["simulate"]["device"],
        code=code_digest(
            "tubepet.rng",
            "tubepet.simulate.engines",
            "tubepet.simulate.sources",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/simulate_tube.py"


rule simulate_calibration:
    """Simulate a uniform cylinder in air, known activity: the scanner's absolute efficiency."""
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
        engine=config["simulate"]["engine"],
        physics_list=config["simulate"]["physics_list"],
        delay_ns=config["simulate"]["delay_ns"],
        device=config["simulate"]["device"],
        decays=config["simulate"]["calibration_decays"],
        image={
            key: config["reconstruct"][key]
            for key in ("num_pixels", "pixel_mm", "num_slices", "slice_mm")
        },
        code=code_digest(
            "tubepet.rng",
            "tubepet.simulate.engines",
            "tubepet.simulate.sources",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/simulate_calibration.py"


rule validate_physics:
    """GATE against NIST, solid angle, resolutions and count rates (about a minute; target validate_gate)."""
    input:
        g4data=rules.prepare_g4data.output.facts,
        g4data_folder=rules.prepare_g4data.output.folder,
    output:
        facts="results/simulate/physics/physics.json",
        attenuation=report(
            "results/simulate/physics/attenuation.png",
            category="2 Simulate",
            caption="../report/validate_physics_attenuation.rst",
            labels={"what": "GATE: attenuation"},
        ),
        sensitivity=report(
            "results/simulate/physics/sensitivity.png",
            category="2 Simulate",
            caption="../report/validate_physics_sensitivity.rst",
            labels={"what": "GATE: sensitivity"},
        ),
        energy=report(
            "results/simulate/physics/energy.png",
            category="2 Simulate",
            caption="../report/validate_physics_energy.rst",
            labels={"what": "GATE: energy spectrum"},
        ),
        time=report(
            "results/simulate/physics/time.png",
            category="2 Simulate",
            caption="../report/validate_physics_time.rst",
            labels={"what": "GATE: time spectrum"},
        ),
        rates=report(
            "results/simulate/physics/rates.png",
            category="2 Simulate",
            caption="../report/validate_physics_rates.rst",
            labels={"what": "GATE: scatter fraction and NECR"},
        ),
    log:
        "logs/validate_physics.log",
    benchmark:
        "results/benchmarks/validate_physics.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=15,
    params:
        seed=config["seed"],
        scanner=config["scanner"],
        physics_list=config["simulate"]["physics_list"],
        code=code_digest(
            "tubepet.validate.physics",
            "tubepet.validate.physics_figures",
            "tubepet.validate.slab_worker",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/validate_physics.py"


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
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        stats=expand("results/simulate/{tube}/stats.json", tube=TUBES),
        code=code_digest("tubepet.simulate.coincidences"),
    script:
        "../scripts/collect_counts.py"


rule validate_transport:
    """Compare GATE and the fast engine on one tube; stops a run by the fast one if they disagree."""
    input:
        labels=validation_tube("labels"),
        activity=validation_tube("activity"),
        g4data=rules.prepare_g4data.output.facts,
        g4data_folder=rules.prepare_g4data.output.folder,
    output:
        verdict="results/simulate/validation/{case}.json",
        figure=report(
            "results/simulate/validation/{case}.png",
            category="2 Simulate",
            caption="../report/validate_transport.rst",
            labels={"case": "{case}", "figure": "GATE and fast engine"},
        ),
    log:
        "logs/validate_transport/{case}.log",
    benchmark:
        "results/benchmarks/validate_transport/{case}.tsv"
    wildcard_constraints:
        case=r"(full_)?tube_\d+(_asymmetric)?",
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=120,
    params:
        seed=config["seed"],
        scanner=config["scanner"],
        engine=config["simulate"]["engine"],
        physics_list=config["simulate"]["physics_list"],
        delay_ns=config["simulate"]["delay_ns"],
        device=config["simulate"]["device"],
        decays=validation_decays,
        code=code_digest(
            "tubepet.rng",
            "tubepet.validate.transport_figures",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/validate_transport.py"
