# Study B's small studies: no data, no runs; minutes on one core.

STUDIES = {
    "toy": ["hits.csv", "table.csv", "trajectories.parquet", "landscape.parquet"],
    "invariance": ["series.parquet", "differences.csv"],
}
CHECKED_STUDIES = {
    "toy": ["hits.csv", "table.csv"],
    "invariance": ["differences.csv"],
}
STUDY_FIGURES = {"b1": "toy", "b_a1": "invariance", "b_a2": "invariance"}


for study, tables in STUDIES.items():

    rule:
        name:
            f"study_{study}"
        output:
            [f"results/tables/{study}/{table}" for table in tables],
        log:
            f"logs/study/{study}.log",
        benchmark:
            f"results/benchmarks/study/{study}.tsv"
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            study=study,
            folder=lambda wildcards, output: folder(output[0]),
            spec=json.dumps(STUDY.study_spec(study)),
        shell:
            "tasktrace study {params.study} --spec {params.spec:q} --out {params.folder} > {log} 2>&1"


for figure, study in STUDY_FIGURES.items():

    rule:
        name:
            f"figure_{figure}"
        input:
            [f"results/tables/{study}/{table}" for table in STUDIES[study]],
        output:
            pdf=f"results/figures/{study}/fig_{figure}.pdf",
            png=report(
                f"results/figures/{study}/fig_{figure}.png",
                caption=f"../report/fig_{figure}.rst",
                category="Study B",
                subcategory="Figures",
                labels={"figure": figure.upper().replace("_", " "), "setting": study},
            ),
            csv=f"results/figures/{study}/fig_{figure}.csv",
        log:
            f"logs/figure_{figure}/{study}.log",
        benchmark:
            f"results/benchmarks/figure_{figure}/{study}.tsv"
        localrule: True
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            figure=figure,
            study=study,
            tables=lambda wildcards, input: folder(input[0]),
            options=json.dumps(shown.study_figure(STUDY, figure)),
        shell:
            "tasktrace figure {params.figure} {params.study} --tables {params.tables} --options {params.options:q}"
            " --out {output.png} > {log} 2>&1"


rule table_b1:
    input:
        "results/tables/toy/table.csv",
    output:
        html=report(
            "results/figures/toy/tab_b1.html",
            caption="../report/tab_b1.rst",
            category="Study B",
            subcategory="Tables",
            labels={"table": "B1", "setting": "toy"},
        ),
        csv="results/figures/toy/tab_b1.csv",
    log:
        "logs/table_b1/toy.log",
    benchmark:
        "results/benchmarks/table_b1/toy.tsv"
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        tables=lambda wildcards, input: folder(input[0]),
        options=json.dumps(shown.study_figure(STUDY, "tab_b1")),
    shell:
        "tasktrace figure tab_b1 toy --tables {params.tables} --options {params.options:q} --out {output.html}"
        " > {log} 2>&1"
