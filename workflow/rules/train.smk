# A run is stale when its spec is: options that differ from their defaults, component versions, and what its data is
# made of; no source file is an input. The data itself is ancient(), so that touching it reruns nothing; its small
# identity file is compared by content. It is needed: Snakemake does not look at the parameters of a job behind one
# that runs anyway, so with ancient() alone newly prepared data would leave the old runs in place.


rule train:
    input:
        data=ancient(prepared_data),
        identity=data_identity,
    output:
        record=f"{RUN}/run.json",
        trajectory=f"{RUN}/trajectory.parquet",
    log:
        "logs/train/{arm}/{point}/seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{arm}/{point}/seed{seed}.tsv"
    wildcard_constraints:
        point=r"lr[^/]+_bs\d+",
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        folder=lambda wildcards, output: folder(output.record),
        spec=run_spec,
        selection="",
    shell:
        "tasktrace train {params.folder} --data {input.data} --spec {params.spec:q} {params.selection}"
        " --threads {threads} > {log} 2>&1"


use rule train as train_selected with:
    input:
        data=ancient(prepared_data),
        identity=data_identity,
        selection="results/selected/{arm}.json",
    wildcard_constraints:
        point="selected",
    params:
        folder=lambda wildcards, output: folder(output.record),
        spec=run_spec,
        selection=lambda wildcards, input: f"--selection {input.selection}",


rule select:
    input:
        lambda wildcards: files_of(candidates_of(wildcards)),
    output:
        "results/selected/{arm}.json",
    log:
        "logs/select/{arm}.log",
    benchmark:
        "results/benchmarks/select/{arm}.tsv"
    localrule: True
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        runs=lambda wildcards: folders_of(candidates_of(wildcards)),
        identities=lambda wildcards: identities_of(candidates_of(wildcards)),
    shell:
        "tasktrace select {wildcards.arm} --runs {params.runs} --identities {params.identities} --out {output} > {log} 2>&1"
