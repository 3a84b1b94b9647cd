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


rule factors:
    input:
        lambda wildcards: files_of(selected_of(wildcards))
        + factors_of(selected_of(wildcards)),
    output:
        factors=f"{TABLES}/factors.parquet",
        curves=f"{TABLES}/factor_curves.parquet",
        deltas=f"{TABLES}/deltas.csv",
        table_a1=f"{TABLES}/table_a1.csv",
        methods=f"{TABLES}/methods.csv",
        shares=f"{TABLES}/shares.csv",
        auxiliary=f"{TABLES}/auxiliary.csv",
        correlations=f"{TABLES}/correlations.csv",
    log:
        "logs/factors/{setting}.log",
    benchmark:
        "results/benchmarks/factors/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        folder=lambda wildcards, output: folder(output.factors),
        runs=lambda wildcards: folders_of(selected_of(wildcards)),
        identities=lambda wildcards: identities_of(selected_of(wildcards)),
        options=lambda wildcards: json.dumps(STUDY.factor_options(wildcards.setting)),
    shell:
        "tasktrace factors {wildcards.setting} --runs {params.runs} --identities {params.identities} --options {params.options:q}"
        " --out {params.folder} > {log} 2>&1"


rule experiments:
    input:
        lambda wildcards: files_of(grid_of(wildcards)),
    output:
        experiments=f"{TABLES}/experiments.csv",
        runs=f"{TABLES}/experiment_runs.csv",
        baseline=f"{TABLES}/baseline.csv",
        counts=f"{TABLES}/pareto_counts.csv",
        methods=f"{TABLES}/pareto_methods.csv",
        results=f"{TABLES}/results.csv",
    log:
        "logs/experiments/{setting}.log",
    benchmark:
        "results/benchmarks/experiments/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        folder=lambda wildcards, output: folder(output.experiments),
        runs=lambda wildcards: folders_of(grid_of(wildcards)),
        identities=lambda wildcards: identities_of(grid_of(wildcards)),
    shell:
        "tasktrace experiments {wildcards.setting} --runs {params.runs} --identities {params.identities}"
        " --out {params.folder} > {log} 2>&1"


rule similarity:
    input:
        lambda wildcards: files_of(watched_of(wildcards)),
    output:
        f"{TABLES}/similarity.parquet",
    log:
        "logs/similarity/{setting}.log",
    benchmark:
        "results/benchmarks/similarity/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        folder=lambda wildcards, output: folder(output[0]),
        runs=lambda wildcards: folders_of(watched_of(wildcards)),
        identities=lambda wildcards: identities_of(watched_of(wildcards)),
    shell:
        "tasktrace similarity {wildcards.setting} --runs {params.runs} --identities {params.identities}"
        " --out {params.folder} > {log} 2>&1"
