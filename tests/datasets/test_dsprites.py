"""dSprites: real frames, an independent scan converter, and the facts of the data set."""

from __future__ import annotations

import base64
import os
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbook.datasets import dsprites
from ibbook.datasets._grid import classes_of, indices_of

# Frames of dsprites.gif, the preview in google-deepmind/dsprites-dataset (Apache-2.0), by their
# factors: the pixels of each as bits, row by row, compressed.
REAL = {
    (0, 2, 0, 0, 0): ("c-muNpc1J6M_+mrPz3-0b#D~c"),
    (0, 5, 18, 0, 0): ("c-muNAQIF->Hi0y^dBe<75M-E0f=HGKr=(t<D%LB|8F2bGeFft?6-%~%ut%aj$srK4*=9EFzW"),
    (0, 5, 30, 0, 0): ("c-muNAQmt}ss9Ziiupf;X8(`MCxJeIOf!;BKS1R-K-|~BFbYTj0I@1FC;"),
    (1, 0, 0, 0, 0): ("c-muNpfO-R0HNi7Kxq3v_-U9rn7&a!Qvd)3LkOV"),
    (1, 5, 14, 0, 0): (
        "c-muNAQDtS>HiRl@qYuDX8!*GN`HXTKcMs<6q@n>KPdelg=Y8<H3&x6Luvc}2T*8vD9sP0*`YMdAuxwA$T5rp;sF38C?&%"
    ),
    (1, 5, 33, 0, 0): (
        "c-muNAQIF;>HiI2it+yeDE$CRe}K|Ip!6R!`X36-@c%z5T@N)FM%$y&@=%%|O0z?0X1IgU96Ab!0RY5PB%l"
    ),
    (2, 5, 5, 0, 0): ("c-muNAQG@YfYAIOp!5$2EsswBfyzT@=KrWPJCQU@JtLH6sQ<$-3aAeNg7_M}"),
    (2, 5, 37, 0, 0): (
        "c-muNAQJFEX?rML-vFWiw?XOq5P|>y51`QxQ0RI%4UxBp(-8gg{~_kd|AEl_AD}cu83Q}iel~_tKm`B*m|`5#"
    ),
    (2, 5, 0, 0, 26): (
        "c-muN7zHTck3E=T{8!%qrvLv(p_%{xKY&c5%QO7{&wxVL|AWx>e;~B{4+zcw0YbAsfY8hbAT(nGUA+qcp8_4N"
    ),
    (2, 5, 0, 6, 31): (
        "c-muN7zJbj#t%QhH1p4YV4D3el>Yyp01Z*c45$A<%=-^9kKz9Z2wndGLfapJ(DDrsnjh)_HYm+Rkv9N%(i-;"
    ),
    (2, 5, 0, 27, 0): (
        "c-muNARn+FegLNBpMQYR?|*=4`~TQ!c?=q&j~`02|A&~z{Qm%$X8hj(vFJb4!a68z1EnRPv;e~>AQJ!p`jQ)p"
    ),
    (2, 5, 0, 31, 9): (
        "c-muN7zCg~4nqH{2UCpy>KnlH|Nmf``Tzd|$TUnGoo4v|A7W1ZKL~CA2SUsLfYAIOAT;{}2+e!|LNhj?(jy1}0F50T2m"
    ),
}

LATENTS = st.tuples(*(st.integers(0, size - 1) for size in dsprites.FACTOR_SIZES))


def polygon(shape: int) -> np.ndarray:
    if shape == 0:
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    if shape == 1:
        t = [2 * np.pi * i / 100 for i in range(100)]
        return np.array([(1.33 * np.cos(a), np.sin(a) / 1.33) for a in t])
    t = [2 * np.pi * i / 150 for i in range(150)]
    bump = [13 * np.cos(a) - 5 * np.cos(2 * a) - 2 * np.cos(3 * a) - np.cos(4 * a) for a in t]
    return np.array([(np.sin(a) ** 3, -b / 14.5 - 0.15) for a, b in zip(t, bump, strict=True)])


