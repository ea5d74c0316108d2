"""3D Shapes: the stand-in's geometry and colours by other formulas, and the official file."""

from __future__ import annotations

import colorsys
import os
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest
import torch

from ibbook.datasets import shapes3d
from ibbook.datasets._grid import classes_of
from ibbook.datasets._images import block_mean

HUES = np.array([colorsys.hsv_to_rgb(k / 10, 1, 1) for k in range(10)])
FLOOR, WALL, OBJECT = 0, 3, 6  # hues that are easy to tell apart: red, green, blue
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)
RADIUS = {
    CYLINDER: shapes3d.CYLINDER_RADIUS,
    SPHERE: shapes3d.SPHERE_RADIUS,
    CAPSULE: shapes3d.CAPSULE_RADIUS,
}


def picture(
    *, scale: int = 4, shape: int = SPHERE, orientation: int = 7, size: int = 64
) -> np.ndarray:
    classes = torch.tensor([[FLOOR, WALL, OBJECT, scale, shape, orientation]])
    return shapes3d.render(classes, size=size)[0].movedim(0, -1).numpy().astype(int)


def is_object(image: np.ndarray) -> np.ndarray:
    """Blue outweighs the rest; the sky is blue too, but bright in green."""
    return (image[..., 2] > image[..., :2].max(-1)) & (image[..., 1] < 190)


def is_sky(image: np.ndarray) -> np.ndarray:
    return np.abs(image - np.array(shapes3d.SKY)).max(-1) < 3


def project(point: tuple[float, float, float], orientation: int) -> tuple[float, float]:
    """Column and row, in pixels from the left and the top, of a point of the room.

    The room is turned instead of the camera, then tilted, then divided by its depth.
    """
    angle = np.deg2rad(-30 + 60 * orientation / 14)
    x, y, z = point
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    ahead, above = 1 + y, z - shapes3d.CAMERA_HEIGHT
    tilt = np.arctan2(shapes3d.CAMERA_HEIGHT - shapes3d.AIM_HEIGHT, 1)
    ahead, above = (
        ahead * np.cos(tilt) - above * np.sin(tilt),
        above * np.cos(tilt) + ahead * np.sin(tilt),
    )
    return tuple(32 + 32 * np.array([x, -above]) / ahead / shapes3d.HALF_FIELD)


@pytest.mark.parametrize("orientation", [0, 2, 4, 10, 12, 14])
def test_the_corner_of_the_room_is_where_it_projects(orientation):
    side = 1 if orientation < 7 else -1
    corner = (side * shapes3d.ROOM_SIDE, shapes3d.ROOM_BACK)
    column, bottom = project((*corner, 0), orientation)
    _, top = project((*corner, shapes3d.WALL_HEIGHT), orientation)
    image = picture(scale=0, orientation=orientation)
    row = round((top + bottom) / 2)
    edge = np.abs(np.diff(image[row, :, 1])).argmax() + 1
    assert edge == pytest.approx(column, abs=1)
    beside = int(column) + (2 if column < 32 else -2)
    green = image[..., 1] > 2 * image[..., :3:2].max(-1)
    wall = np.flatnonzero(green[:, beside])
    assert wall[0] == pytest.approx(top, abs=1.5)
    assert wall[-1] + 1 == pytest.approx(bottom, abs=1.5)


@pytest.mark.parametrize("scale", range(8))
def test_a_sphere_covers_the_angle_it_subtends(scale):
    radius = shapes3d.SPHERE_RADIUS * (0.75 + 0.5 * scale / 7)
    seen = is_object(picture(scale=scale))
    height = shapes3d.CAMERA_HEIGHT - radius
    middle, half = np.arctan2(height, 1), np.arcsin(radius / np.hypot(1, height))
    tilt = np.arctan2(shapes3d.CAMERA_HEIGHT - shapes3d.AIM_HEIGHT, 1)
    rows = 32 + 32 * np.tan(middle + np.array([-half, half]) - tilt) / shapes3d.HALF_FIELD
    on = np.flatnonzero(seen[:, 32])
    np.testing.assert_allclose([on[0], on[-1] + 1], rows, atol=0.8)
    columns = np.flatnonzero(seen.any(0))
    np.testing.assert_allclose((columns[0] + columns[-1] + 1) / 2, 32, atol=0.5)


