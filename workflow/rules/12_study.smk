# 12 study. Needs the slice dataset, what the models read, and some further tubes; makes results/study/conclusions.md.
# It trains every variant several times at equal compute, scores it on held-out tubes, and compares seed by seed.
# Steps: a feature space learned on the further tubes, which are in no split; each variant's candidates, one training
# each, judged on the validation slices; what a step costs; the trainings, one job each; scores; defect detectors; the
# page. Only the target `study` asks for it. config/study.yaml has all variants.


use rule collect_slices as collect_feature_slices with:
    input:
        images=STUDY.of_feature_tubes("reconstruct/{tube}/image.nii.gz"),
        truths=STUDY.of_feature_tubes("phantom/{tube}/truth.json"),
        stats=STUDY.of_feature_tubes("simulate/{tube}/stats.json"),
        shards=[],
    output:
        slices="results/study/features/slices.npy",
        table="results/study/features/slices.parquet",
        info="results/study/features/slices.json",
    log:
        "logs/collect_feature_slices.log",
    benchmark:
        "results/benchmarks/collect_feature_slices.tsv"
    params:
        split={"train": 0.8, "val": 0.0, "test": 0.2},
        images=STUDY.of_feature_tubes("reconstruct/{tube}/image.nii.gz"),
        truths=STUDY.of_feature_tubes("phantom/{tube}/truth.json"),
        stats=STUDY.of_feature_tubes("simulate/{tube}/stats.json"),


use rule label_slices as label_feature_slices with:
    input:
        table=rules.collect_feature_slices.output.table,
        truths=STUDY.of_feature_tubes("phantom/{tube}/truth.json"),
        shards=[],
    output:
        fluid="results/study/features/fluid.npy",
        expected="results/study/features/expected.npy",
        defect="results/study/features/defect.npy",
        labels="results/study/features/labels.parquet",
        population="results/study/features/population.json",
    log:
        "logs/label_feature_slices.log",
    benchmark:
        "results/benchmarks/label_feature_slices.tsv"
    params:
        truths=STUDY.of_feature_tubes("phantom/{tube}/truth.json"),


rule train_features:
    """Learn a feature space on the further tubes, from fluid, defect and its class, shape of the bore."""
    input:
        images=rules.collect_feature_slices.output.slices,
        table=rules.collect_feature_slices.output.table,
        fluid=rules.label_feature_slices.output.fluid,
        masks=rules.label_feature_slices.output.defect,
        labels=rules.label_feature_slices.output.labels,
        info=rules.collect_feature_slices.output.info,
        study_table=rules.collect_slices.output.table,
        study_info=rules.collect_slices.output.info,
    output:
        weights="results/study/features/network.safetensors",
        facts="results/study/features/network.json",
    log:
        "logs/train_features.log",
    benchmark:
        "results/benchmarks/train_features.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        seed=config["seed"],
        num_steps=STUDY.section["features"]["num_steps"],
        visible_mm3=STUDY.section["detector"]["visible_mm3"],
        code=code_digest("tubepet.dataset.slices", "tubepet.evaluate.learned"),
    script:
        "../scripts/train_features.py"


rule tune_candidate:
    """Train a variant once with one candidate set of keys, and judge it on the validation slices."""
    input:
        unpack(STUDY.files),
        images=rules.collect_slices.output.slices,
        table=rules.collect_slices.output.table,
        info=rules.collect_slices.output.info,
    output:
        score="results/study/tuning/{variant}/{i_candidate}.json",
    log:
        "logs/tune_candidate/{variant}_{i_candidate}.log",
    benchmark:
        "results/benchmarks/tune_candidate/{variant}_{i_candidate}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=1440,
    params:
        seed=config["seed"],
        model=STUDY.model,
        settings=STUDY.settings,
        candidate=STUDY.candidate,
        reference=STUDY.reference_settings,
        budget_steps=STUDY.section["tuning_steps"],
        num_samples=STUDY.section["num_samples"],
        progress="results/study/tuning/{variant}/{i_candidate}_progress",
        judge=code_digest("tubepet.study.tuning"),
        code=STUDY.code,
    script:
        "../scripts/tune_candidate.py"


rule choose_candidate:
    """Take the candidate nearest to the validation slices, for all seeds and ablations of the variant."""
    input:
        scores=STUDY.candidate_scores,
    output:
        choice="results/study/tuning/{variant}.json",
    log:
        "logs/choose_candidate/{variant}.log",
    benchmark:
        "results/benchmarks/choose_candidate/{variant}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        code=code_digest("tubepet.study.tuning"),
    script:
        "../scripts/choose_candidate.py"


