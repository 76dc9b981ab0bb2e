# 13 validate. Beside the flow: proof of both engines and of the reconstruction against what is known without
# them. The default run asks for one case of validate_transport; the targets validate, validate_gate,
# validate_images and validate_defects ask for the rest.


rule validate_transport:
    """Compare GATE and the fast engine on one tube; stops a run by the fast one if they disagree."""
    input:
        labels=validation_tube("labels"),
        activity=validation_tube("activity"),
        g4data=rules.prepare_g4data.output.facts,
        g4data_folder=rules.prepare_g4data.output.folder,
    output:
        verdict="results/validate/transport/{case}.json",
        figure=report(
            "results/validate/transport/{case}.png",
            category="13 Validate",
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


rule validate_physics:
    """GATE against NIST, solid angle, resolutions and count rates (about a minute; target validate_gate)."""
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


rule validate_reconstruction:
    """Resolution, image quality, bores and pits with known answers (target validate_images)."""
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
    """Contrast to noise of defects by algorithm, iterations and filter, and by attenuation map (target validate_defects)."""
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
    """GATE against the fast engine in full: a million decays each, some minutes."""
    input:
        expand(
            "results/validate/transport/full_{case}.json",
            case=["tube_0000", "tube_0001", "tube_0005", "tube_0005_asymmetric"],
        ),


rule validate_gate:
    """GATE's physics against what is known without it."""
    input:
        rules.validate_physics.output,


rule validate_images:
    """The reconstruction against phantoms with known answers: seven minutes."""
    input:
        rules.validate_reconstruction.output,


rule validate_defects:
    """Which image shows defects best, and what the truth's attenuation gives away: half an hour."""
    input:
        rules.validate_detection.output,