@pytest.mark.parametrize("shape", [CYLINDER, CAPSULE, CUBE])
def test_solids_stand_on_the_floor_and_reach_their_height(shape):
    """Seen head on, the lowest point is the front of the foot, and the highest is at the top."""
    scale = 0.75 + 0.5 * 6 / 7
    foot, top = {
        CUBE: ((0, -shapes3d.CUBE, 0), (0, -shapes3d.CUBE, 2 * shapes3d.CUBE)),
        CYLINDER: (
            (0, -shapes3d.CYLINDER_RADIUS, 0),
            (0, -shapes3d.CYLINDER_RADIUS, shapes3d.CYLINDER_HEIGHT),
        ),
        CAPSULE: ((0, 0, 0), (0, 0, 2 * shapes3d.CAPSULE_RADIUS + shapes3d.CAPSULE_LENGTH)),
    }[shape]
    on = np.flatnonzero(is_object(picture(scale=6, shape=shape))[:, 32])
    for row, point in ((on[0], top), (on[-1] + 1, foot)):
        assert row == pytest.approx(project(tuple(scale * np.array(point)), 7)[1], abs=1.2)


def test_the_shadow_lies_where_the_lamp_throws_it():
    """A point of the floor is dark when the line to the lamp passes through the sphere."""
    lamp, radius = np.array(shapes3d.LAMP), 1.25 * shapes3d.SPHERE_RADIUS
    checked = {True: 0, False: 0}
    for orientation in range(0, 15, 2):
        image = picture(scale=7, orientation=orientation)
        for x in np.linspace(-0.2, 0.4, 25):
            for y in np.linspace(-0.4, 0.2, 25):
                point = np.array([x, y, 0])
                way = (lamp - point) / np.linalg.norm(lamp - point)
                miss = np.linalg.norm(np.cross([0, 0, radius] - point, way))
                column, row = np.floor(project((x, y, 0), orientation)).astype(int)
                if not (0 < row < 63 and 0 < column < 63):
                    continue
                around = image[row - 1 : row + 2, column - 1 : column + 2]
                if abs(miss - radius) < 0.02 or is_object(around).any():
                    continue
                shadowed = bool(miss < radius)
                checked[shadowed] += 1
                red = image[row, column, 0] / 255
                assert red < 0.5 if shadowed else red > 0.6, (orientation, x, y, red)
    assert min(checked.values()) > 100


def test_hues_come_back_from_the_pixels():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(shapes3d.COUNT, (300,), generator=generator)
    classes = classes_of(rows, shapes3d.FACTOR_SIZES)
    pictures = shapes3d.render(classes).movedim(1, -1).double().numpy()
    for factor, (row, column) in enumerate(((62, 2), (32, 2), (50, 32))):
        colour = pictures[:, row, column]
        if factor == 2:  # less the white gloss
            colour = colour - colour.min(-1, keepdims=True)
        colour = colour / colour.max(-1, keepdims=True)
        hue = ((colour[:, None] - HUES) ** 2).sum(-1).argmin(-1)
        assert (hue == classes[:, factor].numpy()).mean() > 0.99, shapes3d.FACTOR_NAMES[factor]


@pytest.mark.parametrize("shape", range(4))
def test_a_larger_scale_is_a_larger_object(shape):
    areas = [is_object(picture(scale=s, shape=shape)).sum() for s in range(8)]
    assert (np.diff(areas) > 0).all()
    assert areas[-1] / areas[0] == pytest.approx((1.25 / 0.75) ** 2, rel=0.2)


@pytest.mark.parametrize("shape", range(4))
def test_opposite_orientations_mirror_each_other(shape):
    """Up to the light, which comes from one side."""
    for orientation in range(7):
        left = picture(shape=shape, orientation=orientation)
        right = picture(shape=shape, orientation=14 - orientation)[:, ::-1]
        assert (is_object(left) != is_object(right)).mean() < 0.01
        np.testing.assert_array_equal(is_sky(left), is_sky(right))


def test_views_differ_and_only_a_cube_shows_its_orientation_alone():
    views = [picture(shape=CUBE, orientation=o) for o in range(15)]
    assert len({v.tobytes() for v in views}) == 15
    for shape in (CYLINDER, SPHERE, CAPSULE):
        seen = [is_object(picture(shape=shape, orientation=o)) for o in range(15)]
        assert max((s != seen[7]).mean() for s in seen) < 0.005
    cubes = [is_object(v) for v in views]
    assert (cubes[0] != cubes[7]).mean() > 0.02


def test_the_last_factor_is_the_fastest():
    data = shapes3d.dataset(size=16)
    assert len(data) == 480_000
    assert data.factor_sizes == (10, 10, 10, 8, 4, 15)
    assert data.source == "ray-traced stand-in"
    assert data.factors_at([1, 15, 60, 480, 4800, 48_000]).tolist() == [
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
    ]
    rows = torch.tensor([123_456, 7])
    drawn = shapes3d.render(data.factors_at(rows), size=16)
    assert torch.equal(data.batch(rows), drawn)
    np.testing.assert_allclose(data.factor_values[5], np.linspace(-30, 30, 15))