def vertices(shape: int, scale: int, orientation: int, x: int, y: int) -> np.ndarray:
    """Vertices in 1/256 pixel, rounded after the move, straight from the definition."""
    radius = 9.6 * np.linspace(0.5, 1, 6)[scale]
    theta = np.linspace(0, 2 * np.pi, 40)[orientation]
    turn = np.array([[np.cos(theta), np.sin(theta)], [-np.sin(theta), np.cos(theta)]])
    centre = 16 + 32 * np.linspace(0, 1, 32)[[x, y]]
    return np.rint(256 * (radius * polygon(shape) @ turn.T + centre)).astype(np.int64)


def even_odd(latents: tuple[int, ...]) -> np.ndarray:
    """Is each pixel centre inside? Every edge against every centre, in exact integers."""
    start = vertices(*latents)
    end = np.roll(start, -1, axis=0)
    centre = 256 * np.arange(64) + 128
    (x0, y0), (x1, y1) = start.T[:, :, None, None], end.T[:, :, None, None]
    y, x = centre[:, None], centre[None, :]
    spans = (np.minimum(y0, y1) < y) & (y <= np.maximum(y0, y1))
    side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
    at_or_left = np.where(y1 > y0, side <= 0, side >= 0)
    return (spans & at_or_left).sum(0) % 2


def draw(*latents: tuple[int, ...], size: int = 64) -> np.ndarray:
    return dsprites.render(torch.tensor(latents), size=size)[:, 0].numpy()


@pytest.mark.parametrize("latents", REAL)
def test_a_real_frame_is_drawn_pixel_for_pixel(latents):
    bits = zlib.decompress(base64.b85decode(REAL[latents]))
    real = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(64, 64)
    assert real.sum() > 50
    np.testing.assert_array_equal(draw(latents)[0], real)


def test_every_real_frame_at_hand_is_drawn_pixel_for_pixel():
    folder = os.environ.get("IBBOOK_DATA")
    frames = Path(folder or "", "dsprites", "dsprites_gif_frames.npz")
    if not folder or not frames.exists():
        pytest.skip("IBBOOK_DATA names no folder with dsprites/dsprites_gif_frames.npz")
    with np.load(frames, allow_pickle=False) as data:
        real, latents = data["imgs"], data["latents_classes"][:, 1:]
    assert len(real) == 320
    assert (draw(*latents.tolist()) != real).sum() == 0
    assert dsprites.check(frames, complete=False) == 0


# The official file as others measured it: the mean over its pixels, and the mean over its pictures
# of the unbiased deviation of a picture. Nathan Michlo's disent, `compute_data_mean_std`, 2021.
PUBLISHED_MEAN = 0.042494423521889584
PUBLISHED_DEVIATION = 0.19516645880626055


def deviation(white: np.ndarray) -> np.ndarray:
    """The unbiased deviation of a picture with so many white pixels of 4096."""
    return np.sqrt(white * (4096 - white) / (4096 * 4095))


def test_the_whole_grid_is_as_far_from_the_published_constants_as_we_say():
    """A renderer that meets both, or that moves a pixel, must change what the docs say."""
    white = []
    for rows in torch.arange(dsprites.COUNT).split(4096):
        words = dsprites._words(classes_of(rows, dsprites.FACTOR_SIZES)).numpy()
        white.append(np.bitwise_count(words.view(np.uint64)).sum(1, dtype=np.int64))
    white = np.concatenate(white)
    published = PUBLISHED_MEAN * dsprites.COUNT * 4096
    assert published == pytest.approx(128_328_862, abs=1e-6)
    assert white.sum() == 128_328_864
    ours = deviation(white)
    assert ours.mean() == pytest.approx(0.19516645451018924, abs=1e-14)
    missing = PUBLISHED_DEVIATION * dsprites.COUNT - ours.sum()
    assert missing == pytest.approx(0.0031674074, abs=1e-9)
    # the fewest pixels that explain both: some more in the blackest pictures, and two more than
    # that fewer in the whitest
    gain = (deviation(white + 1) - ours).max()
    loss = (ours - deviation(white - 1)).min()
    fewest = next(k for k in range(100) if k * gain - (k + 2) * loss >= missing)
    assert fewest + (fewest + 2) == 14


