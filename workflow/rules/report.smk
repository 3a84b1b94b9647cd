# What sums a study up: beside the figures of `snakemake --report` the tables, the selected points, and how every run
# went; and the few numbers and bars that DVC compares.

from tasktrace.config.summary import summary_options, summary_tables


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


rule metrics:
    input:
        lambda wildcards: [
            f"results/tables/{wildcards.setting}/{name}"
            for name in summary_tables(STUDY, wildcards.setting)
        ],
    output:
        numbers="results/metrics/{setting}.json",
        transfer="results/plots/transfer/{setting}.csv",
        experiments="results/plots/experiments/{setting}.csv",
    log:
        "logs/metrics/{setting}.log",
    benchmark:
        "results/benchmarks/metrics/{setting}.tsv"
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        tables=lambda wildcards, input: folder(input[0]),
        options=lambda wildcards: json.dumps(summary_options(STUDY, wildcards.setting)),
        plots=lambda wildcards, output: folder(folder(output.transfer)),
    shell:
        "tasktrace metrics {wildcards.setting} --tables {params.tables} --options {params.options:q}"
        " --out {output.numbers} --plots {params.plots} > {log} 2>&1"
