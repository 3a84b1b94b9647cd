# tasktrace: trains tasks alone and together, follows every task's trajectory, draws the studies' figures.
#
#   snakemake --cores 2 demo      the embedded digits, a few minutes
#   snakemake --cores 2 fig_a1    one figure, for every setting of the study
#   snakemake --cores 2 all       everything
#   snakemake --profile slurm all the same on a cluster (docs/cluster.md)
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
include: "workflow/rules/corrupt.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/report.smk"


onerror:
    print(
        "\n`tasktrace status` lists the runs that failed, each with its last word; on a cluster, `tasktrace check "
        "--profile slurm` says what it would refuse."
    )


rule all:
    default_target: True
    input:
        results_of(config["settings"]),
        small_study_results(),
        "results/claims.md",
        "results/published.html",
    localrule: True


rule demo:
    input:
        results_of(config["demo"]),
        "results/demo/claims.md",
        "results/demo/published.html",
    localrule: True


rule claims:
    input:
        "results/claims.md",
    localrule: True


rule tab_published:
    input:
        "results/published.html",
    localrule: True


for figure in FIGURES:

    rule:
        name:
            f"fig_{figure}"
        input:
            figure_files(figure, config["settings"]),
        localrule: True


for page in PAGES:

    rule:
        name:
            f"tab_{page}"
        input:
            table_files(f"tab_{page}", config["settings"]),
        localrule: True


# Figure A4 is figure 2 of other settings, and table A2 stands on the page of table 2.
rule fig_b_a4:
    input:
        figure_files("b2", config["settings"]),
    localrule: True


rule tab_b_a2:
    input:
        table_files("tab_b2", config["settings"]),
    localrule: True


for figure, study in STUDY_FIGURES.items():

    rule:
        name:
            f"fig_{figure}"
        input:
            f"results/figures/{study}/fig_{figure}.png",
        localrule: True


rule tab_b1:
    input:
        rules.table_b1.output.html,
    localrule: True
