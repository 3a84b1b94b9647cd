# From raw files to one prepared file per setting. Raw files are no input: the verb finds or fetches them and holds
# them against their published checksums, so a dry run works before any data is there.


rule prepare:
    output:
        data="data/prepared/{setting}.safetensors",
        identity="data/prepared/{setting}.json",
    log:
        "logs/prepare/{setting}.log",
    benchmark:
        "results/benchmarks/prepare/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=memory,
        runtime=120,
    params:
        spec=lambda wildcards: json.dumps(STUDY.data_spec(wildcards.setting)),
        raw=raw_version,
    shell:
        "tasktrace prepare {wildcards.setting} --spec {params.spec:q} --out {output.data} > {log} 2>&1"


# No benchmark: Snakemake would take it for an output and plan or check only once.
rule plan:
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=json.dumps(config),
    shell:
        "tasktrace plan --config {params.config:q} 2>&1 | tee {log}"


rule check:
    log:
        "logs/check.log",
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=json.dumps(config),
    shell:
        "tasktrace check --config {params.config:q} 2>&1 | tee {log}"
