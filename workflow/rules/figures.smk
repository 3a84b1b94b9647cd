# One rule per figure and per page of tables, all alike: some tables in, a picture or a page and its numbers out.

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
    "b_a8": ["corruption_transfer.csv"],
}
PAGES = {
    "a1": ["table_a1.csv"],
    "b2": ["results.csv", "baseline.csv", "pareto_counts.csv", "pareto_methods.csv"],
    "b_a8": ["corruption_transfer.csv", "corruption_scores.csv"],
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
                category=f"Study {figure[0].upper()}",
                subcategory="Figures",
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
        localrule: True
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


for page, tables in PAGES.items():

    rule:
        name:
            f"table_{page}"
        input:
            [f"{TABLES}/{table}" for table in tables],
        output:
            html=report(
                f"results/figures/{{setting}}/tab_{page}.html",
                caption=f"../report/tab_{page}.rst",
                category=f"Study {page[0].upper()}",
                subcategory="Tables",
                labels={
                    "table": page.upper().replace("_", " "),
                    "setting": "{setting}",
                },
            ),
            csv=f"results/figures/{{setting}}/tab_{page}.csv",
        log:
            f"logs/table_{page}/{{setting}}.log",
        benchmark:
            f"results/benchmarks/table_{page}/{{setting}}.tsv"
        localrule: True
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            page=page,
            tables=lambda wildcards, input: folder(input[0]),
            options=figure_options(f"tab_{page}"),
        shell:
            "tasktrace figure tab_{params.page} {wildcards.setting} --tables {params.tables}"
            " --options {params.options:q} --out {output.html} > {log} 2>&1"
