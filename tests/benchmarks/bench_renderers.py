"""Drawing against its peers: plain numpy, and a compressed file of the same pictures.

Run with `pytest -s tests/benchmarks/bench_renderers.py`; the tests that look at the whole grid of
dSprites are slow (`-k whole`, a minute), and write one file of 3 GB into the temporary folder.
"""

from __future__ import annotations

import hashlib
import resource
import time

import numpy as np
import pytest
import torch

from ibbook.datasets import dsprites, shapes3d
from ibbook.datasets._grid import classes_of

BATCH = 4096
DISTINCT = 715_706  # of the 737,280 pictures


def numpy_tables() -> list[np.ndarray]:
    """Vertices about the centre of each shape, [scale, orientation, vertex, axis], in pixels."""
    t = 2 * np.pi * np.arange(150) / 150
    s = 2 * np.pi * np.arange(100) / 100
    bump = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    polygons = [
        np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float),
        np.stack([1.33 * np.cos(s), np.sin(s) / 1.33], 1),
        np.stack([np.sin(t) ** 3, -bump / 14.5 - 0.15], 1),
    ]
    theta = np.linspace(0, 2 * np.pi, 40)
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    radius = 9.6 * np.linspace(0.5, 1, 6)[:, None, None, None]
    return [radius * np.einsum("va,abo->ovb", p, turn) for p in polygons]


def numpy_render(classes: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
    """Crossings counted by pixel, then the parity of their running sum along each row."""
    pictures = np.empty((len(classes), 64, 64), np.uint8)
    for shape in range(3):
        mine = np.flatnonzero(classes[:, 0] == shape)
        _, scale, orientation, x, y = classes[mine].T
        centre = 16 + 32 * np.linspace(0, 1, 32)[np.stack([x, y], -1)]
        start = np.rint(256 * (tables[shape][scale, orientation] + centre[:, None])).astype(int)
        end = np.roll(start, -1, axis=1)
        up = start[..., 1] > end[..., 1]
        low, high = np.where(up[..., None], end, start), np.where(up[..., None], start, end)
        first, last = (low[..., 1] - 128 >> 8) + 1, high[..., 1] - 128 >> 8
        span = np.maximum(last - first + 1, 0).ravel()
        edge = np.repeat(np.arange(span.size), span)
        row = np.arange(span.sum()) - np.repeat(span.cumsum() - span, span) + first.ravel()[edge]
        (x0, y0), (x1, y1) = low.reshape(-1, 2)[edge].T, high.reshape(-1, 2)[edge].T
        column = (x0 + 127 - (x0 - x1) * (256 * row + 128 - y0) // (y1 - y0)) >> 8
        where = (edge // start.shape[1] * 64 + row) * 64 + column
        count = np.bincount(where, minlength=len(mine) * 4096).reshape(-1, 64, 64)
        pictures[mine] = count.cumsum(2) & 1
    return pictures


def seconds(run, repeats: int = 5) -> float:
    """Least processor time, which other programs disturb less than the time on the wall."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


@pytest.fixture(scope="module")
def classes() -> torch.Tensor:
    rows = torch.randperm(dsprites.COUNT, generator=torch.Generator().manual_seed(0))[:BATCH]
    return classes_of(rows, dsprites.FACTOR_SIZES)


@pytest.fixture
def one_thread():
    """Peers that use one core are compared with one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [64, 32, 16])
def test_batch(benchmark, classes, size):
    benchmark(dsprites.render, classes, size=size)


def test_batch_against_numpy_and_a_compressed_file(classes, tmp_path, one_thread):
    tables, grid = numpy_tables(), classes.numpy()
    drawn = dsprites.render(classes)[:, 0].numpy()
    np.testing.assert_array_equal(numpy_render(grid, tables), drawn)
    np.savez_compressed(tmp_path / "batch.npz", imgs=drawn)

    def read() -> np.ndarray:
        with np.load(tmp_path / "batch.npz") as file:
            return file["imgs"]

    ours = seconds(lambda: dsprites.render(classes))
    theirs = seconds(lambda: numpy_render(grid, tables))
    file = seconds(read)
    print(
        f"\n{BATCH} pictures on one core: {1e3 * ours:.1f} ms; numpy {theirs / ours:.1f} times "
        f"as long, and reading a compressed npz {file / ours:.1f} times"
    )
    assert ours < theirs
    assert ours < file


@pytest.mark.parametrize("size", [64, 32, 16])
def test_stand_in_batch(benchmark, size):
    rows = torch.randperm(shapes3d.COUNT, generator=torch.Generator().manual_seed(0))[:BATCH]
    grid = classes_of(rows, shapes3d.FACTOR_SIZES)
    shapes3d.render(grid[:1], size=size)  # traces the rays
    benchmark(shapes3d.render, grid, size=size)


def test_stand_in_rays(benchmark):
    """All 480 views at once, once in a process and size."""

    def trace() -> torch.Tensor:
        shapes3d._layers.cache_clear()
        return shapes3d._layers(64, torch.device("cpu"))

    layers = benchmark.pedantic(trace, rounds=1)
    print(f"\nlayers of 480 views: {layers.nbytes / 2**20:.0f} MiB")


def test_whole_grid_agrees_with_numpy_and_has_the_known_number_of_pictures():
    tables, digests = numpy_tables(), set()
    ours = theirs = 0.0
    for rows in torch.arange(dsprites.COUNT).split(BATCH):
        grid = classes_of(rows, dsprites.FACTOR_SIZES)
        start = time.perf_counter()
        drawn = dsprites.render(grid)[:, 0].numpy()
        middle = time.perf_counter()
        peer = numpy_render(grid.numpy(), tables)
        theirs += time.perf_counter() - middle
        ours += middle - start
        assert np.array_equal(drawn, peer), f"in pictures {rows[0]} to {rows[-1]}"
        digests.update(hashlib.blake2b(each, digest_size=16).digest() for each in drawn)
    print(f"\nwhole grid: {ours:.1f} s; numpy {theirs:.1f} s, {theirs / ours:.1f} times as long")
    assert len(digests) == DISTINCT


def test_whole_grid_to_a_file(tmp_path):
    start, cpu = time.perf_counter(), time.process_time()
    dsprites.write(tmp_path / "grid.npy")
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    size = (tmp_path / "grid.npy").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\nwhole grid to a {size / 1e9:.2f} GB file: {wall:.1f} s ({cpu:.1f} s of CPU), "
        f"the process had {peak:.0f} MiB at most"
    )
    assert wall < 15
