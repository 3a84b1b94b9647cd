import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize_scalar

from tasktrace.errors import ConfigError
from tasktrace.methods import build
from tasktrace.studies import toy
from tasktrace.studies.two_objectives.descent import Lane, Thinning, descend
from tasktrace.studies.two_objectives.directions import DIRECTIONS
from tasktrace.studies.two_objectives.landscape import losses, losses_and_jacobians
from tasktrace.studies.two_objectives.published import LEARNING_RATES, published

STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
EVERYTHING = Thinning(dense=10_000, every=1)


def reference_gradients(point):
    """Both losses, and the float32 matrix of their gradients, a column per task: one scalar at a time."""
    x1, x2 = point[0], point[1]
    values = losses(x1, x2)
    rows = [[torch.autograd.grad(f, x, retain_graph=True)[0].item() for f in values] for x in (x1, x2)]
    return [value.item() for value in values], torch.tensor(rows)


def reference_cagrad(gradients):
    g1, g2 = gradients[:, 0], gradients[:, 1]
    g11, g12, g22 = g1.dot(g1).item(), g1.dot(g2).item(), g2.dot(g2).item()
    radius = 0.5 * (0.5 * np.sqrt(g11 + g22 + 2 * g12 + 1e-4))

    def dual(w):
        norm = np.sqrt(w**2 * (g11 - 2 * g12 + g22) + 2 * w * (g12 - g22) + g22 + 1e-4)
        return radius * norm + 0.5 * w * (g11 + g22 - 2 * g12) + (0.5 + w) * (g12 - g22) + g22

    w = minimize_scalar(dual, bounds=(0, 1), method="bounded").x
    norm = np.sqrt(w**2 * g11 + (1 - w) ** 2 * g22 + 2 * w * (1 - w) * g12 + 1e-4)
    return ((g1 + g2) / 2 + radius / (norm + 1e-4) * (w * g1 + (1 - w) * g2)) / 1.5


def reference_pcgrad(gradients):
    g1, g2 = gradients[:, 0], gradients[:, 1]
    g11, g12, g22 = g1.dot(g1).item(), g1.dot(g2).item(), g2.dot(g2).item()
    if g12 < 0:
        return ((1 - g12 / g11) * g1 + (1 - g12 / g22) * g2) / 2
    return (g1 + g2) / 2


REFERENCE = {"ew": lambda gradients: gradients.mean(dim=1), "pcgrad": reference_pcgrad, "cagrad": reference_cagrad}


def reference_descent(lane, iterations):
    """The points that a lane looks at, and its first hit: one lane, torch's own optimizer."""
    point = torch.tensor(lane.start, requires_grad=True)
    kind = {"gd": torch.optim.SGD, "adam": torch.optim.Adam}[lane.optimizer]
    optimizer = kind([point], lr=lane.learning_rate)
    points = []
    for iteration in range(iterations):
        points.append(point.tolist())
        values, gradients = reference_gradients(point)
        if sum(values) / 2 < -15:
            return points, iteration
        point.grad = REFERENCE[lane.method](gradients)
        optimizer.step()
    return points, None


def lanes_of(optimizer, method, *rates, traced=False):
    return [Lane(optimizer, method, rate, start, traced) for rate in rates for start in STARTS]


@pytest.mark.parametrize("method", DIRECTIONS)
def test_lanes_together_are_each_alone_in_torch_bit_for_bit(method):
    lanes = [*lanes_of("gd", method, *LEARNING_RATES, traced=True), *lanes_of("adam", method, 10, 1, 0.1, traced=True)]
    outcomes = descend(lanes, 30, -15.0, EVERYTHING)
    assert any(outcome.first_hit is None for outcome in outcomes)
    for lane, outcome in zip(lanes, outcomes, strict=True):
        points, first_hit = reference_descent(lane, 30)
        assert outcome.first_hit == first_hit, lane
        assert outcome.path == [(number, *point) for number, point in enumerate(points)], lane


