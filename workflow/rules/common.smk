# The study behind the wildcards. Every job on a cluster parses this file: nothing here may import torch or pandas.

import json
import os
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import ExecMode

from tasktrace.config import Study, shown
from tasktrace.config.loading import read_yaml
from tasktrace.config.study import identity
from tasktrace.errors import TasktraceError
from tasktrace.versioning.pointers import DATA, read_pointer

try:
    for path in workflow.configfiles:
        read_yaml(Path(path))  # Snakemake's own reading lets a key stand twice
    STUDY = Study(config, where=" with ".join(map(str, workflow.configfiles)))
    RAW = read_pointer(DATA)
except TasktraceError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    setting="|".join(STUDY.settings),
    arm="|".join(map(re.escape, STUDY.arms_by_path)),
    seed=r"\d+",


def folder(path):
    return os.path.dirname(path)


def only(arms):
    """The wildcard constraint of a rule for these arms."""
    return "|".join(map(re.escape, arms)) or "(?!)"


def packed_rule(name, number):
    """The first pack of a stage stands for any run that is not packed."""
    return f"{name}_packed_{number}" if number else name


def packed_files(pack, *names):
    """What the runs of a pack declare: small files, compared by content."""
    return [
        f"results/runs/{{arm}}/{place}/{name}"
        for place in pack.places
        for name in names
    ]


def packed_runs(pack, wildcards):
    places = [place.format_map(dict(wildcards.items())) for place in pack.places]
    return [STUDY.find_run(f"{wildcards.arm}/{place}") for place in places]


def packed_folders(pack):
    return lambda wildcards: folders_of(packed_runs(pack, wildcards))


def packed_specs(pack, spec_of):
    return lambda wildcards: json.dumps(
        [spec_of(run) for run in packed_runs(pack, wildcards)]
    )


def resources_of(wildcards):
    setting = wildcards.get("setting") or wildcards.arm.partition("/")[0]
    return STUDY.resources(setting)


def memory(wildcards, attempt):
    return resources_of(wildcards).mem_mb * attempt


def gpus(wildcards):
    return resources_of(wildcards).gpu


def runtime(stage, pack):
    return lambda wildcards, attempt: resources_of(wildcards).runtime(
        stage, len(pack.places), attempt
    )


def time_limit(stage, pack):
    """The runtime on a cluster, which kills a job whose time is over; elsewhere it is a guess that nothing enforces."""
    return runtime(stage, pack) if workflow.exec_mode != ExecMode.DEFAULT else 0


def group(stage):
    """The name under which a profile may pack jobs into one allocation: train_cifar100_alone, train_cifar100_together."""

    def name(wildcards):
        arm = STUDY.find_arm(wildcards.arm)
        return f"{stage}_{arm.setting}_{'alone' if arm.method is None else 'together'}"

    return name


def files_of(runs):
    """What a run declares: small files, compared by content."""
    return [
        f"results/runs/{run.path}/{name}"
        for run in runs
        for name in ("run.json", "trajectory.parquet")
    ]


def folders_of(runs):
    return [f"results/runs/{run.path}" for run in runs]


def identities_of(runs):
    """What the runs have to have been trained with: a run that a person trained has no record with Snakemake."""
    return [identity(STUDY.run_spec(run)) for run in runs]


def candidates_of(wildcards):
    return STUDY.candidate_runs(STUDY.find_arm(wildcards.arm))


def selected_of(wildcards):
    return STUDY.selected_runs_of(wildcards.setting)


def grid_of(wildcards):
    return STUDY.grid_runs_of(wildcards.setting)


def watched_of(wildcards):
    return STUDY.watched_runs_of(wildcards.setting)


def refitted_of(wildcards):
    return STUDY.refitted_runs_of(wildcards.setting)


def raw_version(wildcards):
    """What data.dvc names a setting's raw data with, if it does: other raw data is prepared anew."""
    return RAW.get(f"data/raw/{STUDY.settings[wildcards.setting]['setting']}")


