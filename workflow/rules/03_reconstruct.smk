# 03 reconstruct. Needs coincidences and the attenuation map of each tube, and the calibration source;
# makes MLEM images in Bq/mm3 and the slice dataset.
# Steps: detection efficiency, sensitivity over all crystal pairs, resolution, two images per tube,
# slices of all, and what is true in each slice.


rule calibrate_scanner:
    """Fit the absolute detection efficiency to a source of known activity."""
    input:
        coincidences="results/simulate/calibration/coincidences.root",
        stats="results/simulate/calibration/stats.json",
    output:
        calibration="results/reconstruct/calibration.json",
        figure=report(
            "results/reconstruct/calibration.png",
            category="3 Reconstruct",
            caption="../report/calibrate_scanner.rst",
            labels={"tube": "calibration", "figure": "efficiency"},
        ),
    log:
        "logs/calibrate_scanner.log",
    benchmark:
        "results/benchmarks/calibrate_scanner.tsv"
    localrule: True
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=5,
    params:
        scanner=config["scanner"],
        code=code_digest(
            "tubepet.reconstruct.calibration",
            "tubepet.reconstruct.figures",
            "tubepet.reconstruct.background.detection",
            "tubepet.reconstruct.scanner.fingerprint",
            "tubepet.simulate.coincidences",
        ),
    script:
        "../scripts/calibrate_scanner.py"


rule compute_sensitivity:
    """Compute the sensitivity image of all tubes: an exact sum over crystal pairs, no attenuation."""
    input:
        calibration=rules.calibrate_scanner.output.calibration,
    output:
        sensitivity="results/reconstruct/sensitivity.nii.gz",
    log:
        "logs/compute_sensitivity.log",
    benchmark:
        "results/benchmarks/compute_sensitivity.tsv"
    cache: IS_CACHING
    conda:
        "../../envs/reconstruct.yaml"
    threads: 2
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        scanner=config["scanner"],
        image=section_keys("reconstruct", IMAGE_KEYS),
        code=code_digest(
            "tubepet.reconstruct.calibration",
            "tubepet.reconstruct.scanner.fingerprint",
            "tubepet.reconstruct.projection.sensitivity",
        ),
    script:
        "../scripts/compute_sensitivity.py"


rule calibrate_resolution:
    """Fit resolution and counts of lines to points and a cylinder that the fast engine simulates."""
    input:
        calibration=rules.calibrate_scanner.output.calibration,
    output:
        resolution="results/reconstruct/resolution.json",
    log:
        "logs/calibrate_resolution.log",
    benchmark:
        "results/benchmarks/calibrate_resolution.tsv"
    cache: IS_CACHING
    conda:
        "../../envs/simulate.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        scanner=config["scanner"],
        image=image_half_mm(),
        psf=config["reconstruct"]["psf"],
        psf_fwhm_mm=config["reconstruct"]["psf_fwhm_mm"],
        decays=config["simulate"]["calibration_decays"] // 20,
        single_decays=config["simulate"]["calibration_decays"] // 4,
        line_decays=config["simulate"]["calibration_decays"] * 4,
        delay_ns=config["simulate"]["delay_ns"],
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.calibration",
            "tubepet.reconstruct.scanner.fingerprint",
            "tubepet.reconstruct.scanner.line_factors",
            "tubepet.reconstruct.resolution",
        ),
    script:
        "../scripts/calibrate_resolution.py"


