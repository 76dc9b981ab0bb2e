"""What Snakemake asks before the first job: config, models, study, digests (no heavy packages)."""
