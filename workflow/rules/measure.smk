# From checkpoints to factors. Nothing here trains: another measure, or another of its options, measures what is new.
# The run's record is an ordinary input, compared by content, which changes only when the run was trained again.


rule measure:
    input:
        record=f"{RUN}/run.json",
        data=ancient(prepared_data),
    output:
        factors=f"{RUN}/factors.parquet",
        record=f"{RUN}/factors.json",
    log:
        "logs/measure/{arm}/{point}/seed{seed}.log",
    benchmark:
        "results/benchmarks/measure/{arm}/{point}/seed{seed}.tsv"
    wildcard_constraints:
        point="selected",
    conda:
        "../envs/tasktrace.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        folder=lambda wildcards, output: folder(output.record),
        spec=measure_spec,
    shell:
        "tasktrace measure {params.folder} --data {input.data} --spec {params.spec:q} --threads {threads} > {log} 2>&1"