rule reconstruct_tube:
    """Reconstruct one tube from list mode, in Bq/mm3."""
    input:
        coincidences="results/simulate/{tube}/coincidences.root",
        stats="results/simulate/{tube}/stats.json",
        mu=ATTENUATION,
        activity="results/phantom/{tube}/activity.nii.gz",
        calibration="results/reconstruct/calibration.json",
        sensitivity="results/reconstruct/sensitivity.nii.gz",
        resolution="results/reconstruct/resolution.json",
    output:
        image="results/reconstruct/{tube}/image.nii.gz",
        trace="results/reconstruct/{tube}/trace.csv",
        convergence=report(
            "results/reconstruct/{tube}/convergence.png",
            category="3 Reconstruct",
            caption="../report/reconstruct_tube_convergence.rst",
            labels={"tube": "{tube}", "figure": "convergence"},
        ),
        figure=report(
            "results/reconstruct/{tube}/image.png",
            category="3 Reconstruct",
            caption="../report/reconstruct_tube.rst",
            labels={"tube": "{tube}", "figure": "image"},
        ),
    log:
        "logs/reconstruct_tube/{tube}.log",
    benchmark:
        "results/benchmarks/reconstruct_tube/{tube}.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        scanner=config["scanner"],
        duration_s=config["protocol"]["duration_s"],
        attenuation=config["reconstruct"]["attenuation"],
        background=config["reconstruct"]["background"],
        mlem=section_keys("reconstruct", MLEM_KEYS),
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.reconstruct.image",
            "tubepet.reconstruct.figures",
        ),
    script:
        "../scripts/reconstruct_tube.py"


rule reconstruct_reference:
    """Reconstruct the long acquisition of one tube, in the same way as the short one."""
    input:
        coincidences="results/simulate/{tube}/reference/coincidences.root",
        stats="results/simulate/{tube}/reference/stats.json",
        mu=ATTENUATION,
        calibration="results/reconstruct/calibration.json",
        sensitivity="results/reconstruct/sensitivity.nii.gz",
        resolution="results/reconstruct/resolution.json",
    output:
        image="results/reconstruct/{tube}/reference.nii.gz",
    log:
        "logs/reconstruct_reference/{tube}.log",
    benchmark:
        "results/benchmarks/reconstruct_reference/{tube}.tsv"
    priority: 1  # before the next simulation: coincidences of a long acquisition are large
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=240,
    params:
        scanner=config["scanner"],
        duration_s=config["protocol"]["reference_duration_s"],
        attenuation=config["reconstruct"]["attenuation"],
        background=config["reconstruct"]["background"],
        mlem=section_keys("reconstruct", MLEM_KEYS),
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.reconstruct.image",
        ),
    script:
        "../scripts/reconstruct_reference.py"


rule bootstrap_tube:
    """Estimate the error of a tube's image, on request: deviation over resampled events, Bq/mm3."""
    input:
        coincidences="results/simulate/{tube}/coincidences.root",
        stats="results/simulate/{tube}/stats.json",
        mu=ATTENUATION,
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
        trace=rules.reconstruct_tube.output.trace,
    output:
        error="results/reconstruct/{tube}/error.nii.gz",
    log:
        "logs/bootstrap_tube/{tube}.log",
    benchmark:
        "results/benchmarks/bootstrap_tube/{tube}.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 2
    resources:
        mem_mb=memory(1000),
        runtime=120,
    params:
        scanner=config["scanner"],
        duration_s=config["protocol"]["duration_s"],
        mlem=section_keys("reconstruct", ERROR_KEYS),
        background=config["reconstruct"]["background"],
        num_resamples=config["reconstruct"]["num_bootstrap"],
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.reconstruct.image",
        ),
    script:
        "../scripts/bootstrap_tube.py"


rule reconstruct_frames:
    """Reconstruct one tube in time frames of `frame_s`, on request, each as if measured alone.

    Simulated activity is constant: there is no decay to correct.
    """
    input:
        coincidences="results/simulate/{tube}/coincidences.root",
        stats="results/simulate/{tube}/stats.json",
        mu=ATTENUATION,
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
        resolution=rules.calibrate_resolution.output.resolution,
    output:
        images="results/reconstruct/{tube}/frames.nii.gz",
    log:
        "logs/reconstruct_frames/{tube}.log",
    benchmark:
        "results/benchmarks/reconstruct_frames/{tube}.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        scanner=config["scanner"],
        duration_s=config["protocol"]["duration_s"],
        frame_s=config["reconstruct"]["frame_s"],
        attenuation=config["reconstruct"]["attenuation"],
        background=config["reconstruct"]["background"],
        mlem=rules.reconstruct_tube.params.mlem,
        seed=config["seed"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.reconstruct.image",
        ),
    script:
        "../scripts/reconstruct_frames.py"


