# A run is stale when its spec is: options that differ from their defaults, component versions, and what its data is
# made of; no source file is an input. The data itself is ancient(), so that touching it reruns nothing; its small
# identity file is compared by content. It is needed: Snakemake does not look at the parameters of a job behind one
# that runs anyway, so with ancient() alone newly prepared data would leave the old runs in place.
#
# One rule for runs that have a job each, and one for every way in which an arm's runs share one.


for number, pack in enumerate(STUDY.sweep_packs()):

    rule:
        name:
            packed_rule("train", number)
        input:
            data=ancient(prepared_data),
            identity=data_identity,
        output:
            packed_files(pack, "run.json", "trajectory.parquet"),
        log:
            f"logs/train/{{arm}}/{pack.name}.log",
        benchmark:
            f"results/benchmarks/train/{{arm}}/{pack.name}.tsv"
        wildcard_constraints:
            arm=only(pack.arms),
            point=r"lr[^/]+_bs\d+",
        group:
            group("train")
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=memory,
            gpu=gpus,
            runtime=runtime("train", pack),
            time_limit=time_limit("train", pack),
        params:
            folders=packed_folders(pack),
            specs=packed_specs(pack, STUDY.run_spec),
        shell:
            "tasktrace train {params.folders} --data {input.data} --spec {params.specs:q} --threads {threads}"
            " --minutes {resources.time_limit} > {log} 2>&1"


for number, pack in enumerate(STUDY.selected_packs()):

    rule:
        name:
            packed_rule("train_selected", number)
        input:
            data=ancient(prepared_data),
            identity=data_identity,
            selection="results/selected/{arm}.json",
        output:
            packed_files(pack, "run.json", "trajectory.parquet"),
        log:
            f"logs/train/{{arm}}/{pack.name}.log",
        benchmark:
            f"results/benchmarks/train/{{arm}}/{pack.name}.tsv"
        wildcard_constraints:
            arm=only(pack.arms),
            point="selected",
        group:
            group("train_selected")
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=memory,
            gpu=gpus,
            runtime=runtime("train", pack),
            time_limit=time_limit("train", pack),
        params:
            folders=packed_folders(pack),
            specs=packed_specs(pack, STUDY.run_spec),
        shell:
            "tasktrace train {params.folders} --data {input.data} --spec {params.specs:q} --selection {input.selection}"
            " --threads {threads} --minutes {resources.time_limit} > {log} 2>&1"


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
