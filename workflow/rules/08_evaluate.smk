# 08 evaluate. Needs the samples of all generators and the real slices; makes Table 1 against the slices
# of held-out tubes, with the real-versus-real floor, and the figures beside it.


rule evaluate_models:
    """Compare generated with held-out real slices; the training slices give floor and nearest copies."""
    input:
        samples=of_models("samples.npy"),
        volumes=expand("results/generate/{model}/volumes.npy", model=WITH_VOLUMES),
        images="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
    output:
        table="results/evaluate/table1.csv",
        metrics="results/evaluate/metrics.json",
        volumes="results/evaluate/volumes.csv",
        samples=report(
            "results/evaluate/figure2.png",
            category="0 Read first",
            caption="../report/evaluate_models.rst",
            labels={"what": "real and generated slices (the paper's Figure 2)"},
        ),
        bars=report(
            "results/evaluate/table1.png",
            category="8 Evaluate",
            caption="../report/evaluate_models.rst",
            labels={"what": "Table 1 as bars"},
        ),
        neighbours=report(
            "results/evaluate/neighbours.png",
            category="8 Evaluate",
            caption="../report/evaluate_models.rst",
            labels={"what": "nearest training slices (memorisation)"},
        ),
    log:
        "logs/evaluate_models.log",
    benchmark:
        "results/benchmarks/evaluate_models.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        # 256 images in many copies, and all training slices, a block of pixels at a time
        mem_mb=memory(3000 + images_mb(MOST_SLICES) / 4),
        runtime=240,
    params:
        models=lookup("generate/models", within=config),
        with_volumes=WITH_VOLUMES,
        evaluate=lookup("evaluate", within=config),
        seed=config["seed"],
        code=code_digest(
            "tubepet.evaluate.table",
            "tubepet.evaluate.figures",
            "tubepet.evaluate.volumes",
        ),
    script:
        "../scripts/evaluate_models.py"
