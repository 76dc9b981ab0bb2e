# 07 generate. Needs positron slices and, for the paper's model, the CT slices, their encoder and the memory bank; makes a
# trained generator and samples of each model. An unfinished training is kept in
# results/generate/<model>/progress/, which no rule declares: after a kill the next run goes on from there.

# Whole volumes for the evaluation: as many as there are tubes, but not more than 100.
NUM_VOLUMES = min(config["phantom"]["num_tubes"], 100)
WITH_VOLUMES = [m for m in config["generate"]["models"] if m in models.VOLUMETRIC]


rule train_generator:
    """Train one generator on the slices of the training tubes."""
    input:
        unpack(training_files),
        images="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
    output:
        weights="results/generate/{model}/generator.safetensors",
        info="results/generate/{model}/generator.json",
        log="results/generate/{model}/log.csv",
        grid=report(
            "results/generate/{model}/grid.png",
            category="7 Generate",
            caption="../report/train_generator.rst",
            labels={"model": "{model}", "what": "samples of fixed noise"},
        ),
        curves=report(
            "results/generate/{model}/curves.png",
            category="7 Generate",
            caption="../report/train_generator.rst",
            labels={"model": "{model}", "what": "training curves"},
        ),
    log:
        "logs/train_generator/{model}.log",
    benchmark:
        "results/benchmarks/train_generator/{model}.tsv"
    priority: models.priority
    conda:
        "../../envs/ml.yaml"
    threads: config["generate"]["num_processes"]
    resources:
        mem_mb=memory(3000 * config["generate"]["num_processes"]),
        runtime=training_minutes,
    params:
        seed=config["seed"],
        settings=generator_settings,
        num_processes=config["generate"]["num_processes"],
        progress="results/generate/{model}/progress",
        code=generator_code,
    script:
        "../scripts/train_generator.py"


rule generate_samples:
    """Generate images; the paper's model is queried with CT slices of the training patients."""
    input:
        unpack(sampling_files),
        images="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
        weights=rules.train_generator.output.weights,
        generator=rules.train_generator.output.info,
    output:
        samples="results/generate/{model}/samples.npy",
    log:
        "logs/generate_samples/{model}.log",
    benchmark:
        "results/benchmarks/generate_samples/{model}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500 + 4 * images_mb(config["generate"]["num_samples"])),
        runtime=60,
    params:
        seed=config["seed"],
        num_samples=lookup("generate/num_samples", within=config),
        code=generator_code,
    script:
        "../scripts/generate_samples.py"


rule generate_volumes:
    """Generate whole volumes of new tubes, with a model that makes them."""
    input:
        weights=rules.train_generator.output.weights,
        generator=rules.train_generator.output.info,
    output:
        volumes="results/generate/{model}/volumes.npy",
    log:
        "logs/generate_volumes/{model}.log",
    benchmark:
        "results/benchmarks/generate_volumes/{model}.tsv"
    wildcard_constraints:
        model="|".join(models.VOLUMETRIC),
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(
            1500 + 3 * images_mb(NUM_VOLUMES * config["reconstruct"]["num_slices"])
        ),
        runtime=60,
    params:
        seed=config["seed"],
        num_volumes=NUM_VOLUMES,
        code=models.volumes_code,
    script:
        "../scripts/generate_volumes.py"
