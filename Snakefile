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
include: "workflow/rules/figures.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    demo,
    check,
    select,
    report_tables,
    table_a1,
    tab_a1,
    table_b1,
    tab_b1,
    table_b2,
    tab_b2,
    fig_b2,
    fig_b_a3,
    figure_b2,
    figure_b_a3,
    fig_b4,
    fig_b_a5,
    fig_b_a6,
    fig_b_a7,
    figure_b4,
    figure_b_a5,
    figure_b_a6,
    figure_b_a7,
    fig_b1,
    fig_b_a1,
    fig_b_a2,
    figure_b1,
    figure_b_a1,
    figure_b_a2,
    fig_a1,
    fig_a2,
    fig_a3,
    fig_a4,
    fig_a5,
    fig_a6,
    figure_a1,
    figure_a2,
    figure_a3,
    figure_a4,
    figure_a5,
    figure_a6,


rule all:
    default_target: True
    input:
        results_of(config["settings"]),
        small_study_results(),


rule demo:
    input:
        results_of(config["demo"]),


for figure in FIGURES:

    rule:
        name:
            f"fig_{figure}"
        input:
            figure_files(figure, config["settings"]),


rule tab_a1:
    input:
        table_files("tab_a1", config["settings"]),


rule tab_b2:
    input:
        table_files("tab_b2", config["settings"]),


for figure, study in STUDY_FIGURES.items():

    rule:
        name:
            f"fig_{figure}"
        input:
            f"results/figures/{study}/fig_{figure}.png",


rule tab_b1:
    input:
        rules.table_b1.output.html,
