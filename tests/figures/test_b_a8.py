import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tasktrace.errors import DataError
from tasktrace.figures import b_a8
from tasktrace.figures.style import TRANSFER

CORRUPTION = {"methods": ["umtg", "uw"], "optimizer": "adam", "leave_out": ["glass_blur", "snow"], "refit": {}}
OPTIONS = {"setting": "invented", "corruption": CORRUPTION, "width": 6.0, "height": 4.0, "dpi": 60}
METRICS = ["digit.accuracy", "ink.absolute_error", "ink.relative_error"]
NAMES = ["contrast", "gaussian_noise", "shot_noise", "defocus_blur", "fog"]
"""In another order than the figure's."""


def invented():
    drawing = np.random.default_rng(0)
    rows = [
        (method, metric, name, 3, drawing.normal(0, 0.1), drawing.uniform(0, 0.05))
        for method in ("uw", "umtg")
        for metric in [*METRICS, "mean"]
        for name in [*NAMES, "mean"]
    ]
    return pd.DataFrame(rows, columns=["method", "metric", "corruption", "seeds", "delta", "delta_std"])


@pytest.fixture
def write(tmp_path):
    """A function that writes the table, and gives its folder."""

    def written(table):
        (tmp_path / "tables").mkdir(exist_ok=True)
        table.to_csv(tmp_path / "tables/corruption_transfer.csv", index=False)
        return tmp_path / "tables"

    return written


@pytest.fixture
def drawn(monkeypatch, write, tmp_path):
    """A function that draws a table, and gives the figure."""
    figures = []

    def kept(figure, *rest):
        figures.append(figure)
        save(figure, *rest)

    save = b_a8.save
    monkeypatch.setattr(b_a8, "save", kept)

    def draw(table=None, **corruption):
        options = {**OPTIONS, "corruption": {**CORRUPTION, **corruption}}
        b_a8.draw(write(invented() if table is None else table), options, tmp_path / "fig.png")
        return figures.pop()

    return draw


def panels(figure):
    return [axes for area in figure.subfigs for axes in area.axes]


def test_the_csv_holds_the_first_method(drawn, tmp_path):
    drawn()
    table = invented()
    expected = table[table["method"] == "umtg"].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "fig.csv"), expected)
    assert {"fig.png", "fig.pdf"} <= {path.name for path in tmp_path.iterdir()}


def test_a_panel_is_a_metric_and_a_bar_a_corruption_by_family(drawn):
    axes = panels(drawn())
    table = invented().set_index(["method", "metric", "corruption"])["delta"]
    ordered = ["gaussian_noise", "shot_noise", "defocus_blur", "fog", "contrast"]
    assert [own.get_ylabel() for own in axes] == [
        "digit\naccuracy $\\delta$",
        "ink\nabsolute error $\\delta$",
        "ink\nrelative error $\\delta$",
    ]
    for own, metric in zip(axes, METRICS, strict=True):
        heights = [patch.get_height() for patch in own.patches]
        assert heights == pytest.approx([table["umtg", metric, name] for name in ordered])
        mean = table["umtg", metric, "mean"]
        assert any(np.ravel(line.get_ydata()) == pytest.approx([mean, mean]) for line in own.lines)
    ticks = [tick.get_text() for tick in axes[-1].get_xticklabels()]
    assert ticks == ["gaussian noise", "shot noise", "defocus blur", "fog", "contrast"]
    families = {text.get_text(): text.xy[0] for text in axes[0].texts}
    assert families == {"noise": 0.5, "blur": 2, "weather": 3, "digital": 4}


def test_what_bears_corruption_better_together_is_green():
    own = pd.DataFrame({"delta": [-0.1, 0.1], "delta_std": [0.01, np.nan]})
    axes = Figure().add_subplot()
    b_a8._draw_panel(axes, own, 0.0)
    colors = [to_hex(patch.get_facecolor()).upper() for patch in axes.patches]
    assert colors == [TRANSFER["positive"], TRANSFER["negative"]]


def title(figure):
    (legend,) = figure.legends
    return legend.get_title().get_text()


def test_what_was_left_out_is_named(drawn):
    text = title(drawn())
    assert "Left out by configuration: glass blur, snow." in text
    assert text.startswith("umtg: ")
    assert "mean ± std over 3 seeds" in text
    assert "Left out" not in title(drawn(leave_out=[]))


def test_one_seed_has_no_deviation(drawn, tmp_path):
    drawn(invented().assign(seeds=1, delta_std=np.nan))
    assert (tmp_path / "fig.png").stat().st_size > 0


def test_one_metric_has_a_panel_of_its_own(drawn):
    table = invented()
    figure = drawn(table[table["metric"].isin(["digit.accuracy", "mean"])])
    assert len(panels(figure)) == 1


@pytest.mark.parametrize("methods", [["pcgrad", "umtg"], ["nothing"]])
def test_a_method_that_was_not_refitted_is_said(drawn, tmp_path, methods):
    with pytest.raises(DataError, match=f"B-A8 has nothing to show: '{methods[0]}' was not refitted in .*'invented'"):
        drawn(methods=methods)
    assert not (tmp_path / "fig.png").exists()


def test_the_same_table_gives_the_same_bytes(write, tmp_path):
    tables = write(invented())
    for name in ("one", "two"):
        b_a8.draw(tables, OPTIONS, tmp_path / name / "fig.png")
    for ending in ("png", "pdf", "csv"):
        assert (tmp_path / f"one/fig.{ending}").read_bytes() == (tmp_path / f"two/fig.{ending}").read_bytes()
