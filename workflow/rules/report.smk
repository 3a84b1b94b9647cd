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
            category="Runs",
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


# Of the study's settings, or, below results/demo/, of the demo's.
rule check_claims:
    input:
        checked_tables,
    output:
        text="results/{scope}claims.md",
        table="results/{scope}claims.csv",
        page=report(
            "results/{scope}claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"page": "the ledger of claims"},
        ),
    log:
        "logs/{scope}check_claims.log",
    benchmark:
        "results/benchmarks/{scope}check_claims.tsv"
    wildcard_constraints:
        scope="(demo/)?",
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=checked_folders,
    shell:
        "tasktrace claims --settings {params.settings} --out {output.text} > {log} 2>&1"


rule table_published:
    input:
        checked_tables,
    output:
        page=report(
            "results/{scope}published.html",
            caption="../report/published.rst",
            category="Claims",
            labels={"page": "published numbers beside ours"},
        ),
        table="results/{scope}published.csv",
    log:
        "logs/{scope}table_published.log",
    benchmark:
        "results/benchmarks/{scope}table_published.tsv"
    wildcard_constraints:
        scope="(demo/)?",
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=checked_folders,
    shell:
        "tasktrace published --settings {params.settings} --out {output.page} > {log} 2>&1"
