import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tasktrace.errors import DataError
from tasktrace.figures import b1, b_a1, tab_b1

B1 = {
    "rows": ["ew", "cagrad"],
    "columns": [{"optimizer": "gd", "learning_rate": 1.0}, {"optimizer": "adam", "learning_rate": 0.05}],
    "levels": 5,
    "width": 5.0,
    "height": 4.0,
    "dpi": 60,
}
B_A1 = {
    "backbone": "frozen",
    "trainings": [{"name": "ew-sgd", "label": "EW, SGD"}, {"name": "ew-adam", "label": "EW, Adam"}],
    "width": 5.0,
    "height": 5.0,
    "dpi": 60,
}


@pytest.fixture
def toy(tmp_path):
    """Tables of the toy study: two starts, three points each, and cells that no panel shows."""
    folder = tmp_path / "toy"
    folder.mkdir()
    cells = [
        {"optimizer": optimizer, "method": method, "learning_rate": rate}
        for optimizer, rate in (("gd", 1.0), ("adam", 0.05), ("adam", 1.0))
        for method in ("ew", "cagrad")
    ]
    starts = [{"start_x": -8.5, "start_y": 7.5}, {"start_x": 9.0, "start_y": 9.0}]
    descents = [{**cell, **start} for cell in cells for start in starts]
    points = [
        {**descent, "iteration": step, "x": descent["start_x"] / (step + 1), "y": descent["start_y"] - step}
        for descent in descents
        for step in range(3)
    ]
    pd.DataFrame(points).to_parquet(folder / "trajectories.parquet")
    pd.DataFrame([{**descent, "first_hit": 2} for descent in descents]).to_csv(folder / "hits.csv", index=False)
    x, y = (own.ravel() for own in np.meshgrid(np.linspace(-11, 11, 9), np.linspace(-11, 11, 9)))
    pd.DataFrame({"x": x, "y": y, "mean_loss": x**2 + y}).to_parquet(folder / "landscape.parquet")
    rows = [
        ("gd", "ew", 5.0, "103", "103", 0, 1.0, True),
        ("gd", "ew", 1.0, "-", "-", None, None, True),
        ("gd", "cagrad", 5.0, "20418", "-", None, None, False),
        ("gd", "cagrad", 1.0, "214", "213", 1, 1.0, True),
    ]
    columns = ["optimizer", "method", "learning_rate", "ours", "published", "difference", "tolerance", "within"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture
def invariance(tmp_path):
    """Series of two epochs."""
    folder = tmp_path / "invariance"
    folder.mkdir()
    rows = [
        {"backbone": backbone, "training": training, "scaled": scaled, "part": part, "quantity": quantity}
        | {"epoch": epoch, "value": 10.0**-epoch}
        for backbone in ("frozen", "trainable")
        for training in ("ew-sgd", "ew-adam", "uw_o-sgd")
        for scaled in (False, True)
        for part in ("head1", "head2")
        for quantity in ("loss", "task_loss", "gradient", "update")
        for epoch in range(2)
    ]
    pd.DataFrame(rows).to_parquet(folder / "series.parquet")
    return folder


def test_the_descents_drawn_are_those_of_the_panels(toy, tmp_path):
    b1.draw(toy, B1, tmp_path / "fig.png")
    drawn = pd.read_csv(tmp_path / "fig.csv")
    cells = drawn.groupby(["optimizer", "learning_rate", "method"]).size().to_dict()
    assert cells == dict.fromkeys([(o, r, m) for o, r in (("gd", 1.0), ("adam", 0.05)) for m in ("ew", "cagrad")], 6)
    assert {"fig.png", "fig.pdf"} <= {path.name for path in tmp_path.iterdir()}


def test_a_panel_without_paths_is_named(toy, tmp_path):
    options = {**B1, "columns": [{"optimizer": "gd", "learning_rate": 0.3}]}
    with pytest.raises(DataError, match=r"no paths for optimizer gd, method ew, learning_rate 0\.3"):
        b1.draw(toy, options, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()


def test_the_table_shows_both_numbers_where_they_differ_and_marks_what_is_apart(toy, tmp_path):
    tab_b1.draw(toy, {"learning_rates": [5.0, 1.0], "title": "A & B"}, tmp_path / "tab.html")
    page = (tmp_path / "tab.html").read_text()
    assert "<h1>A &amp; B</h1>" in page
    assert "<tr><td>GD</td><td>EW</td><td>103</td><td>–</td></tr>" in page
    apart = '<td class="apart">20,418 <span class="theirs">(–)</span></td>'
    assert f'<tr><td>GD</td><td>CAGrad</td>{apart}<td>214 <span class="theirs">(213)</span></td></tr>' in page
    assert "3 of 4 cells" in page
    assert len(pd.read_csv(tmp_path / "tab.csv")) == 4


def test_the_table_shows_the_columns_asked_for(toy, tmp_path):
    tab_b1.draw(toy, {"learning_rates": [1.0], "title": "T"}, tmp_path / "tab.html")
    assert "20,418" not in (tmp_path / "tab.html").read_text()
    assert pd.read_csv(tmp_path / "tab.csv")["learning_rate"].tolist() == [1.0, 1.0]
    with pytest.raises(DataError, match=r"no learning rate 0\.3"):
        tab_b1.draw(toy, {"learning_rates": [1.0, 0.3], "title": "T"}, tmp_path / "none.html")


def test_the_series_drawn_are_those_of_the_backbone_and_trainings(invariance, tmp_path):
    b_a1.draw(invariance, B_A1, tmp_path / "fig.png")
    drawn = pd.read_csv(tmp_path / "fig.csv")
    assert set(drawn["backbone"]) == {"frozen"}
    assert set(drawn["training"]) == {"ew-sgd", "ew-adam"}
    assert set(drawn["quantity"]) == {"loss", "gradient", "update"}
    assert len(drawn) == 2 * 2 * 2 * 3 * 2


def test_a_training_without_rows_is_named(invariance, tmp_path):
    options = {**B_A1, "trainings": [{"name": "gone", "label": "Gone"}]}
    with pytest.raises(DataError, match=r"no rows for 'gone', frozen backbone"):
        b_a1.draw(invariance, options, tmp_path / "fig.png")


def test_the_same_tables_give_the_same_bytes(toy, invariance, tmp_path):
    for name in ("one", "two"):
        b1.draw(toy, B1, tmp_path / name / "b1.png")
        b_a1.draw(invariance, B_A1, tmp_path / name / "b_a1.png")
        tab_b1.draw(toy, {"learning_rates": [1.0], "title": "T"}, tmp_path / name / "tab.html")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 8
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_figures_start_without_torch():
    code = "import sys\nfrom tasktrace.figures import b1, b_a1, tab_b1\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