def test_no_vertex_is_so_near_to_a_tie_that_a_processor_could_decide_it():
    """Cosines differ in their last bits from one to another, by less than 1e-9 in these units."""
    angle = np.linspace(0, 2 * np.pi, 40)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for shape in range(3):
        for scale in np.linspace(0.5, 1, 6):
            u = 256 * 9.6 * scale * np.einsum("vb,abo->ova", polygon(shape), turn)
            w = 31 * u + 15.5
            assert np.abs(w).max() < 2**17
            assert np.abs(w - np.rint(w)).min() > 8e-6


def test_random_pictures_agree_with_an_independent_scan_converter():
    rng = np.random.default_rng(0)
    latents = [tuple(int(rng.integers(s)) for s in dsprites.FACTOR_SIZES) for _ in range(600)]
    for drawn, each in zip(draw(*latents), latents, strict=True):
        np.testing.assert_array_equal(drawn, even_odd(each), err_msg=f"{each}")


@given(LATENTS)
@settings(max_examples=60, deadline=None)
def test_any_picture_agrees_with_an_independent_scan_converter(latents):
    np.testing.assert_array_equal(draw(latents)[0], even_odd(latents))


@given(LATENTS)
@settings(max_examples=50, deadline=None)
def test_a_full_turn_changes_nothing(latents):
    shape, scale, _, x, y = latents
    first, last = draw((shape, scale, 0, x, y), (shape, scale, 39, x, y))
    np.testing.assert_array_equal(first, last)


@given(LATENTS)
@settings(max_examples=50, deadline=None)
def test_the_ends_of_a_position_are_32_pixels_apart(latents):
    shape, scale, orientation, x, y = latents
    left, right = draw((shape, scale, orientation, 0, y), (shape, scale, orientation, 31, y))
    np.testing.assert_array_equal(np.roll(left, 32, axis=1), right)
    top, bottom = draw((shape, scale, orientation, x, 0), (shape, scale, orientation, x, 31))
    np.testing.assert_array_equal(np.roll(top, 32, axis=0), bottom)


@given(LATENTS)
@settings(max_examples=100, deadline=None)
def test_the_white_pixels_lie_about_the_centroid_of_the_polygon(latents):
    """posX moves them right and posY moves them down."""
    corner = vertices(*latents) / 256
    nearby = np.roll(corner, -1, axis=0)
    wedge = corner[:, 0] * nearby[:, 1] - corner[:, 1] * nearby[:, 0]
    centroid = ((corner + nearby) * wedge[:, None]).sum(0) / (3 * wedge.sum())
    row, column = np.nonzero(draw(latents)[0])
    np.testing.assert_allclose([column.mean() + 0.5, row.mean() + 0.5], centroid, atol=0.4)


@pytest.mark.parametrize("shape", range(3))
def test_the_mean_number_of_white_pixels_is_the_area_of_the_polygon(shape):
    corner = polygon(shape)
    x, y = corner.T
    area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    for scale in range(6):
        poses = [(shape, scale, o, p, (7 * p) % 32) for o in range(40) for p in range(32)]
        radius = 9.6 * (0.5 + 0.1 * scale)
        assert draw(*poses).sum((1, 2)).mean() == pytest.approx(area * radius**2, rel=2e-3)


