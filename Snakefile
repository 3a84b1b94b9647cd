# tasktrace: trains tasks alone and together, follows every task's trajectory, draws the studies' figures.
#
#   snakemake --cores 2 demo      the embedded digits, a few minutes
#   snakemake --cores 2 fig_a1    one figure, for every setting of the study
#   snakemake --cores 2 all       everything
#   snakemake --cores 1 check     what is missing on this machine

from snakemake.utils import min_version

min_version("9.19")


configfile: "config/config.yaml"


report: "workflow/report/overview.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    demo,
    fig_a1,
    check,
    select,
    figure_a1,
    report_tables,


rule all:
    default_target: True
    input:
        results_of(config["settings"]),


rule demo:
    input:
        results_of(config["demo"]),


rule fig_a1:
    input:
        figure_files("a1", config["settings"]),
