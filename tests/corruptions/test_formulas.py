"""Each corruption against its formula or a slow, obvious computation."""

import colorsys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from tasktrace.corruptions import FAMILIES, SEVERITIES, corrupt
from tasktrace.corruptions.blur import _GLASS, _ROUNDS, _swapped, zoom_blur
from tasktrace.corruptions.digital import _ELASTIC, _affine, _local
from tasktrace.corruptions.drawing import Streams
from tasktrace.corruptions.fractal import clouds
from tasktrace.corruptions.kernels import convolved, disk, gaussian, smoothed, streaks
from tasktrace.corruptions.resampling import at_positions
from tasktrace.corruptions.weather import _SNOW, _flakes


def seeded(seed=0):
    return np.random.default_rng(seed)


def flat(value, channels=1, side=64, count=8):
    """Pictures of one colour."""
    return np.full((count, channels, side, side), value, np.uint8)


def changes(clean, corrupted):
    return (corrupted.astype(float) - clean) / 255


def per_severity(*values):
    return list(zip(SEVERITIES, values, strict=True))


# ---- noise


@pytest.mark.parametrize(("severity", "deviation"), per_severity(0.08, 0.12, 0.18, 0.26, 0.38))
def test_gaussian_noise_has_the_given_deviation(severity, deviation):
    noise = changes(128, corrupt(flat(128, 3), "gaussian_noise", severity, seeded()))
    seen = np.abs(noise) < 0.4
    cut = np.clip(seeded(1).normal(scale=deviation, size=10**6), -128 / 255, 127 / 255)
    assert noise.std() == pytest.approx(cut.std(), rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise[seen].std() == pytest.approx(cut[np.abs(cut) < 0.4].std(), rel=0.02)


@pytest.mark.parametrize(("severity", "photons"), per_severity(60, 25, 12, 5, 3))
def test_shot_noise_is_a_count_of_photons(severity, photons):
    corrupted = corrupt(flat(51, 3), "shot_noise", severity, seeded()) / 255  # a fifth of white
    possible = np.rint(255 * np.arange(photons + 1) / photons) / 255
    assert np.isin(corrupted, possible).all()
    assert corrupted.mean() == pytest.approx(0.2, rel=0.02)
    assert corrupted.var() == pytest.approx(0.2 / photons, rel=0.05)
    assert not corrupt(flat(0), "shot_noise", severity, seeded()).any()


@pytest.mark.parametrize(("severity", "share"), per_severity(0.03, 0.06, 0.09, 0.17, 0.27))
def test_impulse_noise_hits_the_given_share(severity, share):
    corrupted = corrupt(flat(7, 3), "impulse_noise", severity, seeded(), white=16)
    assert np.isin(corrupted, (0, 7, 16)).all()
    for value in (0, 16):
        assert np.mean(corrupted == value) == pytest.approx(share / 2, rel=0.06)


# ---- blur


@pytest.mark.parametrize("name", [*FAMILIES["blur"], "pixelate", "elastic_transform", "contrast"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_what_moves_or_averages_pixels_leaves_a_flat_picture(name, severity):
    clean = flat(93, 3, side=28)
    assert (corrupt(clean, name, severity, seeded()) == clean).all()


@pytest.mark.parametrize("side", [28, 224])
@pytest.mark.parametrize(("severity", "radius"), per_severity(3, 4, 6, 8, 10))
def test_defocus_spreads_an_edge_over_a_disk(side, severity, radius):
    clean = flat(0, side=side, count=1)
    clean[..., side // 2 :] = 255
    row = corrupt(clean, "defocus_blur", severity, seeded())[0, 0, side // 2] / 255
    weights, places = np.diff(row), np.arange(1, side) - side / 2
    inner = np.abs(places) < side / 2 - 1
    spread = (weights * places**2)[inner].sum()
    radius *= max(side, 32) / 224
    # a disk's variance along an axis is r^2 / 4; interpolation adds E[f (1 - f)], f the fraction of a pixel
    points = seeded().uniform(-radius, radius, (10**5, 2))
    fractions = points[(points**2).sum(axis=1) <= radius**2, 0] % 1
    assert weights.sum() == pytest.approx(1)
    assert spread == pytest.approx(radius**2 / 4 + np.mean(fractions * (1 - fractions)), rel=0.03, abs=0.01)


def test_disk_kernel_is_the_average_of_interpolated_points():
    radius = 1.4
    points = seeded().uniform(-radius, radius, (400_000, 2))
    points = points[(points**2).sum(axis=1) <= radius**2]
    kernel = disk(radius)
    half = len(kernel) // 2
    for row in range(-half, half + 1):
        for column in range(-half, half + 1):
            weight = np.maximum(0, 1 - np.abs(points - (row, column))).prod(axis=1).mean()
            assert kernel[row + half, column + half] == pytest.approx(weight, abs=2e-3)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)


def test_streaks_go_one_way_and_fall_as_a_gaussian():
    angles = np.array([0, 90, -90, 30], np.float32)
    length, sigma = 12.0, 4.0
    kernels = streaks(angles, length, sigma)[:, 0].astype(float)
    half = kernels.shape[-1] // 2
    offsets = np.arange(-half, half + 1)
    points = np.linspace(0, length, 100_001)
    middle = np.average(points, weights=norm.pdf(points / sigma))
    for angle, kernel in zip(np.deg2rad(angles), kernels, strict=True):
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert (kernel.sum(axis=1) * offsets).sum() == pytest.approx(middle * np.sin(angle), abs=0.01)
        assert (kernel.sum(axis=0) * offsets).sum() == pytest.approx(middle * np.cos(angle), abs=0.01)


def test_convolution_against_a_plain_sum():
    images = seeded().random((3, 2, 9, 11)).astype(np.float32)
    kernels = seeded(1).random((3, 1, 5, 5)).astype(np.float32)
    padded = np.pad(images.astype(float), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    expected = np.zeros(images.shape)
    for dy in range(5):
        for dx in range(5):
            expected += kernels[:, :, 4 - dy, 4 - dx, None, None] * padded[:, :, dy : dy + 9, dx : dx + 11]
    assert np.allclose(convolved(images, kernels), expected, atol=1e-5)


def test_a_gaussian_kernel_has_its_variance_and_that_of_interpolation():
    for sigma in (0.1, 0.5, 1.5):
        kernel = gaussian(sigma).astype(float)
        places = np.arange(len(kernel)) - len(kernel) // 2
        points = seeded().normal(scale=sigma, size=10**6)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert (kernel * places**2).sum() == pytest.approx(sigma**2 + np.mean(points % 1 * (1 - points % 1)), rel=0.01)


def test_smoothing_is_a_convolution_along_both_axes():
    images = seeded().random((2, 3, 12, 15)).astype(np.float32)
    kernel = gaussian(0.9)
    expected = convolved(images, np.outer(kernel, kernel)[None, None])
    assert np.allclose(smoothed(images, 0.9), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("severity", "radius", "sigma"), [(1, 10, 3), (2, 15, 5), (3, 15, 8), (4, 15, 12), (5, 20, 15)]
)
def test_motion_blur_draws_a_point_out_to_one_side(severity, radius, sigma):
    clean = flat(0, side=224, count=100)
    clean[..., 108:117, 108:117] = 255
    corrupted = corrupt(clean, "motion_blur", severity, seeded())[:, 0] / 255
    places = np.arange(224) - 112
    total = corrupted.sum(axis=(1, 2))
    down = (corrupted * places[:, None]).sum(axis=(1, 2)) / total
    right = (corrupted * places).sum(axis=(1, 2)) / total
    along = np.linspace(0, 2 * radius, 10_001)
    expected = np.average(along, weights=norm.pdf(along / sigma))
    assert total == pytest.approx(81, rel=0.02)
    assert np.hypot(down, right) == pytest.approx(expected, rel=0.02)
    angles = np.rad2deg(np.arctan2(down, right))
    assert -46 < angles.min() < -40
    assert 40 < angles.max() < 46


@pytest.mark.parametrize(
    ("severity", "sigma", "reach", "rounds"),
    [(1, 0.7, 1, 2), (2, 0.9, 2, 1), (3, 1.0, 2, 3), (4, 1.1, 3, 2), (5, 1.5, 4, 2)],
)
def test_glass_moves_pixels_as_far_as_imagenet_c_in_the_mean_square(severity, sigma, reach, rounds):
    assert _GLASS[severity - 1][0] == sigma
    assert _ROUNDS * _GLASS[severity - 1][1] ** 2 == pytest.approx(rounds * reach**2)


def test_glass_blur_is_smoothing_swaps_and_smoothing():
    clean = seeded().integers(0, 256, (3, 3, 224, 224), dtype=np.uint8)
    streams = Streams(int(seeded(5).integers(2**63)))
    expected = smoothed(clean / np.float32(255), 1.5)
    for number in range(2):
        expected = _swapped(expected, 4.0, streams[f"swaps {number}"])
    expected = smoothed(expected, 1.5)
    assert np.abs(corrupt(clean, "glass_blur", 5, seeded(5)) - 255 * expected).max() <= 0.501


@pytest.mark.parametrize("reach", [0.14, 0.6, 1.0, 2.45])
def test_glass_swaps_pixels_with_neighbours(reach):
    side = 40
    labels = np.arange(side * side, dtype=np.float32).reshape(1, 1, side, side)
    images = np.concatenate([labels, labels + 5000], axis=1).repeat(20, axis=0)
    swapped = _swapped(images, reach, seeded())
    assert (swapped[:, 1] - swapped[:, 0] == 5000).all(), "channels move together"
    assert (np.sort(swapped[:, 0].reshape(20, -1)) == labels.ravel()).all(), "no pixel is lost"
    came_from = swapped[:, 0].astype(int)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    rows = (came_from // side - np.arange(side)[:, None])[inner]
    columns = (came_from % side - np.arange(side))[inner]
    assert abs(rows.mean()) < 0.05
    assert abs(columns.mean()) < 0.05
    # each pixel starts one swap and is on average the partner of another: about two moves, each of variance E[d^2]
    draws = seeded(1)
    d = np.floor(draws.uniform(-reach, reach, 10**6) + draws.random(10**6))
    assert np.mean(rows**2) == pytest.approx(2 * np.mean(d**2), rel=0.15)


def test_zoom_blur_averages_enlargements():
    """Against one picture after another, each pixel's source by hand."""
    image = seeded().random((7, 10))
    factors = [1, *(1 + 0.02 * k for k in range(11))]  # severity 3, and the picture itself once more
    expected = np.mean([enlarge(image, factor) for factor in factors], axis=0)
    found = zoom_blur(image[None, None].astype(np.float32), 2, Streams(0))[0, 0]
    assert np.allclose(found, expected, atol=1e-6)


def enlarge(image, factor):
    height, width = image.shape
    result = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            y, x = (height - 1) / 2 * (1 - 1 / factor) + i / factor, (width - 1) / 2 * (1 - 1 / factor) + j / factor
            result[i, j] = bilinear(image, y, x)
    return result


def bilinear(image, y, x):
    top, left = int(np.floor(y)), int(np.floor(x))
    bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
    b, a = y - top, x - left
    above = (1 - a) * image[top, left] + a * image[top, right]
    return (1 - b) * above + b * ((1 - a) * image[bottom, left] + a * image[bottom, right])


# ---- weather


@pytest.mark.parametrize(("severity", "raised"), per_severity(0.1, 0.2, 0.3, 0.4, 0.5))
def test_brightness_raises_the_value_and_keeps_hue_and_saturation(pictures, severity, raised):
    clean = pictures["64x64"][0][:2, :, ::4, ::4]
    corrupted = corrupt(clean, "brightness", severity, seeded())
    colours = [image.transpose(0, 2, 3, 1).reshape(-1, 3) for image in (clean, corrupted)]
    for before, after in zip(*colours, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + raised))
        assert np.abs(after / 255 - expected).max() <= 0.5001 / 255
    black = corrupt(flat(0, 3), "brightness", severity, seeded())
    assert (black == np.rint(255 * np.float32(raised))).all()


@pytest.mark.parametrize(("severity", "opacity"), per_severity(0.4, 0.6, 0.7, 0.725, 0.75))
def test_frost_covers_up_to_its_opacity(severity, opacity):
    ice = np.array([0.8, 0.9, 1.0])[:, None, None]
    for value in (0, 255):
        corrupted = corrupt(flat(value, 3), "frost", severity, seeded()) / 255
        covered = (corrupted - value / 255) / (ice - value / 255 + (ice == value / 255))
        assert covered.max() == pytest.approx(opacity, abs=0.01)
        assert covered.min() < 0.1


@pytest.mark.parametrize(("severity", "thickness"), per_severity(1.5, 2, 2.5, 2.75, 3))
def test_fog_is_clouds_of_mean_one_half_and_darkens_what_is_behind(severity, thickness):
    clean = flat(102)
    clean[:, :, ::2] = 204
    corrupted = corrupt(clean, "fog", severity, seeded(2)) / 255
    light = 0.8 / (0.8 + thickness)
    assert corrupted.mean() == pytest.approx((0.6 + thickness / 2) * light, abs=0.01)
    stripes = corrupted[:, :, ::2] - corrupted[:, :, 1::2]
    assert stripes.mean() == pytest.approx(0.4 * light, abs=0.01)


@pytest.mark.parametrize(("height", "width", "decay"), [(9, 14, 1.4), (16, 16, 2.0)])
def test_clouds_are_octaves_of_interpolated_noise(height, width, decay):
    side = max(height, width)
    cells = [2, 4, 8, 16][: int(np.log2(side)) - 1]
    drawn = seeded(3).random((2, sum((many + 1) ** 2 for many in cells)), dtype=np.float32).astype(float)
    for number, found in enumerate(clouds(2, height, width, decay, seeded(3))[:, 0]):
        expected, used = np.zeros((height, width)), 0
        for octave, many in enumerate(cells):
            grid = drawn[number, used : used + (many + 1) ** 2].reshape(many + 1, many + 1)
            used += grid.size
            for i, j in np.ndindex(height, width):
                place = (i * many / (side - 1), j * many / (side - 1))
                expected[i, j] += bilinear(grid, *place) / decay ** (2 * octave)
        expected = 0.5 + 0.18 * (expected - expected.mean()) / expected.std()
        assert np.allclose(found, expected.clip(0, 1), atol=1e-5)


@pytest.mark.parametrize("size", [0.4, 1.0, 1.7, 4.5])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_share_of_flakes_does_not_depend_on_their_size(severity, size):
    given = _SNOW[severity - 1]
    flakes = _flakes(given, size, (100, 60, 90), seeded())
    share = norm.sf((given.threshold - given.mean) / (0.7 * given.deviation))
    assert np.mean(flakes > 0) == pytest.approx(share, rel=0.15)
    assert flakes[flakes > 0].min() >= given.threshold
    pairs = (flakes[..., 1:] > 0) & (flakes[..., :-1] > 0)
    if size <= 1:
        assert pairs.mean() == pytest.approx(share**2, rel=0.3), "single pixels"
    else:
        assert pairs.mean() > 2 * share**2


def test_snow_whitens_colours_by_their_brightness_and_falls_both_ways():
    colour = np.array([120, 20, 60])
    grey = colour @ (0.299, 0.587, 0.114) / 255
    clean = np.broadcast_to(colour[:, None, None], (4, 3, 224, 224)).astype(np.uint8)
    corrupted = corrupt(clean, "snow", 1, seeded()) / 255
    expected = 0.8 * colour / 255 + 0.2 * np.maximum(colour / 255, 1.5 * grey + 0.5)
    assert corrupted.min(axis=(0, 2, 3)) == pytest.approx(expected, abs=0.003)
    assert np.abs(corrupted - corrupted[:, :, ::-1, ::-1]).max() < 0.005


def test_snow_whitens_and_falls():
    clean = flat(0, side=224)
    means = []
    for severity, whitened in per_severity(0.2, 0.3, 0.325, 0.35, 0.45):
        corrupted = corrupt(clean, "snow", severity, seeded()) / 255
        # the darkest pixels have no flake: 0.5 of white from the whitening of black
        assert corrupted.min() == pytest.approx(0.5 * whitened, abs=0.005)
        assert corrupted.max() > 0.5
        means.append(corrupted.mean() - 0.5 * whitened)
        down, across = (np.abs(np.diff(corrupted, axis=axis)).mean() for axis in (2, 3))
        assert down < across, "streaks are nearer to the vertical than to the horizontal"
    assert 0.01 < means[0] < means[-1] < 0.3


# ---- digital


@pytest.mark.parametrize(("severity", "factor"), per_severity(0.4, 0.3, 0.2, 0.1, 0.05))
def test_contrast_shrinks_about_each_channel_s_mean(pictures, severity, factor):
    clean = pictures["64x64"][0]
    mean = clean.mean(axis=(2, 3), keepdims=True)
    corrupted = corrupt(clean, "contrast", severity, seeded())
    assert np.abs(corrupted - (mean + factor * (clean - mean))).max() <= 0.501


@pytest.mark.parametrize(("severity", "blocks"), [(2, 32), (5, 16)])
def test_pixelate_shows_the_averages_of_blocks(pictures, severity, blocks):
    clean = pictures["64x64"][0]
    size = 64 // blocks
    averages = clean.reshape(*clean.shape[:2], blocks, size, blocks, size).mean(axis=(3, 5))
    expected = averages.repeat(size, axis=2).repeat(size, axis=3)
    assert np.abs(corrupt(clean, "pixelate", severity, seeded()) - expected).max() <= 0.501


def test_pixelate_mixes_blocks_by_area():
    """0.6 of 10 pixels are 6 blocks of 5/3 pixels: a white left half ends inside pixel 5, which is all of block 3."""
    clean = flat(0, side=10)
    clean[..., :5] = 255
    expected = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert np.allclose(corrupt(clean, "pixelate", 1, seeded())[0, 0, 0] / 255, expected, atol=0.01)
    clean[..., 5:] = 0
    clean[..., 4] = 0  # block 2 spans pixels 10/3 to 5 and is white up to 4: a share of (2/3) / (5/3) = 0.4
    expected = [1, 1, 1, 1 / 3 + 2 / 3 * 0.4, 0.4, 0, 0, 0, 0, 0]
    assert np.allclose(corrupt(clean, "pixelate", 1, seeded())[0, 0, 0] / 255, expected, atol=0.01)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_displacements_have_the_stated_size(severity):
    factor, reach = _ELASTIC[severity - 1]
    blank = np.zeros((20, 1, 224, 224), np.float32)
    local = _local(blank, factor, seeded())
    # white noise in [-1, 1] has deviation 1 / sqrt(3); a Gaussian of sigma 2.44 leaves 1 / (2 sqrt(pi) 2.44) of it
    expected = factor * 244 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 2.44)
    assert local.std() == pytest.approx(expected, rel=0.03)
    small = _local(np.zeros((200, 1, 56, 56), np.float32), factor, seeded())
    assert small.std() == pytest.approx(expected / 4, rel=0.03)
    corners = _affine(blank, reach * 244, seeded())
    assert np.abs(np.diff(corners, n=2, axis=2)).max() < 1e-4, "linear in the row"
    half = 224 // 3
    moved = corners[:, :, [112 + half, 112 + half, 112 - half], [112 + half, 112 - half, 112 - half]]
    drawn = (seeded().random((20, 3, 2), dtype=np.float32) * 2 - 1) * reach * 244
    assert np.allclose(moved, drawn.transpose(0, 2, 1), atol=1e-3)


def test_sampling_at_positions_against_single_pixels():
    images = seeded().random((2, 3, 8, 9)).astype(np.float32)
    y, x = (seeded(k).uniform(-5, 13, (2, 8, 9)).astype(np.float32) for k in (1, 2))
    found = at_positions(images, y, x)
    for n, c, i, j in np.ndindex(found.shape):
        row, column = mirrored(float(y[n, i, j]), 8), mirrored(float(x[n, i, j]), 9)
        assert found[n, c, i, j] == pytest.approx(bilinear(images[n, c].astype(float), row, column), abs=2e-6)


def mirrored(position, size):
    while not 0 <= position <= size - 1:
        position = -position if position < 0 else 2 * (size - 1) - position
    return position


def test_jpeg_is_pillow_s(pictures):
    for kind in ("28x28", "64x64"):
        clean = pictures[kind][0][:3]
        corrupted = corrupt(clean, "jpeg_compression", 3, seeded())
        for before, after in zip(clean, corrupted, strict=True):
            buffer = BytesIO()
            Image.fromarray(before.transpose(1, 2, 0).squeeze()).save(buffer, "JPEG", quality=15)
            decoded = np.asarray(Image.open(buffer))
            assert (after.transpose(1, 2, 0).squeeze() == decoded).all()