def test_a_batch_is_the_pictures_one_by_one():
    classes = classes_of(torch.arange(0, shapes3d.COUNT, 1009), shapes3d.FACTOR_SIZES)
    together = shapes3d.render(classes, size=32)
    alone = torch.cat([shapes3d.render(row[None], size=32) for row in classes])
    assert torch.equal(together, alone)
    assert shapes3d.render(classes[:0]).shape == (0, 3, 64, 64)


@pytest.mark.parametrize("size", [32, 16])
def test_a_smaller_picture_is_the_mean_of_blocks(size):
    """It is averaged before it is rounded, so it may differ by one grey level."""
    classes = classes_of(torch.arange(0, shapes3d.COUNT, 4999), shapes3d.FACTOR_SIZES)
    small = shapes3d.render(classes, size=size).int()
    blocks = block_mean(shapes3d.render(classes), size).int()
    assert (small - blocks).abs().max() <= 1
    assert (small == blocks).double().mean() > 0.9


def test_tracing_again_gives_the_same_layers_whatever_the_defaults():
    before = shapes3d._layers(16, torch.device("cpu")).clone()
    shapes3d._layers.cache_clear()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("meta"):
            after = shapes3d._layers(16, torch.device("cpu"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(before, after)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_shows_the_same_pixels():
    classes = classes_of(torch.arange(0, shapes3d.COUNT, 997), shapes3d.FACTOR_SIZES)
    drawn = shapes3d.render(classes.cuda())
    assert drawn.is_cuda
    assert torch.equal(drawn.cpu(), shapes3d.render(classes))


@pytest.mark.parametrize(
    ("classes", "size", "message"),
    [
        ([[0, 0, 0, 0, 4, 0]], 64, "shape must lie in 0..3, got 4"),
        ([[0, 0, 0, 0, 0]], 64, "5 columns for 6 factors"),
        ([[0, 0, 0, 0, 0, 0]], 128, "size of a 3D Shapes picture must be 16, 32 or 64, got 128"),
    ],
)
def test_factors_and_sizes_that_do_not_exist_are_refused(classes, size, message):
    with pytest.raises(ValueError, match=message):
        shapes3d.render(torch.tensor(classes), size=size)


def real_file(name: str) -> Path:
    folder = os.environ.get("IBBOOK_DATA")
    file = Path(folder or "", "shapes3d", name)
    if not folder or not file.exists():
        pytest.skip(f"IBBOOK_DATA names no folder with shapes3d/{name}")
    return file


def nearest(real: torch.Tensor) -> tuple[list[float], list[list[int]]]:
    """Mean absolute error to the nearest of the 480 views, and its scale, shape, orientation."""
    colour = torch.stack([real[:, :, 62, 4], real[:, :, 34, 3], real[:, :, 44:46, 32].amin(-1)], 1)
    colour = colour / colour.amax(-1, keepdim=True)
    hues = (colour[:, :, None] - torch.from_numpy(HUES)).square().sum(-1).argmin(-1)
    views = classes_of(torch.arange(480), (8, 4, 15))
    errors, found = [], []
    for image, hue in zip(real.short(), hues, strict=True):
        drawn = shapes3d.render(torch.cat([hue.expand(480, 3), views], 1))
        error = (drawn.short() - image).abs().sum((1, 2, 3), dtype=torch.int32)
        errors.append(error.min().item() / image.numel())
        found.append(views[error.argmin()].tolist())
    return errors, found


def test_the_stand_in_is_close_to_real_pictures():
    """The nearest of the grid to each of fifty: within 4 grey levels, averaged over pixels."""
    with np.load(real_file("shapes3d_notebook_50.npz"), allow_pickle=False) as data:
        errors, _ = nearest(torch.from_numpy(data["imgs"]).movedim(-1, 1))
    print(f"mean absolute error: {np.mean(errors):.2f} on average, {max(errors):.2f} at most")
    assert len(errors) == 50
    assert np.mean(errors) < 4
    assert max(errors) < 6


def test_the_preview_runs_through_the_classes_in_our_order():
    """Its frames turn the smallest cube, then change its shape, then its scale."""
    with PIL.Image.open(real_file("3dshapes.gif")) as preview:
        frames = []
        for i in range(25):
            preview.seek(i)
            inside = preview.convert("RGB").crop((1, 1, 225, 225))
            frames.append(np.array(inside.resize((64, 64), PIL.Image.Resampling.BOX)))
    _, found = nearest(torch.from_numpy(np.stack(frames)).movedim(-1, 1))
    shapes_and_scales = [(0, k) for k in (0, 1, 2, 3)] + [(k, 3) for k in range(1, 8)]
    assert [(scale, shape) for scale, shape, _ in found] == [(0, 0)] * 14 + shapes_and_scales
    orientations = np.array([orientation for *_, orientation in found])
    assert np.abs(orientations - np.minimum(np.arange(25), 14)).max() <= 1


# Official files, of a smaller grid, written by the test


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A grid of 4,800 pictures, more than one chunk, and an empty cache."""
    values = ([0.0], [0.0], *shapes3d.FACTOR_VALUES[2:])
    monkeypatch.setattr(shapes3d, "FACTOR_VALUES", tuple(map(np.asarray, values)))
    monkeypatch.setattr(shapes3d, "FACTOR_SIZES", (1, 1, 10, 8, 4, 15))
    monkeypatch.setattr(shapes3d, "COUNT", 4800)
    monkeypatch.setenv("IBBOOK_CACHE", str(tmp_path / "cache"))
    classes = classes_of(torch.arange(4800), shapes3d.FACTOR_SIZES)
    labels = [np.asarray(v)[c] for v, c in zip(shapes3d.FACTOR_VALUES, classes.T, strict=True)]
    noise = np.random.default_rng(0).integers(0, 256, (4800, 4, 4, 3), dtype=np.uint8)
    return {"images": noise.repeat(16, 1).repeat(16, 2), "labels": np.stack(labels, 1)}


def official(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            chunks = (min(700, len(array)), *array.shape[1:]) if key == "images" else None
            file.create_dataset(key, data=array, chunks=chunks)
    return path


def test_an_official_file_is_read_once_and_mapped(grid, tmp_path):
    path = official(tmp_path / "3dshapes.h5", **grid)
    data = shapes3d.dataset(path)
    assert data.source == "3dshapes.h5"
    assert data.factor_names == shapes3d.FACTOR_NAMES
    rows = [0, 4799, 4095, 4096, 17]
    np.testing.assert_array_equal(data.batch(rows).movedim(1, -1), grid["images"][rows])
    (unpacked,) = (tmp_path / "cache" / "shapes3d").glob("*.npy")
    before = unpacked.stat().st_mtime_ns
    shapes3d.dataset(path)
    assert unpacked.stat().st_mtime_ns == before


@pytest.mark.parametrize("size", [32, 16])
def test_an_official_file_is_made_smaller_by_blocks(grid, tmp_path, size):
    data = shapes3d.dataset(official(tmp_path / "3dshapes.h5", **grid), size=size)
    small = grid["images"][:, :: 64 // size, :: 64 // size]  # blocks of one colour
    np.testing.assert_array_equal(data.images[:].movedim(1, -1), small)


def test_a_file_that_changes_is_read_again(grid, tmp_path):
    path = official(tmp_path / "3dshapes.h5", **grid)
    shapes3d.dataset(path, size=16)
    official(path, **grid | {"images": 255 - grid["images"]})
    os.utime(path, ns=(1, 1))
    again = shapes3d.dataset(path, size=16).batch([5])[0]
    np.testing.assert_array_equal(again.movedim(0, -1), 255 - grid["images"][5, ::4, ::4])


def test_files_of_another_layout_are_refused(grid, tmp_path):
    def swapped():
        labels = grid["labels"].copy()
        labels[[70, 71]] = labels[[71, 70]]
        return labels

    for changed, message in (
        ({"images": grid["images"][:100]}, r"images must be uint8 of shape \(4800, 64, 64, 3\)"),
        ({"images": grid["images"].astype("f4")}, "images must be uint8"),
        ({"labels": grid["labels"][:, :5]}, r"labels must be float64 of shape \(4800, 6\)"),
        ({"labels": swapped()}, r"picture 70 has orientation .*expected 12\.8.* official order"),
    ):
        path = official(tmp_path / "3dshapes.h5", **grid | changed)
        with pytest.raises(ValueError, match=message):
            shapes3d.dataset(path)
    del grid["labels"]
    with pytest.raises(ValueError, match=r"labels must be float64 of shape .* got None"):
        shapes3d.dataset(official(tmp_path / "3dshapes.h5", **grid))
    assert list((tmp_path / "cache" / "shapes3d").glob("*.npy*")) == []


def test_damaged_files_are_refused(grid, tmp_path):
    whole = official(tmp_path / "3dshapes.h5", **grid).read_bytes()
    bad = tmp_path / "bad.h5"
    for damaged in (whole[: len(whole) // 2], b"<html>not found</html>", b""):
        bad.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bad\.h5 is not a whole HDF5 file"):
            shapes3d.dataset(bad)
    with pytest.raises(FileNotFoundError):
        shapes3d.dataset(tmp_path / "missing.h5")