EARLY = [
    (optimizer, method, rate)
    for optimizer, method, rate in itertools.product(("gd", "adam"), DIRECTIONS, LEARNING_RATES)
    if (cell := published(optimizer, method, rate)).hit is not None and cell.hit < 250
]


def test_published_cells_that_end_early():
    assert len(EARLY) == 12  # GD: EW 5, CAGrad 1; Adam: EW 10 to 0.5, PCGrad 10 and 1, CAGrad 10 to 0.5
    outcomes = descend([lane for cell in EARLY for lane in lanes_of(*cell)], 300, -15.0, EVERYTHING)
    found = [max(outcome.first_hit for outcome in own) for own in zip(*[iter(outcomes)] * 3, strict=True)]
    assert dict(zip(EARLY, found, strict=True)) == pytest.approx({cell: published(*cell).hit for cell in EARLY}, abs=1)


def test_gradients_of_the_landscape_are_its_slopes():
    points = torch.tensor(np.random.default_rng(3).uniform(-10, 10, size=(40, 2)), dtype=torch.float32)
    values, jacobians = losses_and_jacobians(points)
    wide, step = points.double(), 1e-6
    for axis in (0, 1):
        shift = step * torch.eye(2, dtype=torch.float64)[axis]
        above, below = (torch.stack(losses(*(wide + sign * shift).T), dim=1) for sign in (1, -1))
        torch.testing.assert_close(jacobians[:, :, axis].double(), (above - below) / (2 * step), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(values.double(), torch.stack(losses(*wide.T), dim=1), rtol=1e-4, atol=1e-5)


def test_the_least_mean_loss_is_where_it_is_known_to_be():
    side = torch.linspace(-1, 1, 201, dtype=torch.float64)
    x1, x2 = torch.meshgrid(side, side - 8.3551, indexing="ij")
    mean = sum(losses(x1, x2)) / 2
    best = int(mean.argmin())
    assert mean.min().item() == pytest.approx(-15.0916, abs=1e-4)
    assert (x1.flatten()[best].item(), x2.flatten()[best].item()) == pytest.approx((0.0, -8.3551), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "options"),
    [("umtg", {"scale": "mean"}), ("pcgrad", {"reduction": "mean"}), ("cagrad", {"c": 0.5, "rescale": "linear"})],
)
def test_directions_are_those_of_the_methods_up_to_the_constants_of_the_script(name, options):
    drawn = np.random.default_rng(5).normal(size=(50, 2, 2))
    jacobians = torch.tensor(drawn, dtype=torch.float32) * torch.tensor([[30.0], [100.0]])
    method = build(name, 2, **options)
    exact = torch.stack([method.combine(jacobian.double(), torch.ones(2)) for jacobian in jacobians])
    found = DIRECTIONS["ew" if name == "umtg" else name](jacobians)
    assert bool(((jacobians[:, 0] * jacobians[:, 1]).sum(dim=1) < 0).any())
    scale = exact.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found.double() / scale, exact / scale, rtol=0, atol=2e-3 if name == "cagrad" else 1e-5)


def test_a_start_below_the_threshold_hits_at_iteration_0():
    (outcome,) = descend([Lane("gd", "ew", 0.1, (0.0, -8.3551), traced=True)], 5, -15.0, EVERYTHING)
    assert outcome.first_hit == 0
    assert len(outcome.path) == 1


@pytest.mark.parametrize("method", DIRECTIONS)
def test_a_lane_that_leaves_the_numbers_ends_there_and_the_others_go_on(method):
    lanes = [Lane("gd", method, 1e30, (-8.5, -5.0)), Lane("gd", "cagrad", 1.0, (-8.5, -5.0))]
    lost, hit = descend(lanes, 100, -15.0, EVERYTHING)
    assert lost.first_hit is None
    assert 0 < lost.lost_at < 10
    assert hit.first_hit == 30


