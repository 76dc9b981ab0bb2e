# Shards: several tubes in one job, for thousands of tubes (phantom.tubes_per_job above 1). Needs what all tubes
# share; makes its tubes from drawing to image and verdict by the rules of 01 to 03 and 10, and lists their files.


rule run_shard:
    """Make phantoms, coincidences, images and verdicts of one shard's tubes; a killed shard goes on where it was."""
    input:
        shared=shared_files,
    output:
        manifest="results/shards/{shard}.json",
    log:
        "logs/run_shard/{shard}.log",
    benchmark:
        "results/benchmarks/run_shard/{shard}.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(2500),
        runtime=1440,
    params:
        rules=TUBE_RULES,
        targets=shard_paths(
            [
                "results/reconstruct/{tube}/image.nii.gz",
                "results/reconstruct/{tube}/reference.nii.gz",
                "results/inspect/{tube}/verdict.json",
            ]
        ),
        truths=shard_paths("results/phantom/{tube}/truth.json"),
        stats=shard_paths("results/simulate/{tube}/stats.json"),
        digest=shard_digest,
        code=code_digest("tubepet.plan.shards"),
    script:
        "../scripts/run_shard.py"
