# 11 report. Needs every stage's artefacts; makes results/report.html and the visual Turing test.
# `snakemake --report results/provenance.html` shows code, log and figures of every single job.


rule draw_follow:
    """Follow one test part with a defect from drawing to indication; a fixed rule chooses the part."""
    input:
        short=rules.collect_slices.output.slices,
        long=rules.collect_references.output.long,
        table=rules.collect_slices.output.table,
        info=rules.collect_references.output.info,
        defect=rules.label_slices.output.defect,
        weights="results/enhance/plain/network.safetensors",
        facts="results/enhance/plain/network.json",
        compared=rules.compare_one_to_one.output.table,
        found=expand("results/inspect/{tube}/verdict.json", tube=SINGLE_TUBES),
        maps=expand("results/inspect/{tube}/map.nii.gz", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        figure=report(
            "results/report/follow.png",
            category="0 Read first",
            caption="../report/draw_follow.rst",
            labels={"what": "one part followed"},
        ),
        facts="results/report/follow.json",
    log:
        "logs/draw_follow.log",
    benchmark:
        "results/benchmarks/draw_follow.tsv"
    localrule: True
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=10,
    params:
        tubes=TUBES,
        truths=all_tubes("results/phantom/{tube}/truth.json"),
        found=all_tubes("results/inspect/{tube}/verdict.json"),
        maps=all_tubes("results/inspect/{tube}/map.nii.gz"),
        phantom=phantom_ranges(),
        durations_s=rules.compare_one_to_one.params.durations_s,
        code=code_digest("tubepet.report.follow", "tubepet.enhance.one_to_one"),
    script:
        "../scripts/draw_follow.py"


rule make_turing:
    """Make the visual Turing test: a page for readers, and its key."""
    input:
        template=f"{ROOT}/workflow/report/turing.html",
        samples=of_models("samples.npy"),
        images="results/reconstruct/slices.npy",
        table="results/reconstruct/slices.parquet",
        info="results/reconstruct/slices.json",
        table1=rules.evaluate_models.output.table,
    output:
        page="results/report/turing.html",
        key="results/report/turing_key.csv",
    log:
        "logs/make_turing.log",
    benchmark:
        "results/benchmarks/make_turing.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=5,
    params:
        models=lookup("generate/models", within=config),
        seed=config["seed"],
        code=code_digest(
            "tubepet.dataset.slices", "tubepet.report.turing", "tubepet.report.claims"
        ),
    script:
        "../scripts/make_turing.py"


rule collect_report:
    """Collect facts and caveats, count table, Table 1, provenance and cost of every rule."""
    input:
        stats=expand("results/simulate/{tube}/stats.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
        literal="results/simulate/literal/stats.json",
        sources="results/reconstruct/literal/sources.json",
        verdict="results/validate/transport/run.json",
        counts=rules.collect_counts.output.table,
        calibration=rules.calibrate_scanner.output.calibration,
        slices=rules.collect_slices.output.info,
        ct=rules.prepare_ct.output.info,
        table1=rules.evaluate_models.output.table,
        metrics=rules.evaluate_models.output.metrics,
    output:
        facts="results/report/facts.json",
        counts=report(
            "results/report/counts.html",
            category="2 Simulate",
            caption="../report/collect_report.rst",
            labels={"what": "counts per tube"},
        ),
        table1=report(
            "results/report/table1.html",
            category="0 Read first",
            caption="../report/evaluate_models.rst",
            labels={"what": "Table 1"},
        ),
        provenance=report(
            "results/report/provenance.html",
            category="14 Provenance",
            caption="../report/collect_report.rst",
            labels={"what": "engine, tables, versions, seeds"},
        ),
        provenance_table="results/report/provenance.csv",
        cost_table="results/report/cost.csv",
        cost=report(
            "results/report/cost.html",
            category="14 Provenance",
            caption="../report/collect_report.rst",
            labels={"what": "time and memory per rule"},
        ),
    log:
        "logs/collect_report.log",
    benchmark:
        "results/benchmarks/collect_report.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=5,
    params:
        seed=config["seed"],
        stats=all_tubes("results/simulate/{tube}/stats.json"),
        code=code_digest("tubepet.report.tables"),
    script:
        "../scripts/collect_report.py"


rule write_card:
    """Write the model card of one generator, from the numbers of the run."""
    input:
        template=f"{ROOT}/workflow/report/card.md",
        generator=rules.train_generator.output.info,
        slices=rules.collect_slices.output.info,
        table1=rules.evaluate_models.output.table,
        metrics=rules.evaluate_models.output.metrics,
        facts=rules.collect_report.output.facts,
    output:
        card="results/generate/{model}/card.md",
    log:
        "logs/write_card/{model}.log",
    benchmark:
        "results/benchmarks/write_card/{model}.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=5,
    params:
        code=code_digest("tubepet.report.card"),
    script:
        "../scripts/write_card.py"


POD_FIGURE = "results/inspect/pod/pod.png"


rule make_report:
    """Write the report, one HTML file."""
    input:
        template=f"{ROOT}/workflow/report/page.html",
        facts=rules.collect_report.output.facts,
        provenance=rules.collect_report.output.provenance_table,
        cost=rules.collect_report.output.cost_table,
        metrics=rules.evaluate_models.output.metrics,
        table1=rules.evaluate_models.output.table,
        figure2=rules.evaluate_models.output.samples,
        neighbours=rules.evaluate_models.output.neighbours,
        counts=rules.collect_counts.output.table,
        verdict="results/validate/transport/run.json",
        validation="results/validate/transport/run.png",
        calibration="results/reconstruct/calibration.png",
        literal="results/reconstruct/literal/image.png",
        slices=rules.collect_slices.output.info,
        ct=rules.prepare_ct.output.info,
        curves=rules.train_vae.output.curves,
        rebuilt=rules.train_vae.output.reconstructions,
        scree=rules.fit_features.output.scree,
        verdicts=rules.collect_inspections.output.table,
        classes=rules.collect_inspections.output.classes,
        found=expand(rules.inspect_tube.output.verdict, tube=SINGLE_TUBES),
        maps=expand(rules.inspect_tube.output.map, tube=SINGLE_TUBES),
        one_to_one=rules.compare_one_to_one.output.table,
        one_to_one_figure=rules.compare_one_to_one.output.figure,
        follow=rules.draw_follow.output.figure,
        followed=rules.draw_follow.output.facts,
        labels=expand("results/phantom/{tube}/labels.nii.gz", tube=SINGLE_TUBES),
        images=expand("results/reconstruct/{tube}/image.nii.gz", tube=SINGLE_TUBES),
        references=expand(
            "results/reconstruct/{tube}/reference.nii.gz", tube=SINGLE_TUBES
        ),
        traces=expand("results/reconstruct/{tube}/trace.csv", tube=SINGLE_TUBES),
        truths=expand("results/phantom/{tube}/truth.json", tube=SINGLE_TUBES),
        shards=MANIFESTS,
        logs=of_models("log.csv"),
        turing=rules.make_turing.output.page,
        study=study_files,
        pod=lambda wildcards: [p for p in [POD_FIGURE] if Path(p).is_file()],  # a target of its own
    output:
        page="results/report.html",
    log:
        "logs/make_report.log",
    benchmark:
        "results/benchmarks/make_report.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=10,
    params:
        models=lookup("generate/models", within=config),
        tubes=TUBES,
        of_tubes={
            "labels": all_tubes("results/phantom/{tube}/labels.nii.gz"),
            "images": all_tubes("results/reconstruct/{tube}/image.nii.gz"),
            "references": all_tubes("results/reconstruct/{tube}/reference.nii.gz"),
            "maps": all_tubes(rules.inspect_tube.output.map),
            "truths": all_tubes("results/phantom/{tube}/truth.json"),
            "found": all_tubes(rules.inspect_tube.output.verdict),
            "traces": all_tubes("results/reconstruct/{tube}/trace.csv"),
        },
        false_call_rate=config["inspect"]["false_call_rate"],
        stages=stage_of_rule,
        code=code_digest("tubepet.report.page"),
    script:
        "../scripts/make_report.py"


rule describe_slices:
    """The slice data set as a Croissant description, beside its files."""
    input:
        rules.collect_slices.output,
        rules.label_slices.output,
    output:
        metadata="results/reconstruct/croissant.json",
    log:
        "logs/describe_slices.log",
    benchmark:
        "results/benchmarks/describe_slices.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        made=section_keys("protocol", "activity_bq per duration_s")
        | {
            "engine": config["simulate"]["engine"],
            "num_parts": len(config["phantom"]["parts"]),
        },
        code=code_digest("tubepet.report.croissant"),
    script:
        "../scripts/describe_slices.py"


rule make_crate:
    """Describe the run as an RO-Crate: workflow, config, main results with checksums, software, times."""
    input:
        report=rules.make_report.output.page,
        provenance=rules.collect_report.output.provenance_table,
        verdicts=rules.collect_inspections.output.table,
        slices=rules.describe_slices.input,
        croissant=rules.describe_slices.output.metadata,
        table1=rules.evaluate_models.output.table,
        generators=of_models("generator.safetensors"),
        cards=of_models("card.md"),
        images=expand("results/reconstruct/{tube}/image.nii.gz", tube=SINGLE_TUBES),
        shards=MANIFESTS,
    output:
        metadata="results/ro-crate-metadata.json",
        config="results/crate/config.yaml",
        workflow=directory("results/crate/workflow"),
    log:
        "logs/make_crate.log",
    benchmark:
        "results/benchmarks/make_crate.tsv"
    localrule: True
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=10,
    params:
        config=config,
        own_data=outside.own_data(config),
        images=all_tubes("results/reconstruct/{tube}/image.nii.gz"),
        code=code_digest("tubepet.report.crate"),
    script:
        "../scripts/make_crate.py"