def prepared_data(wildcards):
    setting = wildcards.arm.partition("/")[0]
    return f"data/prepared/{setting}.safetensors"


def data_identity(wildcards):
    return prepared_data(wildcards).replace(".safetensors", ".json")


def measure_spec(run):
    return STUDY.measure_spec(run.arm.setting)


def refit_spec(run):
    return STUDY.refit_spec(run.arm.setting)


def corrupted_data(wildcards):
    setting = wildcards.arm.partition("/")[0]
    return f"data/corrupted/{setting}/corrupted.json"


def corruption_spec(wildcards):
    return json.dumps(STUDY.corruption_spec(wildcards.setting))


def refits_of(runs):
    return [
        f"results/runs/{run.path}/{name}"
        for run in runs
        for name in ("corrupted.json", "corrupted.parquet")
    ]


def factors_of(runs):
    return [
        f"results/runs/{run.path}/{name}"
        for run in runs
        for name in ("factors.json", "factors.parquet")
    ]


def figure_options(figure):
    """What a figure's rule passes on, as a function of its wildcards."""
    return lambda wildcards: json.dumps(
        shown.figure_options(STUDY, figure, wildcards.setting)
    )


def figure_files(figure, settings):
    """A figure of every setting that can show it.

    Where none can, the target says so, and is not done by doing nothing.
    """
    able = [name for name in settings if figure in shown.figures_of(STUDY, name)]

    def files(wildcards):
        if not able:
            raise WorkflowError(
                f"fig_{figure}: no setting of the study can show it: a1 to a3 need groups, a4 two methods, a5 and a6 "
                f"auxiliary sets, b2 and b_a3 experiments, b4 to b_a7 similarity, b_a8 corruption; the settings are {', '.join(settings)}"
            )
        return [
            f"results/figures/{name}/fig_{figure}.{ending}"
            for name in able
            for ending in ("pdf", "png")
        ]

    return files


def results_of(settings):
    figures = [
        f"results/figures/{name}/fig_{figure}.{ending}"
        for name in settings
        for figure in shown.figures_of(STUDY, name)
        for ending in ("pdf", "png")
    ]
    tables = [
        f"results/figures/{name}/{table}.html"
        for name in settings
        for table in shown.tables_of(STUDY, name)
    ]
    pages = [f"results/report/{name}.html" for name in settings if STUDY.arms(name)]
    numbers = [f"results/metrics/{name}.json" for name in settings]
    return figures + tables + pages + numbers


def settings_of(wildcards):
    """The settings that a ledger is about: the study's, or the demo's."""
    return config["demo" if wildcards.scope else "settings"]


def checked_tables(wildcards):
    """The tables that claims and published numbers are held against."""
    of_settings = [
        f"results/tables/{name}/{table}"
        for name in settings_of(wildcards)
        for table in shown.checked_tables(STUDY, name)
    ]
    small = [
        f"results/tables/{study}/{table}"
        for study, tables in CHECKED_STUDIES.items()
        for table in tables
        if not wildcards.scope
    ]
    return of_settings + small


def checked_folders(wildcards):
    """The settings and small studies of these tables."""
    return list(
        dict.fromkeys(Path(path).parent.name for path in checked_tables(wildcards))
    )


def table_files(table, settings):
    """A table of every setting of which it can be made; where there is none, the target says so."""
    able = [name for name in settings if table in shown.tables_of(STUDY, name)]

    def files(wildcards):
        if not able:
            raise WorkflowError(
                f"{table}: no setting of the study has it: tab_a1 needs groups, tab_b2 experiments, tab_b_a8 "
                f"corruption in experiments; the settings are {', '.join(settings)}"
            )
        return [f"results/figures/{name}/{table}.html" for name in able]

    return files


def small_study_results():
    figures = [
        f"results/figures/{study}/fig_{figure}.{ending}"
        for figure, study in STUDY_FIGURES.items()
        for ending in ("pdf", "png")
    ]
    return [*figures, "results/figures/toy/tab_b1.html"]
