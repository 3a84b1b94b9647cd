# One rule per figure, all alike: some tables in, a picture and its numbers out.

FIGURES = {
    "a1": ["points.parquet", "curves.parquet", "separation.csv"],
    "a2": ["points.parquet", "curves.parquet", "transfer.csv"],
    "a3": ["factors.parquet", "factor_curves.parquet"],
    "a4": ["methods.csv"],
    "a5": ["auxiliary.csv", "correlations.csv"],
    "a6": ["auxiliary.csv", "correlations.csv", "transfer.csv"],
    "b2": ["experiments.csv", "baseline.csv"],
    "b_a3": ["results.csv"],
    "b4": ["similarity.parquet"],
    "b_a5": ["similarity.parquet"],
    "b_a6": ["similarity.parquet"],
    "b_a7": ["similarity.parquet"],
}


for figure, tables in FIGURES.items():

    rule:
        name:
            f"figure_{figure}"
        input:
            [f"{TABLES}/{table}" for table in tables],
        output:
            pdf=f"results/figures/{{setting}}/fig_{figure}.pdf",
            png=report(
                f"results/figures/{{setting}}/fig_{figure}.png",
                caption=f"../report/fig_{figure}.rst",
                category="Figures",
                labels={
                    "figure": figure.upper().replace("_", " "),
                    "setting": "{setting}",
                },
            ),
            csv=f"results/figures/{{setting}}/fig_{figure}.csv",
        log:
            f"logs/figure_{figure}/{{setting}}.log",
        benchmark:
            f"results/benchmarks/figure_{figure}/{{setting}}.tsv"
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            figure=figure,
            tables=lambda wildcards, input: folder(input[0]),
            options=figure_options(figure),
        shell:
            "tasktrace figure {params.figure} {wildcards.setting} --tables {params.tables} --options {params.options:q}"
            " --out {output.png} > {log} 2>&1"


rule table_a1:
    input:
        f"{TABLES}/table_a1.csv",
    output:
        html=report(
            "results/figures/{setting}/tab_a1.html",
            caption="../report/tab_a1.rst",
            category="Tables and runs",
            labels={"table": "A1", "setting": "{setting}"},
        ),
        csv="results/figures/{setting}/tab_a1.csv",
    log:
        "logs/table_a1/{setting}.log",
    benchmark:
        "results/benchmarks/table_a1/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        tables=lambda wildcards, input: folder(input[0]),
        options=figure_options("tab_a1"),
    shell:
        "tasktrace figure tab_a1 {wildcards.setting} --tables {params.tables} --options {params.options:q}"
        " --out {output.html} > {log} 2>&1"


rule table_b2:
    input:
        multiext(
            f"{TABLES}/",
            "results.csv",
            "baseline.csv",
            "pareto_counts.csv",
            "pareto_methods.csv",
        ),
    output:
        html=report(
            "results/figures/{setting}/tab_b2.html",
            caption="../report/tab_b2.rst",
            category="Tables and runs",
            labels={"table": "B2", "setting": "{setting}"},
        ),
        csv="results/figures/{setting}/tab_b2.csv",
    log:
        "logs/table_b2/{setting}.log",
    benchmark:
        "results/benchmarks/table_b2/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        tables=lambda wildcards, input: folder(input[0]),
        options=figure_options("tab_b2"),
    shell:
        "tasktrace figure tab_b2 {wildcards.setting} --tables {params.tables} --options {params.options:q}"
        " --out {output.html} > {log} 2>&1"
