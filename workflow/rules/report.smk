# What `snakemake --report` shows beside the figures: the tables, the selected points, and how every run went.


rule report_tables:
    input:
        tables=rules.analyse.output,
        selected=lambda wildcards: [
            f"results/selected/{arm.path}.json"
            for arm in STUDY.arms(wildcards.setting)
        ],
    output:
        report(
            "results/report/{setting}.html",
            caption="../report/tables.rst",
            category="Tables and runs",
            labels={"setting": "{setting}"},
        ),
    log:
        "logs/report_tables/{setting}.log",
    benchmark:
        "results/benchmarks/report_tables/{setting}.tsv"
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        tables=lambda wildcards, input: folder(input.tables[0]),
    shell:
        "tasktrace report {wildcards.setting} --tables {params.tables} --selected {input.selected} --out {output}"
        " > {log} 2>&1"
