# From the best epochs of a grid's chosen runs to what corruption leaves of their metrics. The corrupted pictures are
# made once for all runs; their small record is an ordinary input, compared by content.

CORRUPTED = "data/corrupted/{setting}"


rule corrupt:
    input:
        data=ancient("data/prepared/{setting}.safetensors"),
        identity="data/prepared/{setting}.json",
    output:
        record=f"{CORRUPTED}/corrupted.json",
    log:
        "logs/corrupt/{setting}.log",
    benchmark:
        "results/benchmarks/corrupt/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=memory,
        runtime=240,
    params:
        folder=lambda wildcards, output: folder(output.record),
        spec=corruption_spec,
    shell:
        "tasktrace corrupt {wildcards.setting} --spec {params.spec:q} --data {input.data} --out {params.folder}"
        " > {log} 2>&1"


for number, pack in enumerate(STUDY.selected_packs()):

    rule:
        name:
            packed_rule("refit", number)
        input:
            packed_files(pack, "run.json"),
            data=ancient(prepared_data),
            corrupted=corrupted_data,
        output:
            packed_files(pack, "corrupted.json", "corrupted.parquet"),
        log:
            f"logs/refit/{{arm}}/{pack.name}.log",
        benchmark:
            f"results/benchmarks/refit/{{arm}}/{pack.name}.tsv"
        wildcard_constraints:
            arm=only(pack.arms),
            point="selected",
        group:
            group("refit")
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=memory,
            gpu=gpus,
            runtime=runtime("refit", pack),
        params:
            folders=packed_folders(pack),
            corrupted=lambda wildcards, input: folder(input.corrupted),
            specs=packed_specs(pack, refit_spec),
        shell:
            "tasktrace refit {params.folders} --data {input.data} --corrupted {params.corrupted} --spec {params.specs:q}"
            " --threads {threads} > {log} 2>&1"


rule corruption:
    input:
        lambda wildcards: refits_of(refitted_of(wildcards)),
    output:
        transfer=f"{TABLES}/corruption_transfer.csv",
        scores=f"{TABLES}/corruption_scores.csv",
    log:
        "logs/corruption/{setting}.log",
    benchmark:
        "results/benchmarks/corruption/{setting}.tsv"
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        folder=lambda wildcards, output: folder(output.transfer),
        runs=lambda wildcards: folders_of(refitted_of(wildcards)),
        identities=lambda wildcards: identities_of(refitted_of(wildcards)),
    shell:
        "tasktrace corruption {wildcards.setting} --runs {params.runs} --identities {params.identities}"
        " --out {params.folder} > {log} 2>&1"