rule measure_cost:
    """Measure what a step of a variant costs, in turn with DCGAN's, and so its number of steps."""
    input:
        unpack(STUDY.files),
        unpack(STUDY.choice),
        images=rules.collect_slices.output.slices,
        table=rules.collect_slices.output.table,
        info=rules.collect_slices.output.info,
    output:
        cost="results/study/costs/{variant}.json",
    log:
        "logs/measure_cost/{variant}.log",
    benchmark:
        "results/benchmarks/measure_cost/{variant}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        seed=config["seed"],
        model=STUDY.model,
        settings=STUDY.settings,
        own=STUDY.own_keys,
        reference=STUDY.reference_settings,
        pretrain=config["pretrain"],
        features=config["features"],
        num_steps=STUDY.fixed_steps,
        budget_steps=STUDY.section["budget_steps"],
        charge_preparation=STUDY.charges_preparation,
        code=STUDY.code,
    script:
        "../scripts/measure_cost.py"


rule estimate_study:
    """Estimate the study's time from what steps cost (target estimate_study, before the trainings)."""
    input:
        costs=expand("results/study/costs/{variant}.json", variant=STUDY.variants),
    output:
        table="results/study/estimate.csv",
    log:
        "logs/estimate_study.log",
    benchmark:
        "results/benchmarks/estimate_study.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        num_runs={name: len(STUDY.runs(name)) for name in STUDY.variants},
        code=code_digest("tubepet.study.cost"),
    script:
        "../scripts/estimate_study.py"


rule take_subset:
    """Keep some of the training slices; the smaller sets are parts of the larger."""
    input:
        table=rules.collect_slices.output.table,
    output:
        table="results/study/subsets/{num_train}/{i_seed}/slices.parquet",
    log:
        "logs/take_subset/{num_train}_{i_seed}.log",
    benchmark:
        "results/benchmarks/take_subset/{num_train}_{i_seed}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        seed=config["seed"],
        code=code_digest("tubepet.dataset.subset", "tubepet.rng"),
    script:
        "../scripts/take_subset.py"


use rule fit_features as fit_subset_features with:
    input:
        images=rules.collect_slices.output.slices,
        table=rules.take_subset.output.table,
        info=rules.collect_slices.output.info,
    output:
        bank="results/study/subsets/{num_train}/{i_seed}/bank.safetensors",
        info="results/study/subsets/{num_train}/{i_seed}/features.json",
        scree="results/study/subsets/{num_train}/{i_seed}/scree.png",
        eigen_images="results/study/subsets/{num_train}/{i_seed}/eigen_images.png",
        filters="results/study/subsets/{num_train}/{i_seed}/pcanet_filters.png",
    log:
        "logs/fit_subset_features/{num_train}_{i_seed}.log",
    benchmark:
        "results/benchmarks/fit_subset_features/{num_train}_{i_seed}.tsv"


rule train_variant:
    """Train one variant once, for its number of steps, and sample from it."""
    input:
        unpack(STUDY.run_files),
        images=rules.collect_slices.output.slices,
        info=rules.collect_slices.output.info,
        cost=rules.measure_cost.output.cost,
    output:
        weights="results/study/runs/{variant}/{num_train}/{i_seed}/generator.safetensors",
        info="results/study/runs/{variant}/{num_train}/{i_seed}/run.json",
        log="results/study/runs/{variant}/{num_train}/{i_seed}/log.csv",
        samples="results/study/runs/{variant}/{num_train}/{i_seed}/samples.npy",
        labelled="results/study/runs/{variant}/{num_train}/{i_seed}/labelled.npy",
        masks="results/study/runs/{variant}/{num_train}/{i_seed}/masks.npy",
        labels="results/study/runs/{variant}/{num_train}/{i_seed}/labels.parquet",
    log:
        "logs/train_variant/{variant}_{num_train}_{i_seed}.log",
    benchmark:
        "results/benchmarks/train_variant/{variant}_{num_train}_{i_seed}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=2880,
    params:
        seed=config["seed"],
        model=STUDY.model,
        settings=STUDY.settings,
        own=STUDY.own_keys,
        num_samples=STUDY.section["num_samples"],
        progress="results/study/runs/{variant}/{num_train}/{i_seed}/progress",
        code=STUDY.code,
    script:
        "../scripts/train_variant.py"


