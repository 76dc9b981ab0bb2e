# 04 ct. Needs nothing, or the user's folder of CT (ct.source_dir: DeepLesion's layout or DICOM); makes
# windowed, resized slices, split by patient. Without a folder a stand-in is written first, in
# DeepLesion's layout, so that the real reader runs. Steps: choose the slices, window and resize them in
# jobs of ct.slices_per_job, join the parts.
# With --cache the stand-in's windowed parts are shared, but not those of the user's CT: all can read the cache, so patients'
# images must not be there. Also, its key would hold DL_info.csv but not the images.


rule make_ct_standin:
    """Write procedural CT slices in DeepLesion's layout."""
    output:
        folder=directory("results/ct/standin"),
    log:
        "logs/make_ct_standin.log",
    benchmark:
        "results/benchmarks/make_ct_standin.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        seed=config["seed"],
        num_patients=config["ct"]["standin_patients"],
        num_slices=config["ct"]["num_slices"],
        code=code_digest("tubepet.ct.standin"),
    script:
        "../scripts/make_ct_standin.py"


rule choose_ct:
    """List the slices, split them by patient, draw those to use."""
    input:
        source=ct_source_files,
    output:
        table="results/ct/chosen.parquet",
        info="results/ct/chosen.json",
    log:
        "logs/choose_ct.log",
    benchmark:
        "results/benchmarks/choose_ct.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=60,
    params:
        **outside.ct_source(config["ct"]),
        seed=config["seed"],
        listing=outside.at_planning(outside.ct_listing, config["ct"]),
        num_slices=config["ct"]["num_slices"],
        drop_noisy=config["ct"]["drop_noisy"],
        split=config["ct"]["split"],
        patient=config["ct"]["patient"],
        allow_partial=config["ct"]["allow_partial"],
        code=code_digest("tubepet.ct.prepare", "tubepet.rng"),
    script:
        "../scripts/choose_ct.py"


rule window_ct:
    """Read, window and resize one part of the slices."""
    input:
        table=rules.choose_ct.output.table,
    output:
        images=temp("results/ct/parts/{part}.npy"),
        table=temp("results/ct/parts/{part}.parquet"),
    log:
        "logs/window_ct/{part}.log",
    benchmark:
        "results/benchmarks/window_ct/{part}.tsv"
    wildcard_constraints:
        part=r"\d{4}",
    cache: IS_CACHING and not config["ct"]["source_dir"]
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=60,
    params:
        **outside.ct_source(config["ct"]),
        part="{part}",
        slices_per_job=config["ct"]["slices_per_job"],
        num_pixels=config["ct"]["num_pixels"],
        window_hu=config["ct"]["window_hu"],
        code=code_digest("tubepet.ct.prepare"),
    script:
        "../scripts/window_ct.py"


rule prepare_ct:
    """Join the parts: all slices in one array, with their table. The parts are temporary, so their
    params are named here too."""
    input:
        images=expand("results/ct/parts/{part}.npy", part=CT_PARTS),
        tables=expand("results/ct/parts/{part}.parquet", part=CT_PARTS),
        info=rules.choose_ct.output.info,
    output:
        images="results/ct/slices.npy",
        table="results/ct/slices.parquet",
        info="results/ct/slices.json",
    log:
        "logs/prepare_ct.log",
    benchmark:
        "results/benchmarks/prepare_ct.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=60,
    params:
        **outside.ct_source(config["ct"]),
        seed=config["seed"],
        num_pixels=config["ct"]["num_pixels"],
        window_hu=config["ct"]["window_hu"],
        code=code_digest("tubepet.ct.prepare"),
    script:
        "../scripts/prepare_ct.py"
