# From trajectories to tables, from tables to figures. No torch from here on.

TABLES = "results/tables/{setting}"


rule analyse:
    input:
        lambda wildcards: files_of(selected_of(wildcards)),
    output:
        points=f"{TABLES}/points.parquet",
        curves=f"{TABLES}/curves.parquet",
        separation=f"{TABLES}/separation.csv",
        transfer=f"{TABLES}/transfer.csv",
        runs=f"{TABLES}/runs.csv",
    log:
        "logs/analyse/{setting}.log",
    benchmark:
        "results/benchmarks/analyse/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        folder=lambda wildcards, output: folder(output.points),
        runs=lambda wildcards: folders_of(selected_of(wildcards)),
        identities=lambda wildcards: identities_of(selected_of(wildcards)),
        options=json.dumps(config["analysis"]),
    shell:
        "tasktrace analyse {wildcards.setting} --runs {params.runs} --identities {params.identities} --options {params.options:q}"
        " --out {params.folder} > {log} 2>&1"


rule figure_a1:
    input:
        points=f"{TABLES}/points.parquet",
        curves=f"{TABLES}/curves.parquet",
        separation=f"{TABLES}/separation.csv",
    output:
        pdf="results/figures/{setting}/fig_a1.pdf",
        png=report(
            "results/figures/{setting}/fig_a1.png",
            caption="../report/fig_a1.rst",
            category="Figures",
            labels={"figure": "A1", "setting": "{setting}"},
        ),
        csv="results/figures/{setting}/fig_a1.csv",
    log:
        "logs/figure_a1/{setting}.log",
    benchmark:
        "results/benchmarks/figure_a1/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        tables=lambda wildcards, input: folder(input.points),
        options=lambda wildcards: json.dumps(STUDY.figure_a1(wildcards.setting)),
    shell:
        "tasktrace figure a1 {wildcards.setting} --tables {params.tables} --options {params.options:q}"
        " --out {output.png} > {log} 2>&1"
