# 06 features. Needs the positron slices; makes the memory bank: PCA and PCANet features of the training
# slices (fitted on nothing else), and what is needed to transform new ones.


rule fit_features:
    """Fit PCA and PCANet on the training slices and make the memory bank."""
    input:
        images="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
    output:
        bank="results/features/bank.safetensors",
        info="results/features/features.json",
        scree=report(
            "results/features/scree.png",
            category="6 Features",
            caption="../report/fit_features.rst",
            labels={"what": "scree plot"},
        ),
        eigen_images=report(
            "results/features/eigen_images.png",
            category="6 Features",
            caption="../report/fit_features.rst",
            labels={"what": "mean and eigen-images"},
        ),
        filters=report(
            "results/features/pcanet_filters.png",
            category="6 Features",
            caption="../report/fit_features.rst",
            labels={"what": "PCANet filters"},
        ),
    log:
        "logs/fit_features.log",
    benchmark:
        "results/benchmarks/fit_features.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        # pixels and their singular vectors in float64: twelve times the fitted slices (bank.MAX_FITTED)
        mem_mb=memory(1000 + 12 * images_mb(min(MOST_SLICES, 2000))),
        # PCANet: half a second per slice of 256 x 256 pixels with 8 filters, here twice that
        runtime=round(120 + images_mb(MOST_SLICES) / 12),
    params:
        features=config["features"],
        code=code_digest(
            "tubepet.dataset.slices",
            "tubepet.features.bank",
            "tubepet.features.figures",
        ),
    script:
        "../scripts/fit_features.py"