rule score_real:
    """Describe the held-out slices; score training slices as the floor and as copies."""
    input:
        images=rules.collect_slices.output.slices,
        table=rules.collect_slices.output.table,
        info=rules.collect_slices.output.info,
        weights=rules.train_features.output.weights,
        features=rules.train_features.output.facts,
    output:
        described="results/study/test_slices.safetensors",
        spaces="results/study/spaces.safetensors",
        scores="results/study/real.json",
    log:
        "logs/score_real.log",
    benchmark:
        "results/benchmarks/score_real.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=120,
    params:
        seed=config["seed"],
        num_images=STUDY.section["num_samples"],
        num_halves=STUDY.section["num_halves"],
        num_seeds=STUDY.section["num_seeds"],
        code=code_digest(
            "tubepet.evaluate.spaces", "tubepet.evaluate.table", "tubepet.study.score"
        ),
    script:
        "../scripts/score_real.py"


rule score_variant:
    """Score every run of a variant by every metric, on held-out tubes only."""
    input:
        samples=STUDY.of_runs("samples.npy"),
        runs=STUDY.of_runs("run.json"),
        images=rules.collect_slices.output.slices,
        table=rules.collect_slices.output.table,
        info=rules.collect_slices.output.info,
        described=rules.score_real.output.described,
        spaces=rules.score_real.output.spaces,
        real=rules.score_real.output.scores,
        weights=rules.train_features.output.weights,
        features=rules.train_features.output.facts,
    output:
        scores="results/study/scores/{variant}.json",
    log:
        "logs/score_variant/{variant}.log",
    benchmark:
        "results/benchmarks/score_variant/{variant}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=240,
    params:
        seed=config["seed"],
        num_halves=STUDY.section["num_halves"],
        code=code_digest(
            "tubepet.evaluate.spaces", "tubepet.evaluate.table", "tubepet.study.score"
        ),
    script:
        "../scripts/score_variant.py"


rule train_detectors:
    """Train defect detectors on few real slices, with and without generated ones; test on held-out tubes."""
    input:
        tables=STUDY.detector_tables,
        generated=STUDY.of_detectors("labelled.npy"),
        generated_masks=STUDY.of_detectors("masks.npy"),
        generated_labels=STUDY.of_detectors("labels.parquet"),
        images=rules.collect_slices.output.slices,
        info=rules.collect_slices.output.info,
        labels=rules.label_slices.output.labels,
        masks=rules.label_slices.output.defect,
    output:
        table="results/study/detectors/{num_train}.csv",
    log:
        "logs/train_detectors/{num_train}.log",
    benchmark:
        "results/benchmarks/train_detectors/{num_train}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=240,
    params:
        seed=config["seed"],
        num_steps=STUDY.section["detector"]["num_steps"],
        visible_mm3=STUDY.section["detector"]["visible_mm3"],
        code=code_digest(
            "tubepet.evaluate.table", "tubepet.study.detector", "tubepet.rng"
        ),
    script:
        "../scripts/train_detectors.py"


rule conclude_study:
    """Write tables, figures and the page of conclusions."""
    input:
        real=rules.score_real.output.scores,
        scores=expand("results/study/scores/{variant}.json", variant=STUDY.variants),
        costs=expand("results/study/costs/{variant}.json", variant=STUDY.variants),
        choices=expand("results/study/tuning/{variant}.json", variant=STUDY.tuned),
        detectors=expand(
            "results/study/detectors/{num_train}.csv",
            num_train=STUDY.section["detector"]["num_real"],
        ),
        samples=expand(
            "results/study/runs/{variant}/all/0/samples.npy",
            variant=STUDY.pictured,
        ),
        images=rules.collect_slices.output.slices,
        table=rules.collect_slices.output.table,
        info=rules.collect_slices.output.info,
    output:
        page=report(
            "results/study/conclusions.md",
            category="12 Study",
            caption="../report/conclude_study.rst",
            labels={"what": "conclusions"},
        ),
        claims="results/study/claims.png",
        tables="results/study/tables.md",
        table="results/study/table.csv",
        runs="results/study/runs.csv",
        costs="results/study/costs.csv",
        variants=report(
            "results/study/variants.png",
            category="12 Study",
            caption="../report/conclude_study.rst",
            labels={"what": "key metrics of every variant"},
        ),
        curve="results/study/curve.png",
        detector="results/study/detector.png",
        samples="results/study/samples.png",
        neighbours="results/study/neighbours.png",
    log:
        "logs/conclude_study.log",
    benchmark:
        "results/benchmarks/conclude_study.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=60,
    params:
        study=STUDY.section,
        pictured=STUDY.pictured,
        code=code_digest(
            "tubepet.study.page",
            "tubepet.study.tables",
            "tubepet.study.figures",
            "tubepet.study.cost",
            "tubepet.study.tuning",
            "tubepet.evaluate.figures",
        ),
    script:
        "../scripts/conclude_study.py"
