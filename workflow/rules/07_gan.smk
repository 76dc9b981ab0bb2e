# 07 gan. Needs positron slices and, for ours, the CT slices, their encoder and the memory bank; makes one
# trained generator per model, by one loop, and its samples. An unfinished training is kept in
# results/gan/<model>/progress/, which no rule declares: after a kill the next run goes on from there.


def gan_settings(wildcards):
    """The common keys that training reads, and the model's own: another model's do not count."""
    section = config["gan"]
    common = ("batch_size", "ema_decay", "augment", "checkpoint_every")
    settings = {key: section[key] for key in (*common, "sample_every")}
    if (
        wildcards.model == "ours"
    ):  # its encoder keeps the loss that it was pretrained with
        settings |= {key: config["pretrain"][key] for key in ("sigma_x", "beta")}
    return settings | section[wildcards.model]


def gan_code(wildcards):
    return code_digest("tubepet.gan.train", f"tubepet.gan.{wildcards.model}")


def query_inputs(wildcards):
    """The medical images with which ours queries its memory."""
    if wildcards.model != "ours":
        return {}
    return {
        "ct_images": rules.prepare_ct.output.images,
        "ct_table": rules.prepare_ct.output.table,
        "ct_info": rules.prepare_ct.output.info,
    }


def memory_inputs(wildcards):
    """The memory of ours, and the encoder of its queries."""
    if wildcards.model != "ours":
        return {}
    return {
        "vae": rules.train_vae.output.weights,
        "vae_info": rules.train_vae.output.info,
        "bank": rules.fit_features.output.bank,
    }


rule train_gan:
    """Train one generator on the slices of the training tubes."""
    input:
        unpack(query_inputs),
        unpack(memory_inputs),
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
    threads: 1
    resources:
        mem_mb=3000,
        runtime=2880,
    params:
        seed=config["seed"],
        settings=gan_settings,
        progress="results/gan/{model}/progress",
        code=gan_code,
    script:
        "../scripts/train_gan.py"


rule generate_samples:
    """Generate images; ours is queried with CT slices of the training patients."""
    input:
        unpack(query_inputs),
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
        mem_mb=2000,
        runtime=60,
    params:
        seed=config["seed"],
        num_samples=lookup("gan/num_samples", within=config),
        code=gan_code,
    script:
        "../scripts/generate_samples.py"
