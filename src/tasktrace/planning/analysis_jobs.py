"""The jobs that take seconds: points are chosen, tables, figures and pages made.

They are done if what they make is there and nothing before them is left. Snakemake looks at more (options of the
analysis, inputs that changed), so that more of them may be left than is found here.
"""

from collections.abc import Sequence
from pathlib import Path

from tasktrace.config import Arm, Run, Study, shown
from tasktrace.config.shown import SIMILARITY_FIGURES
from tasktrace.places import selection_path, tables_folder
from tasktrace.planning import sizes
from tasktrace.planning.jobs import ANALYSIS, MEASURE, REFIT, STUDIES, TRAINING, Item, Job
from tasktrace.planning.shapes import Shape

_FED_BY = {
    **dict.fromkeys(("a1", "a2"), ("analyse",)),
    **dict.fromkeys(("a3", "a4", "a5", "tab_a1"), ("factors",)),
    "a6": ("factors", "analyse"),
    **dict.fromkeys(("b2", "b_a3", "tab_b2"), ("experiments",)),
    **dict.fromkeys(SIMILARITY_FIGURES, ("similarity",)),
    **dict.fromkeys(("b_a8", "tab_b_a8"), ("corruption",)),
}
"""The rules that make the tables which a figure, or a page of tables, shows."""

_SUMMED_UP = ("analyse", "experiments")
"""The rules that make the tables which are summed up in a few numbers, as far as a setting has them."""

_FIRST_TABLES = {
    "analyse": "points.parquet",
    "factors": "factors.parquet",
    "experiments": "experiments.csv",
    "similarity": "similarity.parquet",
    "corruption": "corruption_transfer.csv",
}
"""One file of each rule that makes tables, which stands for all of them."""

_SMALL_STUDIES = {"toy": ("hits.csv", ("fig_b1", "tab_b1")), "invariance": ("series.parquet", ("fig_b_a1", "fig_b_a2"))}
"""By study a file of its tables, and what shows them."""


_OF_ALL = {"check_claims": "claims.md", "table_published": "published.html"}
"""The rules that hold all tables against the papers, and what they make."""


def analysis_jobs(study: Study, setting: str, before: Sequence[Job]) -> list[Job]:
    """What is made of a setting's runs, and of the tables.

    Args:
        study: The study.
        setting: The setting's name.
        before: The jobs on its runs.
    """
    return _Analysis(study, setting, before).jobs()


def jobs_of_no_setting(study: Study) -> list[Job]:
    """The jobs of study B's small studies, and those that hold everything against the papers."""
    jobs = []
    for name, (table, shows) in _SMALL_STUDIES.items():
        spec = study.study_spec(name)
        is_run = (study.root / tables_folder(name) / table).exists()
        shape = Shape(f"study_{name}", spec)
        jobs.append(Job(name, STUDIES, f"study_{name}", Path("study") / f"{name}.tsv", (Item(is_run, (shape,)),)))
        jobs += [_job(name, _rule_of(page), is_run and _is_shown(study, name, page)) for page in shows]
    for rule, page in _OF_ALL.items():
        jobs.append(_job("", rule, (study.root / "results" / page).exists(), Path(f"{rule}.tsv")))
    return jobs


class _Analysis:
    """See :func:`analysis_jobs`."""

    def __init__(self, study: Study, setting: str, before: Sequence[Job]) -> None:
        self._study, self._setting, self._before = study, setting, before
        self._trained = {
            item.run.path
            for job in before
            for item in job.items
            if job.stage in TRAINING and item.run is not None and item.is_done
        }

    def jobs(self) -> list[Job]:
        """Choices, tables, figures, pages and numbers."""
        study, setting = self._study, self._setting
        arms = study.arms(setting)
        shows = [*(f"fig_{name}" for name in shown.figures_of(study, setting)), *shown.tables_of(study, setting)]
        fed_by = {page: _FED_BY[page.removeprefix("fig_")] for page in shows}
        done = {rule: self._is_tabled(rule) for rules in fed_by.values() for rule in rules}
        jobs = [self._selection(arm) for arm in (*arms, *study.grid_arms(setting)) if study.selected_runs(arm)]
        jobs += [_job(setting, rule, is_done) for rule, is_done in done.items()]
        for page, feeding in fed_by.items():
            is_drawn = _is_shown(study, setting, page) and all(done[rule] for rule in feeding)
            jobs.append(_job(setting, _rule_of(page), is_drawn))
        if arms:
            is_written = (study.root / "results/report" / f"{setting}.html").exists() and done["analyse"]
            jobs.append(_job(setting, "report_tables", is_written))
        is_summed_up = (study.root / "results/metrics" / f"{setting}.json").exists()
        is_tabled = all(done.get(rule, True) for rule in _SUMMED_UP)
        return [*jobs, _job(setting, "metrics", is_summed_up and is_tabled)]

    def _is_tabled(self, rule: str) -> bool:
        """Whether the tables of a rule are there, and nothing that they are made of is left."""
        study, setting = self._study, self._setting
        if not (study.root / tables_folder(setting) / _FIRST_TABLES[rule]).exists():
            return False
        if rule == "corruption":
            return self._is_done(REFIT)
        if rule == "factors" and not self._is_done(MEASURE):
            return False
        runs_of = {"experiments": study.grid_runs_of, "similarity": study.watched_runs_of}
        return self._are_trained(runs_of.get(rule, study.selected_runs_of)(setting))

    def _selection(self, arm: Arm) -> Job:
        is_there = (self._study.root / selection_path(arm.path)).exists()
        is_done = is_there and self._are_trained(self._study.candidate_runs(arm))
        return _job(self._setting, "select", is_done, Path("select", f"{arm.path}.tsv"))

    def _are_trained(self, runs: list[Run]) -> bool:
        return all(run.path in self._trained for run in runs)

    def _is_done(self, stage: str) -> bool:
        return all(job.is_done for job in self._before if job.stage == stage)


def _job(setting: str, rule: str, is_done: bool, benchmark: Path | None = None) -> Job:
    """A job of a few seconds; the same rule takes about as long in every setting."""
    item = Item(is_done, (Shape(rule, {}),), other_bytes=sizes.made_of_results(rule))
    return Job(setting, ANALYSIS, rule, benchmark or Path(rule, f"{setting}.tsv"), (item,))


def _is_shown(study: Study, setting: str, page: str) -> bool:
    ending = "html" if page.startswith("tab_") else "png"
    return (study.root / "results/figures" / setting / f"{page}.{ending}").exists()


def _rule_of(page: str) -> str:
    return page.replace("fig_", "figure_").replace("tab_", "table_")
