# 04 ct. Needs nothing, or the user's folder of CT (ct.source_dir: DeepLesion's layout or DICOM); makes
# windowed, resized slices, split by patient. Without a folder a stand-in is written first, in
# DeepLesion's layout, so that the real reader runs.
# Not cached between workflows: Snakemake does not measure cached rules, its cache is readable by
# all, which patients' images must not be, and it would see DL_info.csv but not the images.


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
        mem_mb=500,
        runtime=10,
    params:
        seed=config["seed"],
        num_patients=config["ct"]["standin_patients"],
        num_slices=config["ct"]["num_slices"],
        code=code_digest("tubepet.ct.standin"),
    script:
        "../scripts/make_ct_standin.py"


rule prepare_ct:
    """Read, choose, window and resize CT slices; split them by patient."""
    input:
        source=ct_source_files,
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
        mem_mb=1000,
        runtime=120,
    params:
        seed=config["seed"],
        source_dir=config["ct"]["source_dir"],
        standin_dir="results/ct/standin",
        file_format=(
            config["ct"]["format"] if config["ct"]["source_dir"] else "deeplesion"
        ),
        num_slices=config["ct"]["num_slices"],
        num_pixels=config["ct"]["num_pixels"],
        window_hu=config["ct"]["window_hu"],
        drop_noisy=config["ct"]["drop_noisy"],
        split=config["ct"]["split"],
        code=code_digest("tubepet.ct.prepare", "tubepet.rng"),
    script:
        "../scripts/prepare_ct.py"
