# 07 gan. Needs positron slices and, for the paper's model, the CT slices, their encoder and the memory bank; makes one
# trained generator per model, by one loop, and its samples. An unfinished training is kept in
# results/gan/<model>/progress/, which no rule declares: after a kill the next run goes on from there.


rule train_gan:
    """Train one generator on the slices of the training tubes."""
    input:
        unpack(training_files),
        images="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
    output:
        weights="results/gan/{model}/generator.safetensors",
        info="results/gan/{model}/generator.json",
        log="results/gan/{model}/log.csv",
        grid=report(
            "results/gan/{model}/grid.png",
            category="7 GAN",
            caption="../report/train_gan.rst",
            labels={"model": "{model}", "what": "samples of fixed noise"},
        ),
        curves=report(
            "results/gan/{model}/curves.png",
            category="7 GAN",
            caption="../report/train_gan.rst",
            labels={"model": "{model}", "what": "training curves"},
        ),
    log:
        "logs/train_gan/{model}.log",
    benchmark:
        "results/benchmarks/train_gan/{model}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: config["gan"]["num_processes"]
    resources:
        mem_mb=memory(3000 * config["gan"]["num_processes"]),
        runtime=training_minutes,
    params:
        seed=config["seed"],
        settings=gan_settings,
        num_processes=config["gan"]["num_processes"],
        progress="results/gan/{model}/progress",
        code=gan_code,
    script:
        "../scripts/train_gan.py"


rule generate_samples:
    """Generate images; the paper's model is queried with CT slices of the training patients."""
    input:
        unpack(sampling_files),
        images="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
        weights=rules.train_gan.output.weights,
        generator=rules.train_gan.output.info,
    output:
        samples="results/gan/{model}/samples.npy",
    log:
        "logs/generate_samples/{model}.log",
    benchmark:
        "results/benchmarks/generate_samples/{model}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500 + 4 * images_mb(config["gan"]["num_samples"])),
        runtime=60,
    params:
        seed=config["seed"],
        num_samples=lookup("gan/num_samples", within=config),
        code=gan_code,
    script:
        "../scripts/generate_samples.py"
