"""3D Shapes: the official file where there is one, and a ray-traced stand-in where there is none.

The data set of Burgess and Kim (2018) shows one of four solids in a room, from a camera that goes
around it: 480,000 pictures over a full grid of six factors. Its renderer's scene was never
published. The stand-in has the same factors in the same order, and a camera, a room, solids and
lights fitted to fifty real pictures. The nearest stand-in picture to each of them differs by 3.6 of
255 grey levels on average: edges are less sharp, the floor and the walls lack their faint texture,
and the gloss of the solids is simpler. The official preview, which runs through one factor after
the other, confirms the order and the direction of scale, shape and orientation. Call it a stand-in
wherever you report a number.

Only scale, shape and orientation change what a ray meets. So the rays of those 480 views are
traced once, and a picture of any hues is the sum of four integer layers: sky, floor, wall, object.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from jaxtyping import Bool, Float64, Int16, Int64, UInt8
from torch import Tensor

from ibbook._files import cache_folder, room_for, whole
from ibbook.datasets._dataset import Dataset
from ibbook.datasets._grid import check_classes, classes_of
from ibbook.datasets._images import CHUNK, block_mean

FACTOR_NAMES = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
FACTOR_SIZES = (10, 10, 10, 8, 4, 15)
FACTOR_VALUES = (
    *[np.arange(10) / 10] * 3,
    np.linspace(0.75, 1.25, 8),
    np.arange(4),
    np.linspace(-30, 30, 15),
)
COUNT = math.prod(FACTOR_SIZES)
WIDTH = 64

# The stand-in's scene. The unit of length is the camera's distance from the room's axis.
CAMERA_HEIGHT, AIM_HEIGHT, HALF_FIELD = 0.2499, 0.2114, 0.3261  # HALF_FIELD: tan(half the view)
ROOM_SIDE, ROOM_BACK, WALL_HEIGHT = 0.84, 0.9567, 0.4727  # walls' distances from the axis
CUBE = 0.1012  # half a side, at scale 1
CYLINDER_RADIUS, CYLINDER_HEIGHT = 0.107, 0.2152
SPHERE_RADIUS = 0.1212
CAPSULE_RADIUS, CAPSULE_LENGTH = 0.0917, 0.1923  # length of its straight part
LAMP, LAMP_AIM, LAMP_FALLOFF = (-0.3703, 0.2631, 1.94), (-0.31, 0.1, 0.0), 9.0
# strength of the ambient light, of the lamp at the camera, and of the lamp that throws the shadow
FLOOR, WALL, OBJECT = (0.31, 0.638, 0.9025), (0.35, 0.585, 0.905), (0.35, 0.6, 0.294)
GLOSS, GLOSS_EDGE = 0.177, 0.22  # white added to the object's side that faces the lamp
SKY = (153, 226, 249)

LEVELS = torch.arange(6, dtype=torch.float64) / 5  # values of a colour channel of hues k / 10
UNIT = 128  # layers are in 1/128 of a grey level
PART = 256  # pictures put together at once, so that they stay in a processor's cache
RAYS = 2  # per pixel of the full size, along each axis
FAR = math.inf

Rays = Float64[Tensor, "3 view ray"]
Distance = Float64[Tensor, "view ray"]


def dataset(path: Path | None = None, *, size: int = WIDTH) -> Dataset:
    """The official file at `path`, or the ray-traced stand-in without one.

    >>> data = dataset(size=32)
    >>> data.images.shape, data.source
    ((480000, 3, 32, 32), 'ray-traced stand-in')
    """
    _check_size(size)
    if path is not None:
        return Dataset.from_arrays(
            _unpacked(Path(path), size),
            factor_names=FACTOR_NAMES,
            factor_values=FACTOR_VALUES,
            channels_last=True,
            name="shapes3d",
            source=Path(path).name,
        )
    return Dataset.rendered(
        partial(render, size=size),
        name="shapes3d",
        shape=(3, size, size),
        factor_names=FACTOR_NAMES,
        factor_values=FACTOR_VALUES,
        source="ray-traced stand-in",
    )


def render(classes: Int64[Tensor, "n 6"], *, size: int = WIDTH) -> UInt8[Tensor, "n 3 size size"]:
    """Stand-in pictures of these factors, put together on the device of `classes`.

    The first call of a size traces its rays, which takes a few seconds.

    >>> blue_room = render(torch.tensor([[0, 6, 3, 4, 0, 7]]), size=16)[0]
    >>> blue_room[:, 0, 0].tolist(), blue_room[:, 15, 0].tolist()  # sky, and floor of hue 0: red
    ([153, 226, 249], [255, 0, 0])
    """
    _check_size(size)
    if classes.device.type == "cpu" and len(classes):  # on a GPU the look would wait for it
        check_classes(classes, FACTOR_NAMES, FACTOR_SIZES)
    layers = _layers(size, classes.device)
    parts = [_sum_layers(layers, part) for part in classes.split(PART)]
    return torch.cat(parts).view(-1, 3, size, size)


def _sum_layers(
    layers: Int16[Tensor, "480*21 pixel"], classes: Int64[Tensor, "n 6"]
) -> UInt8[Tensor, "3*n pixel"]:
    view = (classes[:, 3] * 4 + classes[:, 4]) * 15 + classes[:, 5]
    first = torch.arange(0, 21, 6, device=view.device)[:, None]  # floor, wall, object, sky
    sky = torch.arange(3, device=view.device).expand(len(view), 1, 3)
    levels = torch.cat([_levels(view.device)[classes[:, :3]], sky], 1)
    rows = (21 * view[:, None, None] + first + levels).movedim(1, 0).flatten(1)
    total = layers.index_select(0, rows[0])
    for row in rows[1:]:
        total += layers.index_select(0, row)
    total += UNIT // 2
    return total.bitwise_right_shift_(7).to(torch.uint8)


def _check_size(size: int) -> None:
    if size not in (16, 32, 64):
        raise ValueError(f"size of a 3D Shapes picture must be 16, 32 or 64, got {size!r}")


@cache
def _levels(device: torch.device) -> Int64[Tensor, "10 3"]:
    """Five times the red, green and blue of each hue, which are whole numbers."""
    colours = [colorsys.hsv_to_rgb(hue / 10, 1, 1) for hue in range(10)]
    return torch.tensor(colours, dtype=torch.float64, device="cpu").mul(5).round().long().to(device)


@cache
def _layers(size: int, device: torch.device) -> Int16[Tensor, "480*21 size*size"]:
    """What each region adds to a channel, for each view: 3 regions by 6 levels, then 3 of sky.

    Rays are traced on the CPU, in double precision, so that every device shows the same picture.
    """
    if device.type != "cpu":
        return _layers(size, torch.device("cpu")).to(device)
    with torch.device("cpu"):
        room = _room()
        layers = torch.empty(8, 4, 15, 21, size, size, dtype=torch.int16)
        for i, scale in enumerate(FACTOR_VALUES[3].tolist()):
            for shape in range(4):
                layers[i, shape] = _view_layers(*_shade(room, shape, scale), size)
    return layers.flatten(0, 3).flatten(1)


def _view_layers(
    regions: list[Bool[Tensor, "view ray"]], light: Distance, gloss: Distance, size: int
) -> Int16[Tensor, "view 21 size size"]:
    block = WIDTH * RAYS // size

    def average(x: Distance) -> Float64[Tensor, "view size size"]:
        return F.avg_pool2d(x.view(-1, WIDTH * RAYS, WIDTH * RAYS), block)

    parts = [
        average(region * (light * level + gloss).clamp(max=1)) * 255
        for region in regions
        for level in LEVELS
    ]
    empty = 1 - average(sum(region.double() for region in regions))
    parts += [empty * channel for channel in SKY]
    return (torch.stack(parts, 1) * UNIT).round().to(torch.int16)


class _Room(NamedTuple):
    """The empty room, from all 15 orientations: where each ray ends and what it sees there."""

    camera: Float64[Tensor, "3 view 1"]
    forward: Float64[Tensor, "3 view 1"]
    ray: Rays
    distance: Distance  # infinite where it meets the sky
    floor: Bool[Tensor, "view ray"]
    wall: Bool[Tensor, "view ray"]
    normal: Rays


def _room() -> _Room:
    angle = torch.from_numpy(np.deg2rad(FACTOR_VALUES[5]))[:, None]
    zero = torch.zeros_like(angle)
    camera = torch.stack([angle.sin(), -angle.cos(), zero + CAMERA_HEIGHT])
    forward = _unit(_point(0, 0, AIM_HEIGHT) - camera)
    right = torch.stack([angle.cos(), angle.sin(), zero])
    up = torch.linalg.cross(right, forward, dim=0)
    side = HALF_FIELD * ((torch.arange(WIDTH * RAYS).double() + 0.5) * 2 / (WIDTH * RAYS) - 1)
    down, across = torch.meshgrid(side, side, indexing="ij")
    ray = forward + across.flatten() * right - down.flatten() * up

    wall_at = _point(ROOM_SIDE, ROOM_BACK)
    walls = (wall_at * ray[:2].sign() - camera[:2]) / ray[:2]
    to_wall, axis = walls.min(0)
    height = camera[2] + to_wall * ray[2]
    floor, wall = height < 0, (height >= 0) & (height < WALL_HEIGHT)
    distance = torch.where(floor, -camera[2] / ray[2], to_wall).where(floor | wall, FAR)
    normal = -_along(torch.where(floor, 2, axis)) * ray.sign()
    return _Room(camera, forward, ray, distance, floor, wall, normal)


def _shade(
    room: _Room, shape: int, scale: float
) -> tuple[list[Bool[Tensor, "view ray"]], Distance, Distance]:
    """Which rays see floor, wall and object, and how brightly each is lit.

    Light is ambient, plus a lamp at the camera, plus one spotlight that throws the shadow.
    """
    hit = _solid(room.camera, room.ray, shape, scale)
    seen = hit < room.distance
    regions = [room.floor & ~seen, room.wall & ~seen, seen]
    distance = torch.where(seen, hit, room.distance).nan_to_num(posinf=0)
    point = room.camera + distance * room.ray
    normal = torch.where(seen, _normal(point, shape, scale), room.normal)

    lamp, aim = _point(*LAMP), _point(*LAMP_AIM)
    to_lamp = _unit(lamp - point)
    facing = _dot(normal, to_lamp)
    beam = _dot(to_lamp, _unit(lamp - aim)).clamp(min=0) ** LAMP_FALLOFF
    shadow = regions[0] & _solid(point, to_lamp, shape, scale).isfinite()
    headlight = -_dot(normal, room.forward)
    strength = [
        sum(region.double() * value for region, value in zip(regions, values, strict=True))
        for values in zip(FLOOR, WALL, OBJECT, strict=True)
    ]
    light = strength[0] + strength[1] * headlight.clamp(min=0)
    light += strength[2] * facing.clamp(min=0) * beam * ~shadow
    return regions, light, GLOSS * (facing / GLOSS_EDGE + 0.5).clamp(0, 1) * seen


def _solid(origin: Rays, ray: Rays, shape: int, scale: float) -> Distance:
    """How far along each ray it enters a solid that stands on the floor; infinite where it misses.

    Rays start outside, or on the floor.
    """
    if shape == 0:
        half = CUBE * scale
        centred = origin - _point(0, 0, half)
        near = torch.minimum((-half - centred) / ray, (half - centred) / ray).amax(0)
        far = torch.maximum((-half - centred) / ray, (half - centred) / ray).amin(0)
        return near.where((near <= far) & (near > 0), FAR)
    if shape == 1:
        radius, height = CYLINDER_RADIUS * scale, CYLINDER_HEIGHT * scale
        lid = (height - origin[2]) / ray[2]
        on_lid = _square(origin[:2] + lid * ray[:2]) <= radius**2
        lid = lid.where(on_lid & (lid > 0), FAR)
        return torch.minimum(lid, _tube(origin, ray, radius, 0, height))
    radius, length = _capsule(shape, scale)
    balls = [_enter(origin - _point(0, 0, radius + top), ray, radius) for top in (0, length)]
    tube = _tube(origin, ray, radius, radius, radius + length)
    return torch.minimum(torch.minimum(*balls), tube)


def _capsule(shape: int, scale: float) -> tuple[float, float]:
    """Radius and straight length; a sphere is a capsule without a straight part."""
    if shape == 2:
        return SPHERE_RADIUS * scale, 0.0
    return CAPSULE_RADIUS * scale, CAPSULE_LENGTH * scale


def _tube(origin: Rays, ray: Rays, radius: float, bottom: float, top: float) -> Distance:
    near = _enter(origin[:2], ray[:2], radius)
    height = origin[2] + near * ray[2]
    return near.where((height >= bottom) & (height <= top), FAR)


def _enter(origin: Tensor, ray: Tensor, radius: float) -> Distance:
    """Where |origin + t ray| first equals the radius, in two or three dimensions."""
    a, b = _square(ray), _dot(origin, ray)
    root = b**2 - a * (_square(origin) - radius**2)
    near = (-b - root.clamp(min=0).sqrt()) / a
    return near.where((root > 0) & (near > 0), FAR)


def _normal(point: Rays, shape: int, scale: float) -> Rays:
    """The outward normal of a solid at a point of its surface."""
    x, y, z = point
    if shape == 0:
        centred = torch.stack([x, y, z - CUBE * scale])
        return _along(centred.abs().argmax(0)) * centred.sign()
    if shape == 1:
        lid = z >= CYLINDER_HEIGHT * scale - 1e-9
        return _unit(torch.stack([x * ~lid, y * ~lid, lid.to(z)]))
    radius, length = _capsule(shape, scale)
    return _unit(torch.stack([x, y, z - z.clamp(radius, radius + length)]))


def _point(*xyz: float) -> Float64[Tensor, "axis 1 1"]:
    return torch.tensor(xyz, dtype=torch.float64)[:, None, None]


def _along(axis: Int64[Tensor, "view ray"]) -> Rays:
    return (axis == torch.arange(3)[:, None, None]).double()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


def _square(a: Tensor) -> Tensor:
    return _dot(a, a)


def _unit(a: Tensor) -> Tensor:
    return a / _square(a).sqrt().clamp(min=1e-12)


def _unpacked(path: Path, size: int) -> np.memmap:
    """The official pictures as a memory map in the cache: 5.9 GB at size 64, a sixteenth at 16.

    The file is compressed in blocks that random access would unpack again and again, so it is
    unpacked once, made smaller on the way.
    """
    stat = path.stat()
    folder = cache_folder() / "shapes3d"
    folder.mkdir(parents=True, exist_ok=True)
    unpacked = folder / f"{path.stem}-{stat.st_size:x}-{stat.st_mtime_ns:x}-{size}.npy"
    if not unpacked.exists():
        with FileLock(unpacked.with_suffix(".lock")):
            if not unpacked.exists():
                _unpack(path, unpacked, size)
    return np.load(unpacked, mmap_mode="r")


def _unpack(path: Path, unpacked: Path, size: int) -> None:
    shape = (COUNT, size, size, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    room_for(unpacked, math.prod(shape))
    with whole(unpacked) as part, part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for pictures in _official(path):
            small = block_mean(torch.from_numpy(pictures).movedim(-1, 1), size)
            small.movedim(1, -1).contiguous().numpy().tofile(file)


def _official(path: Path) -> Iterator[UInt8[np.ndarray, "n 64 64 3"]]:
    """The pictures of an official file, chunk by chunk, once its layout and labels are checked."""
    try:
        with h5py.File(path) as file:
            _check_layout(file)
            pictures = file["images"]
            step = pictures.chunks[0] if pictures.chunks else 1
            step *= math.ceil(CHUNK / step)  # whole blocks, each of them unpacked once
            for start in range(0, COUNT, step):
                yield pictures[start : start + step]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} is not a whole HDF5 file ({error}); fetch it again") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_layout(file: h5py.File) -> None:
    layout = {"images": ((COUNT, WIDTH, WIDTH, 3), "u1"), "labels": ((COUNT, 6), "f8")}
    for key, (shape, kind) in layout.items():
        found = file.get(key)
        if not isinstance(found, h5py.Dataset) or found.shape != shape or found.dtype != kind:
            raise ValueError(f"{key} must be {np.dtype(kind)} of shape {shape}, got {found}")
    labels = torch.from_numpy(file["labels"][:])
    grid = classes_of(torch.arange(COUNT), FACTOR_SIZES)
    for j, (name, values) in enumerate(zip(FACTOR_NAMES, FACTOR_VALUES, strict=True)):
        expected = torch.from_numpy(values).double()[grid[:, j]]
        wrong = (~torch.isclose(labels[:, j], expected, rtol=0, atol=1e-6)).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise ValueError(
                f"picture {i} has {name} {labels[i, j]:g}, expected {expected[i]:g}: "
                "its pictures are not in the official order"
            )