@given(st.lists(LATENTS, min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_smaller_picture_counts_the_white_pixels_of_each_block(latents):
    full = draw(*latents)
    for size, block in ((32, 2), (16, 4)):
        small = draw(*latents, size=size)
        assert small.dtype == np.uint8
        counts = np.add.reduceat(full, range(0, 64, block), axis=1, dtype=int)
        counts = np.add.reduceat(counts, range(0, 64, block), axis=2)
        np.testing.assert_array_equal(small, counts)


def test_a_batch_is_the_pictures_one_by_one_in_any_order():
    classes = classes_of(torch.arange(0, dsprites.COUNT, 9973), dsprites.FACTOR_SIZES)
    together = dsprites.render(classes)
    alone = torch.cat([dsprites.render(row[None]) for row in classes])
    assert torch.equal(together, alone)
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    assert torch.equal(dsprites.render(classes[order]), together[order])
    assert dsprites.render(classes[:0]).shape == (0, 1, 64, 64)


def test_pictures_do_not_depend_on_default_dtype_or_device():
    classes = torch.tensor([[2, 5, 7, 30, 11], [0, 3, 39, 0, 31]])
    want = dsprites.render(classes)
    dsprites._edges.cache_clear()
    torch.set_default_dtype(torch.float16)
    try:
        assert torch.equal(dsprites.render(classes), want)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):  # nothing may be made on a default device
        assert torch.equal(dsprites.render(classes), want)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_pixels():
    classes = classes_of(torch.arange(0, dsprites.COUNT, 997), dsprites.FACTOR_SIZES)
    drawn = dsprites.render(classes.cuda())
    assert drawn.is_cuda
    assert torch.equal(drawn.cpu(), dsprites.render(classes))


def test_the_data_set_is_the_official_grid():
    data = dsprites.dataset(size=32)
    assert len(data) == 737_280
    assert data.factor_names == ("shape", "scale", "orientation", "posX", "posY")
    assert data.factors_at([1, 32, 1024, 40_960, 245_760]).tolist() == [
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
    ]
    scale, angle = data.factor_values[1:3]
    np.testing.assert_allclose(scale, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert angle[-1].item() == pytest.approx(2 * np.pi)
    latents = (2, 5, 13, 20, 6)
    index = int(indices_of(torch.tensor(latents), dsprites.FACTOR_SIZES))
    np.testing.assert_array_equal(data.batch([index])[0], draw(latents, size=32))
    assert data.images[index].max() == data.scale == 4


@pytest.mark.parametrize(
    ("classes", "size", "message"),
    [
        ([[0, 0, 0, 0, 32]], 64, "posY must lie in 0..31, got 32"),
        ([[-1, 0, 0, 0, 0]], 64, "shape must lie in 0..2, got -1"),
        ([[0, 0, 0, 0]], 64, "4 columns for 5 factors"),
        ([0, 0, 0, 0, 0], 64, r"factors must have shape \[n, 5\], got \(5,\)"),
        ([[0, 0, 0, 0, 0]], 48, "size of a dSprites picture must be 16, 32 or 64, got 48"),
    ],
)
def test_factors_and_sizes_that_do_not_exist_are_refused(classes, size, message):
    with pytest.raises(ValueError, match=message):
        dsprites.render(torch.tensor(classes), size=size)


def test_a_written_file_is_the_grid_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(dsprites, "COUNT", 5000)  # more than one chunk
    dsprites.write(tmp_path / "grid.npy", size=16)
    grid = np.load(tmp_path / "grid.npy", mmap_mode="r")
    assert grid.shape == (5000, 16, 16)
    np.testing.assert_array_equal(grid, dsprites.dataset(size=16).images[:5000][:, 0])
    assert [p.name for p in tmp_path.iterdir()] == ["grid.npy"]


# Files of the official layout: compressed, with the latents and with pickled metadata


def official(path: Path, count: int = 5000, **changed: np.ndarray) -> Path:
    classes = classes_of(torch.arange(count), dsprites.FACTOR_SIZES).numpy()
    arrays = {
        "metadata": np.array({"title": "a dictionary is pickled"}, dtype=object),
        "imgs": np.stack([even_odd((0, 0, 0, 0, 0))] * count).astype(np.uint8),
        "latents_classes": np.insert(classes, 0, 0, axis=1),
    }
    arrays["imgs"][:] = draw(*classes.tolist())
    np.savez_compressed(path, **arrays | changed)
    return path


def test_the_differing_pixels_of_a_whole_official_file_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(dsprites, "COUNT", 5000)  # more than one chunk
    path = official(tmp_path / "d.npz")
    assert dsprites.check(path) == 0
    with np.load(path) as data:
        pictures = data["imgs"]
    for number, places in ((3, [17, 4095, 4096]), (199, range(4000, 4199))):
        changed = pictures.copy()
        changed[list(places), 40, 7] ^= 1
        official(path, imgs=changed)
        assert dsprites.check(path) == number


@pytest.mark.parametrize("complete", [True, False])
def test_too_many_differing_pixels_are_refused_and_the_first_is_named(
    tmp_path, monkeypatch, complete
):
    monkeypatch.setattr(dsprites, "COUNT", 5000)
    path = official(tmp_path / "d.npz")
    with np.load(path) as data:
        pictures = data["imgs"]
    pictures[4500, 40, 7] ^= 1
    pictures[4501:4700, 3, 5] ^= 1
    official(path, imgs=pictures)
    message = (
        "d.npz: 200 pixels differ from the rendered ones, expected fewer than 200; the first is in "
        "picture 4500 (shape 0, scale 0, orientation 4, posX 12, posY 20) at row 40, column 7: "
        "the file has 1, rendered is 0. Download the file again"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        dsprites.check(path, complete=complete)


def test_factors_out_of_order_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dsprites, "COUNT", 100)
    path = official(tmp_path / "d.npz", 100)
    with np.load(path) as data:
        pictures, classes = data["imgs"], data["latents_classes"]
    order = np.arange(100)
    order[[70, 71]] = 71, 70
    official(path, 100, imgs=pictures[order], latents_classes=classes[order])
    assert dsprites.check(path, complete=False) == 0
    with pytest.raises(ValueError, match=r"picture 70 has .*posX 2, posY 7, expected .*posY 6"):
        dsprites.check(path)


def test_a_file_of_some_pictures_is_not_the_official_one(tmp_path):
    path = official(tmp_path / "d.npz", 100)
    with pytest.raises(ValueError, match="100 pictures and the factors of 100, expected 737280"):
        dsprites.check(path)
    official(path, 100, latents_classes=np.zeros((99, 6), int))
    with pytest.raises(ValueError, match="100 pictures and the factors of 99"):
        dsprites.check(path, complete=False)


def test_pickled_pictures_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    path = official(tmp_path / "d.npz", 10, imgs=np.array([Trap()] * 10, dtype=object))
    with pytest.raises(ValueError, match="imgs must be integers of shape"):
        dsprites.check(path, complete=False)


def test_damaged_files_are_refused(tmp_path):
    whole = official(tmp_path / "d.npz", 200).read_bytes()
    bad = tmp_path / "bad.npz"
    with zipfile.ZipFile(tmp_path / "d.npz") as archive:
        start = archive.getinfo("imgs.npy").header_offset + 200
    for damaged in (
        whole[: len(whole) // 2],
        b"<html>not found</html>",
        b"",
        whole[:start] + bytes([whole[start] ^ 0x55]) + whole[start + 1 :],
    ):
        bad.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bad\.npz"):
            dsprites.check(bad, complete=False)
    np.savez_compressed(bad, images=np.zeros((3, 64, 64), np.uint8))
    with pytest.raises(ValueError, match="no array imgs"):
        dsprites.check(bad, complete=False)
    with pytest.raises(FileNotFoundError):
        dsprites.check(tmp_path / "missing.npz")
