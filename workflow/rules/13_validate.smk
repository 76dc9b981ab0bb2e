# 13 validate. Needs little of the other stages; checks both engines and the reconstruction against what is known
# without them. The default run asks for validate_transport on few cases; the targets validate, validate_gate,
# validate_images and validate_defects ask for the rest.


rule compare_engines:
    """Simulate one case with GATE and with the fast engine; the case is drawn by its name and the run's seed."""
    input:
        g4data=rules.prepare_g4data.output.facts,
        g4data_folder=rules.prepare_g4data.output.folder,
    output:
        result="results/validate/transport/cases/{case}.json",
    log:
        "logs/compare_engines/{case}.log",
    benchmark:
        "results/benchmarks/compare_engines/{case}.tsv"
    wildcard_constraints:
        case=r"(run|full)_\d+",
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
        physics_list=config["simulate"]["physics_list"],
        delay_ns=config["simulate"]["delay_ns"],
        device=config["simulate"]["device"],
        decays=config["simulate"]["validation_decays"],
        code=code_digest(
            "tubepet.rng",
            "tubepet.validate.transport",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/compare_engines.py"


rule validate_transport:
    """Judge the fast engine against GATE over all cases; if they disagree, a run by the fast one stops."""
    input:
        results=validation_cases,
    output:
        verdict="results/validate/transport/{scope}.json",
        figure=report(
            "results/validate/transport/{scope}.png",
            category="13 Validate",
            caption="../report/validate_transport.rst",
            labels={"cases": "{scope}", "figure": "GATE and fast engine"},
        ),
    log:
        "logs/validate_transport/{scope}.log",
    benchmark:
        "results/benchmarks/validate_transport/{scope}.tsv"
    wildcard_constraints:
        scope="run|full",
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=5,
    params:
        engine=config["simulate"]["engine"],
        code=code_digest("tubepet.validate.transport_figures"),
    script:
        "../scripts/validate_transport.py"


rule validate_physics:
    """Compare GATE with NIST, ESTAR, solid angle, resolutions, rates and a real scanner (target validate_gate)."""
    input:
        g4data=rules.prepare_g4data.output.facts,
        g4data_folder=rules.prepare_g4data.output.folder,
    output:
        facts="results/validate/physics/physics.json",
        attenuation=report(
            "results/validate/physics/attenuation.png",
            category="13 Validate",
            caption="../report/validate_physics_attenuation.rst",
            labels={"what": "GATE: attenuation"},
        ),
        sensitivity=report(
            "results/validate/physics/sensitivity.png",
            category="13 Validate",
            caption="../report/validate_physics_sensitivity.rst",
            labels={"what": "GATE: sensitivity"},
        ),
        energy=report(
            "results/validate/physics/energy.png",
            category="13 Validate",
            caption="../report/validate_physics_energy.rst",
            labels={"what": "GATE: energy spectrum"},
        ),
        time=report(
            "results/validate/physics/time.png",
            category="13 Validate",
            caption="../report/validate_physics_time.rst",
            labels={"what": "GATE: time spectrum"},
        ),
        rates=report(
            "results/validate/physics/rates.png",
            category="13 Validate",
            caption="../report/validate_physics_rates.rst",
            labels={"what": "GATE: scatter fraction and NECR"},
        ),
        photons=report(
            "results/validate/physics/photons.png",
            category="13 Validate",
            caption="../report/validate_physics_photons.rst",
            labels={"what": "GATE: photon cross sections"},
        ),
        electrons=report(
            "results/validate/physics/electrons.png",
            category="13 Validate",
            caption="../report/validate_physics_electrons.rst",
            labels={"what": "GATE: electrons"},
        ),
        nema=report(
            "results/validate/physics/nema.png",
            category="13 Validate",
            caption="../report/validate_physics_nema.rst",
            labels={"what": "a real scanner"},
        ),
        official=report(
            "results/validate/physics/official.png",
            category="13 Validate",
            caption="../report/validate_physics_official.rst",
            labels={"what": "GATE: official tables"},
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
        runtime=30,
    params:
        seed=config["seed"],
        scanner=config["scanner"],
        physics_list=config["simulate"]["physics_list"],
        code=code_digest(
            "tubepet.validate.physics",
            "tubepet.validate.physics_figures",
            "tubepet.validate.slab_worker",
            "tubepet.validate.electron_worker",
            "tubepet.simulate.geant4.worker",
        ),
    script:
        "../scripts/validate_physics.py"


rule validate_convergence:
    """Measure GATE's counts by production cut in the crystals (about seven minutes; target validate_gate)."""
    input:
        g4data=rules.prepare_g4data.output.facts,
        g4data_folder=rules.prepare_g4data.output.folder,
    output:
        facts="results/validate/physics/convergence.json",
        figure=report(
            "results/validate/physics/convergence.png",
            category="13 Validate",
            caption="../report/validate_convergence.rst",
            labels={"what": "GATE: production cuts"},
        ),
    log:
        "logs/validate_convergence.log",
    benchmark:
        "results/benchmarks/validate_convergence.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=60,
    params:
        seed=config["seed"],
        scanner=config["scanner"],
        physics_list=config["simulate"]["physics_list"],
        code=code_digest(
            "tubepet.validate.convergence", "tubepet.simulate.geant4.worker"
        ),
    script:
        "../scripts/validate_convergence.py"


rule validate_reconstruction:
    """Measure resolution, image quality, bores and pits with known answers (target validate_images)."""
    input:
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        facts="results/validate/reconstruction/phantoms.json",
        figure=report(
            "results/validate/reconstruction/phantoms.png",
            category="13 Validate",
            caption="../report/validate_reconstruction.rst",
            labels={"tube": "phantoms", "figure": "proof"},
        ),
    log:
        "logs/validate_reconstruction.log",
    benchmark:
        "results/benchmarks/validate_reconstruction.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        scanner=config["scanner"],
        phantom=config["phantom"],
        background=config["reconstruct"]["background"],
        delay_ns=config["simulate"]["delay_ns"],
        mlem=section_keys("reconstruct", MLEM_KEYS),
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.validate.reconstruction",
        ),
    script:
        "../scripts/validate_reconstruction.py"


rule validate_detection:
    """Measure contrast to noise of defects by algorithm, iterations, filter and attenuation map (target validate_defects)."""
    input:
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        ways="results/validate/detection/ways.csv",
        attenuation="results/validate/detection/attenuation.csv",
        figure=report(
            "results/validate/detection/detection.png",
            category="13 Validate",
            caption="../report/validate_detection.rst",
            labels={"tube": "tubes with defects", "figure": "detection"},
        ),
    log:
        "logs/validate_detection.log",
    benchmark:
        "results/benchmarks/validate_detection.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=180,
    params:
        scanner=config["scanner"],
        phantom=config["phantom"],
        background=config["reconstruct"]["background"],
        delay_ns=config["simulate"]["delay_ns"],
        mlem=section_keys("reconstruct", MLEM_KEYS),
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.validate.detection",
        ),
    script:
        "../scripts/validate_detection.py"


rule validate:
    """GATE against the fast engine in full: six cases of two million GATE decays each, a quarter of an hour of CPU."""
    input:
        "results/validate/transport/full.json",


rule validate_gate:
    """GATE's physics against what is known without it."""
    input:
        rules.validate_physics.output,
        rules.validate_convergence.output,


rule validate_images:
    """The reconstruction against phantoms with known answers: seven minutes."""
    input:
        rules.validate_reconstruction.output,


rule validate_defects:
    """Which image shows defects best, and what a map of the true attenuation gives away: half an hour."""
    input:
        rules.validate_detection.output,
