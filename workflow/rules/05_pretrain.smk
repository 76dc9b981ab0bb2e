# 05 pretrain. Needs the CT slices; makes the VAE whose encoder queries the attention memory, and its
# curves and grids. An unfinished run is kept in results/pretrain/checkpoint/, which no rule declares:
# after a kill the next run goes on from there, if config, data and code are still the same.


rule train_vae:
    """Train the VAE on the CT slices of the training patients."""
    input:
        images=rules.prepare_ct.output.images,
        table=rules.prepare_ct.output.table,
        info=rules.prepare_ct.output.info,
    output:
        weights="results/pretrain/vae.safetensors",
        info="results/pretrain/vae.json",
        curves="results/pretrain/curves.csv",
        curves_figure=report(
            "results/pretrain/curves.png",
            category="5 Pretrain",
            caption="../report/train_vae.rst",
            labels={"what": "ELBO of the VAE"},
        ),
        reconstructions=report(
            "results/pretrain/reconstructions.png",
            category="5 Pretrain",
            caption="../report/train_vae.rst",
            labels={"what": "held-out slices, rebuilt"},
        ),
        samples=report(
            "results/pretrain/samples.png",
            category="5 Pretrain",
            caption="../report/train_vae.rst",
            labels={"what": "samples of the VAE"},
        ),
    log:
        "logs/train_vae.log",
    benchmark:
        "results/benchmarks/train_vae.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: config["pretrain"]["num_processes"]
    resources:
        mem_mb=memory(2000 * config["pretrain"]["num_processes"]),
        runtime=600,
    params:
        seed=config["seed"],
        pretrain={k: v for k, v in config["pretrain"].items() if k != "num_processes"},
        num_processes=config["pretrain"]["num_processes"],
        checkpoint="results/pretrain/checkpoint/vae.pt",
        code=code_digest("tubepet.pretrain.train", "tubepet.pretrain.figures"),
    script:
        "../scripts/train_vae.py"
