# From checkpoints to factors. Nothing here trains: another measure, or another of its options, measures what is new.
# The run's record is an ordinary input, compared by content, which changes only when the run was trained again.


for number, pack in enumerate(STUDY.selected_packs()):

    rule:
        name:
            packed_rule("measure", number)
        input:
            packed_files(pack, "run.json"),
            data=ancient(prepared_data),
        output:
            packed_files(pack, "factors.json", "factors.parquet"),
        log:
            f"logs/measure/{{arm}}/{pack.name}.log",
        benchmark:
            f"results/benchmarks/measure/{{arm}}/{pack.name}.tsv"
        wildcard_constraints:
            arm=only(pack.arms),
            point="selected",
        group:
            group("measure")
        conda:
            "../envs/tasktrace.yaml"
        threads: 1
        resources:
            mem_mb=memory,
            gpu=gpus,
            runtime=runtime("measure", pack),
        params:
            folders=packed_folders(pack),
            specs=packed_specs(pack, measure_spec),
        shell:
            "tasktrace measure {params.folders} --data {input.data} --spec {params.specs:q} --threads {threads} > {log} 2>&1"