def test_thinned_paths_keep_the_beginning_the_end_and_every_so_many():
    lane = Lane("gd", "ew", 0.001, (-8.5, 7.5), traced=True)
    (whole,), (thin,) = (descend([lane], 38, -15.0, thinning) for thinning in (EVERYTHING, Thinning(4, 10)))
    assert [point[0] for point in thin.path] == [0, 1, 2, 3, 10, 20, 30, 37]
    assert set(thin.path) < set(whole.path)


def hits(*rows):
    columns = ["optimizer", "method", "learning_rate", "first_hit"]
    return pd.DataFrame(rows, columns=columns).astype({"first_hit": "Int64"})


def test_the_comparison_takes_the_last_start_and_the_tolerance_of_the_cell():
    table = toy.comparison(
        hits(
            *[("gd", "ew", 5.0, hit) for hit in (61, 104, 2)],  # 103
            *[("gd", "cagrad", 1.0, hit) for hit in (30, 215)],  # 213
            *[("adam", "ew", 0.01, hit) for hit in (13_000, 1)],  # 9,015, chaotic
            *[("adam", "ew", 0.005, hit) for hit in (24_000, 1)],  # 16,005, chaotic
            *[("gd", "ew", 0.5, hit) for hit in (4, None)],  # -
            *[("gd", "ew", 10.0, hit) for hit in (4, 7)],  # -
            *[("adam", "ew", 10.0, hit) for hit in (26, None)],  # 26
            *[("adam", "ew", 0.3, hit) for hit in (5, 6)],  # not in the paper
        )
    )
    assert table["ours"].tolist() == ["104", "215", "13000", "24000", "-", "7", "-", "6"]
    assert table["published"].tolist()[:7] == ["103", "213", "9015", "16005", "-", "-", "26"]
    assert table["within"].tolist()[:7] == [True, False, True, False, True, False, False]
    assert table["difference"].tolist()[:4] == [1, 2, 3985, 7995]
    assert table["difference"].isna().tolist() == [False] * 4 + [True] * 4
    assert table["tolerance"].tolist()[:3] == [1.0, 1.0, pytest.approx(0.45 * 9015)]
    assert table.loc[7, ["published", "difference", "tolerance", "within"]].isna().all()


SMALL = {
    "iterations": 40,
    "learning_rates": [1.0, 0.05],
    "path_learning_rates": [1.0],
    "path_dense": 5,
    "map_points": 7,
}


def test_the_study_writes_its_tables(tmp_path):
    toy.run(tmp_path, SMALL)
    rows = pd.read_csv(tmp_path / "hits.csv")
    assert len(rows) == 2 * 3 * 2 * 3
    own = rows[(rows["optimizer"] == "adam") & (rows["method"] == "ew") & (rows["learning_rate"] == 1.0)]
    assert own["first_hit"].tolist() == [22, 9, 21]
    table = pd.read_csv(tmp_path / "table.csv", dtype=str)
    assert len(table) == 2 * 3 * 2
    assert table["ours"].notna().all()
    paths = pd.read_parquet(tmp_path / "trajectories.parquet")
    assert set(paths["method"]) == {"ew", "cagrad"}
    assert set(paths["learning_rate"]) == {1.0}
    own = paths[(paths["optimizer"] == "adam") & (paths["method"] == "ew") & (paths["start_y"] == -5.0)]
    assert own["iteration"].tolist() == [0, 1, 2, 3, 4, 9]
    grid = pd.read_parquet(tmp_path / "landscape.parquet")
    assert len(grid) == 49
    at = grid[(grid["x"] == 0) & (grid["y"] == 0)]["mean_loss"].item()
    assert at == 0.0  # both c1 and c2 vanish on the axis


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iteration": 5}, "unknown option 'iteration'"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"starts": [[1.0, 2.0, 3.0]]}, "starts must be pairs"),
        ({"path_methods": ["sgd"]}, "path_methods"),
        ({"path_learning_rates": [0.3]}, "path_learning_rates must be of learning_rates"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        toy.run(tmp_path, options)
    assert not list(tmp_path.iterdir())