rule locate_sources:
    """Fit a point or line source by maximum likelihood, for counts too few for an image."""
    input:
        coincidences="results/simulate/{tube}/coincidences.root",
        stats="results/simulate/{tube}/stats.json",
        mu=ATTENUATION,
        calibration=rules.calibrate_scanner.output.calibration,
        sensitivity=rules.compute_sensitivity.output.sensitivity,
    output:
        sources="results/reconstruct/{tube}/sources.json",
    log:
        "logs/locate_sources/{tube}.log",
    benchmark:
        "results/benchmarks/locate_sources/{tube}.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        scanner=config["scanner"],
        duration_s=config["protocol"]["duration_s"],
        stride=config["reconstruct"]["sensitivity_stride"],
        fwhm_mm=config["reconstruct"]["psf_fwhm_mm"],
        code=code_digest(
            "tubepet.reconstruct.read",
            "tubepet.reconstruct.acquisition",
            "tubepet.reconstruct.sources",
            "tubepet.simulate.coincidences",
        ),
    script:
        "../scripts/locate_sources.py"


rule collect_slices:
    """Collect the cross sections of all tubes in one array, split by tube."""
    input:
        images=expand("results/reconstruct/{tube}/image.nii.gz", tube=SINGLE_TUBES),
        truths=expand("results/phantom/{tube}/truth.json", tube=SINGLE_TUBES),
        stats=expand("results/simulate/{tube}/stats.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        slices="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
    log:
        "logs/collect_slices.log",
    benchmark:
        "results/benchmarks/collect_slices.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        seed=config["seed"],
        split=config["reconstruct"]["split"],
        slice_margin_mm=config["reconstruct"]["slice_margin_mm"],
        scale_quantile=config["reconstruct"]["scale_quantile"],
        images=all_tubes("results/reconstruct/{tube}/image.nii.gz"),
        truths=all_tubes("results/phantom/{tube}/truth.json"),
        stats=all_tubes("results/simulate/{tube}/stats.json"),
        code=code_digest("tubepet.dataset.collect", "tubepet.rng"),
    script:
        "../scripts/collect_slices.py"


rule label_slices:
    """Draw what is true in each slice: fluid, its expected image, mask and box of the defect."""
    input:
        table=rules.collect_slices.output.table,
        truths=expand("results/phantom/{tube}/truth.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        fluid="results/reconstruct/fluid.npy",
        expected="results/reconstruct/expected.npy",
        defect="results/reconstruct/defect.npy",
        labels="results/reconstruct/labels.parquet",
        population="results/reconstruct/population.json",
    log:
        "logs/label_slices.log",
    benchmark:
        "results/benchmarks/label_slices.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=30,
    params:
        truths=all_tubes("results/phantom/{tube}/truth.json"),
        phantom=phantom_ranges(),
        grid=slice_grid(),
        num_slices=config["reconstruct"]["num_slices"],
        margin_mm=config["reconstruct"]["slice_margin_mm"],
        code=code_digest("tubepet.dataset.drawing", "tubepet.phantom.parts"),
    script:
        "../scripts/label_slices.py"


rule collect_volumes:
    """Collect volumes of training tubes, and their drawings, for the model that makes volumes."""
    input:
        table=rules.collect_slices.output.table,
        images=expand("results/reconstruct/{tube}/image.nii.gz", tube=SINGLE_TUBES),
        truths=expand("results/phantom/{tube}/truth.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        volumes="results/reconstruct/volumes.npy",
        fluid="results/reconstruct/volume_drawings.npy",
        table="results/reconstruct/volumes.parquet",
    log:
        "logs/collect_volumes.log",
    benchmark:
        "results/benchmarks/collect_volumes.tsv"
    conda:
        "../../envs/reconstruct.yaml"
    threads: 1
    resources:
        # 50 tubes: images, drawings, and a copy
        mem_mb=memory(1000 + 3 * images_mb(50 * config["reconstruct"]["num_slices"])),
        runtime=30,
    params:
        images=all_tubes("results/reconstruct/{tube}/image.nii.gz"),
        truths=all_tubes("results/phantom/{tube}/truth.json"),
        phantom=phantom_ranges(),
        grid=slice_grid(),
        code=code_digest("tubepet.dataset.collect", "tubepet.phantom.parts"),
    script:
        "../scripts/collect_volumes.py"
