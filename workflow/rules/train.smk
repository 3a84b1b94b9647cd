# A run is stale when its spec is: options that differ from their defaults, component versions, and what its data is
# made of; no source file is an input. The data itself is ancient(), so that touching it reruns nothing; its small
# identity file is compared by content. It is needed: Snakemake does not look at the parameters of a job behind one
# that runs anyway, so with ancient() alone newly prepared data would leave the old runs in place.
#
# One rule for runs that have a job each, and one for every way in which an arm's runs share one.


TRAINED = {
    "train": (r"lr[^/]+_bs\d+", STUDY.sweep_packs(), []),
    "train_selected": (
        "selected",
        STUDY.selected_packs(),
        "results/selected/{arm}.json",
    ),
}


for stage, (points, packs, selection) in TRAINED.items():
    for number, pack in enumerate(packs):

        rule:
            name:
                packed_rule(stage, number)
            input:
                data=ancient(prepared_data),
                identity=data_identity,
                selection=selection,
            output:
                packed_files(pack, "run.json", "trajectory.parquet"),
            log:
                f"logs/train/{{arm}}/{pack.name}.log",
            benchmark:
                f"results/benchmarks/train/{{arm}}/{pack.name}.tsv"
            wildcard_constraints:
                arm=only(pack.arms),
                point=points,
            group:
                group(stage)
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
                selection=f"--selection {selection}" if selection else "",
            shell:
                "tasktrace train {params.folders} --data {input.data} --spec {params.specs:q} {params.selection}"
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
