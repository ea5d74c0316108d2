"""The protocol that every data set keeps, and the sets that are read or computed."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import math
import os
import pickle
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ibbook._files import registry
from ibbook.datasets import Dataset, load, mnist, mpi3d
from ibbook.datasets._grid import classes_of, indices_of
from ibbook.datasets._images import CHUNK, block_mean

SIZES = (2, 3, 4, 5)
REAL_MNIST = pytest.mark.skipif(
    not os.environ.get("IBBOOK_DATA"), reason="IBBOOK_DATA names no folder with the real files"
)


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + content


def drawn() -> Dataset:
    """A grid whose picture is its classes, so a wrong picture shows."""
    return Dataset.rendered(
        lambda classes: classes.to(torch.uint8)[:, None, None],
        name="drawn",
        shape=(1, 1, len(SIZES)),
        factor_names=("a", "b", "c", "d"),
        factor_values=[np.linspace(0, 1, s) for s in SIZES],
    )


def arrays() -> Dataset:
    """The same pictures and factors, as a reader's own arrays, in another order."""
    grid = np.array(list(itertools.product(*map(range, SIZES))))
    order = np.random.default_rng(0).permutation(len(grid))
    return Dataset.from_arrays(
        grid[order].astype(np.uint8)[:, None, None],
        factors=grid[order],
        factor_names=("a", "b", "c", "d"),
        factor_values=[np.linspace(0, 1, s) for s in SIZES],
    )


def mapped(tmp_path) -> Dataset:
    """And as a memory map with the channels last."""
    source = drawn()
    np.save(tmp_path / "images.npy", source.images[:].movedim(1, -1).numpy())
    return Dataset.from_arrays(
        np.load(tmp_path / "images.npy", mmap_mode="r"),
        factor_names=source.factor_names,
        factor_values=source.factor_values,
        channels_last=True,
    )


@pytest.fixture(params=["drawn", "arrays", "mapped", "selected"])
def data(request, tmp_path) -> Dataset:
    if request.param == "mapped":
        return mapped(tmp_path)
    if request.param == "selected":
        return arrays().select(torch.arange(120).flip(0))
    return {"drawn": drawn, "arrays": arrays}[request.param]()


def test_every_set_keeps_the_protocol(data):
    assert len(data) == len(data.images) == 120
    assert data.images.shape == (120, 1, 1, 4)
    assert data.factor_sizes == SIZES
    assert data.factors.dtype == torch.int64
    assert data.factors.shape == data.values.shape == (120, 4)
    rows = torch.tensor([7, 0, 119, 7])
    assert data.batch(rows).dtype == torch.uint8
    assert torch.equal(data.batch(rows, "cpu")[:, 0, 0].long(), data.factors[rows])
    assert torch.equal(data.factors_at(rows), data.factors[rows])
    expected = data.factors / (torch.tensor(SIZES) - 1)
    torch.testing.assert_close(data.values, expected.double())


def test_images_index_like_an_array(data):
    whole = np.asarray(data.images)
    assert whole.shape == data.images.shape
    mask = np.arange(120) % 7 == 0
    for key in (5, -1, slice(3, 50, 7), slice(None, None, -1), slice(5, 2), [4, -2], mask):
        assert np.array_equal(data.images[key].numpy(), whole[key]), key
    pairs = torch.tensor([[0, 1], [2, 3]])
    assert data.batch(pairs).shape == (2, 2, 1, 1, 4)
    for key in (120, -121, [0, 120]):
        with pytest.raises(IndexError, match="of 120 pictures"):
            data.images[key]
    with pytest.raises(IndexError, match="integers"):
        data.images[[0.5]]
    with pytest.raises(IndexError, match="mask"):
        data.images[mask[:5]]


def test_a_sample_is_a_set_without_repetition(data):
    part = data.sample(50, seed=3)
    rows = {tuple(row) for row in part.factors.tolist()}
    assert len(part) == len(rows) == 50
    assert torch.equal(part.images[:][:, 0, 0].long(), part.factors)
    assert torch.equal(part.factors, data.sample(50, seed=3).factors)
    assert not torch.equal(part.factors, data.sample(50, seed=4).factors)
    again = part.sample(10)  # a set made of a set
    assert {tuple(row) for row in again.factors.tolist()} < rows
    assert torch.equal(again.images[:][:, 0, 0].long(), again.factors)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.02, 1), min_size=1, max_size=5), st.integers(0, 5))
def test_a_split_is_disjoint_and_keeps_its_fractions(weights, seed):
    data = drawn()
    fractions = [w / sum(weights) for w in weights]
    if min(fractions) * len(data) < 1:  # rounding may leave such a part empty
        return
    parts = data.split(*fractions, seed=seed)
    rows = [tuple(row) for part in parts for row in part.factors.tolist()]
    assert len(rows) == len(set(rows)) == 120
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - 120 * fraction) <= 1


def test_sharing_holds_one_factor_and_frees_the_others(data):
    for j, name in enumerate(data.factor_names):
        rows = data.sharing(name, groups=400, size=15, seed=j)
        assert rows.shape == (400, 15)
        classes = data.factors_at(rows)
        assert (classes[:, :, j] == classes[:, :1, j]).all()
        held = classes[:, 0, j].bincount(minlength=SIZES[j])
        assert stats.chisquare(held).pvalue > 1e-4
        for i in set(range(4)) - {j}:  # free, and independent of the one that is held
            table = np.zeros((SIZES[i], SIZES[j]))
            np.add.at(table, (classes[:, :, i].flatten(), classes[:, :, j].flatten()), 1)
            assert stats.chi2_contingency(table).pvalue > 1e-4
            assert stats.chisquare(table.sum(1)).pvalue > 1e-4
    assert torch.equal(data.sharing(1, 5, 5, seed=1), data.sharing("b", 5, 5, seed=1))


def test_sharing_follows_the_frequency_of_a_reader_s_own_classes():
    data = Dataset.from_arrays(np.zeros((10, 2, 2), np.uint8), factors=[[0]] * 9 + [[2]])
    rows = data.sharing(0, groups=2000, size=2)
    held = data.factors_at(rows)[:, 0, 0].bincount(minlength=3)
    assert held[1] == 0
    assert abs(held[2] / 2000 - 0.1) < 4 * (0.1 * 0.9 / 2000) ** 0.5


def test_a_traversal_changes_one_factor():
    data = drawn()
    for j, size in enumerate(SIZES):
        classes = data.factors_at(data.traversal(77, j))
        assert classes[:, j].tolist() == list(range(size))
        others = [i for i in range(4) if i != j]
        assert (classes[:, others] == data.factors_at([77])[:, others]).all()
    with pytest.raises(ValueError, match="before sample"):
        data.sample(9).traversal(0, "a")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.randoms())
def test_an_index_is_a_number_in_mixed_radix(sizes, random):
    grid = np.array(list(itertools.product(*map(range, sizes))))  # the last one fastest
    rows = torch.tensor([random.randrange(len(grid)) for _ in range(20)])
    classes = classes_of(rows, sizes)
    assert np.array_equal(classes.numpy(), grid[rows])
    assert torch.equal(indices_of(classes, sizes), rows)


def test_a_renderer_is_given_few_pictures_at_a_time():
    given_at_once = []

    def render(classes):
        given_at_once.append(len(classes))
        return classes.to(torch.uint8)[:, None, None]

    data = Dataset.rendered(
        render, name="x", shape=(1, 1, 1), factor_names=("a",), factor_values=[range(10_000)]
    )
    assert data.images[:].shape == (10_000, 1, 1, 1)
    assert max(given_at_once) <= CHUNK
    assert sum(given_at_once) == 10_000


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("images must be uint8, got float64", {"images": np.zeros((3, 8, 8))}),
        (r"images must have shape \[n, h, w\]", {"images": np.zeros((3, 64), np.uint8)}),
        ("none of them 0", {"images": np.zeros((0, 8, 8), np.uint8)}),
        (r"\[n, h, w, c\]", {"images": np.zeros((3, 8, 8), np.uint8), "channels_last": True}),
        (r"factors must have shape \[4, k\], got \(4,\)", {"factors": [0, 1, 0, 1]}),
        (r"factors must have shape \[4, k\], got \(3, 1\)", {"factors": [[0]] * 3}),
        ("factors must be integers", {"factors": [[0.5]] * 4}),
        ("factors of factor 0 must lie in 0..1, got -1", {"factors": [[0], [1], [1], [-1]]}),
        ("must lie in 0..1, got 2", {"factors": [[0], [2], [0], [0]], "factor_values": [[0, 1]]}),
        ("1 columns for 2 factors", {"factors": [[0]] * 4, "factor_values": [[0], [0]]}),
        ("2 names for 1 factors", {"factors": [[0]] * 4, "factor_names": ("a", "b")}),
        (r"grid of factor_values \(2, 3\) has 6", {"factor_values": [[0, 1], [0, 1, 2]]}),
        (r"labels must have shape \[4\]", {"labels": [1, 2, 3]}),
        ("labels must be integers", {"labels": [0.0, 1, 2, 3]}),
    ],
)
def test_arrays_that_do_not_fit_are_refused(message, options):
    with pytest.raises(ValueError, match=message):
        Dataset.from_arrays(**{"images": np.zeros((4, 8, 8), np.uint8), **options})


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("n must be a whole number from 1 to 120", lambda d: d.sample(121)),
        ("n must be a whole number from 1 to 120", lambda d: d.sample(0)),
        ("seed must be a whole number from 0 to .*, got -1", lambda d: d.sample(3, seed=-1)),
        ("sum to at most 1", lambda d: d.split(0.7, 0.7)),
        ("must be positive", lambda d: d.split(0.5, -0.1)),
        ("must be positive", lambda d: d.split()),
        ("empty", lambda d: d.split(0.999, 0.001)),
        (r"drawn's \(a, b, c, d\), got 'e'", lambda d: d.sharing("e", 2, 2)),
        (r"drawn's \(a, b, c, d\), got 4", lambda d: d.sharing(4, 2, 2)),
        ("groups must be a whole number >= 1, got 0", lambda d: d.sharing("a", 0, 2)),
    ],
)
def test_questions_that_have_no_answer_are_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call(drawn())


@pytest.mark.parametrize("scale", [1, 16, 100, 255])
def test_black_and_white_is_above_half_or_not(scale):
    """Twice a byte above 127 is no byte: counted in Python's integers."""
    bytes_ = np.arange(4 * (scale + 1)).reshape(-1, 2, 2) % (scale + 1)
    grey = Dataset.from_arrays(
        bytes_.astype(np.uint8), factor_values=[range(scale + 1)], scale=scale
    )
    bits = grey.black_and_white()
    assert (bits.images[:].dtype, bits.scale, bits.name) == (torch.uint8, 1, "own, black and white")
    expected = [[int(2 * int(v) > scale) for v in picture.flat] for picture in bytes_]
    assert bits.images[:].flatten(1).tolist() == expected
    assert torch.equal(bits.factors, grey.factors)


def test_black_and_white_pictures_may_be_drawn_and_many():
    sprites = load("dsprites", size=16).sample(CHUNK + 3).black_and_white()
    assert sprites.images[CHUNK + 2].unique().tolist() == [0, 1]


def test_codes_are_pictures_of_real_numbers():
    codes = torch.randn(6, 3, dtype=torch.float64)
    data = Dataset.from_codes(codes, labels=range(6))
    assert torch.equal(data.batch([4, 1]) / data.scale, codes[[4, 1], :, None, None].float())
    assert data.select([2]).labels.tolist() == [2]
    for wrong in (torch.zeros(3), torch.zeros(0, 3), torch.full((2, 2), math.nan)):
        with pytest.raises(ValueError, match="codes must be finite"):
            Dataset.from_codes(wrong)


def test_two_axes_and_three_are_pictures():
    grey = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    assert np.array_equal(Dataset.from_arrays(grey).images[:].numpy(), grey[:, None])
    colour = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    last = Dataset.from_arrays(colour, channels_last=True).images[:]
    assert np.array_equal(last.numpy(), colour.transpose(0, 3, 1, 2))


def test_any_array_will_do_read_only_reversed_or_a_tensor():
    grey = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    fixed = grey.copy()
    fixed.flags.writeable = False
    for form in (fixed, grey.copy("F"), torch.from_numpy(grey)):
        assert np.array_equal(Dataset.from_arrays(form).images[:].numpy()[:, 0], grey)
    assert np.array_equal(Dataset.from_arrays(grey[::-1]).images[0].numpy()[0], grey[-1])


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**32 - 1))
def test_a_smaller_picture_is_the_rounded_mean_of_blocks(size, seed):
    full = np.random.default_rng(seed).integers(0, 256, (3, 2, 8, 8), dtype=np.uint8)
    block = 8 // size
    exact = np.array(
        [
            [full[..., i : i + block, j : j + block].mean((2, 3)) for j in range(0, 8, block)]
            for i in range(0, 8, block)
        ]
    ).transpose(2, 3, 0, 1)
    small = block_mean(torch.from_numpy(full), size)
    assert small.dtype == torch.uint8
    assert np.array_equal(small.numpy(), np.floor(exact + 0.5))
    with pytest.raises(ValueError, match="size must divide"):
        block_mean(torch.from_numpy(full), 3)


# load


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("minst", "mnist"), ("dsprite", "dsprites"), ("3dshapes", "shapes3d"), ("mpi3d", "mpi3d-")],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"got '{wrong}'; did you mean '{near}"):
        load(wrong)


def test_a_name_like_no_other_is_answered_with_all():
    with pytest.raises(ValueError, match=r"name must be one of dsprites, .*, got 'zzzz'$"):
        load("zzzz")


def test_options_that_a_set_does_not_take_are_refused():
    with pytest.raises(ValueError, match=r"options of dsprites are: size.*unexpected.*'part'"):
        load("dsprites", part="train")
    with pytest.raises(ValueError, match="options of digits are: none"):
        load("digits", size=64)
    with pytest.raises(ValueError, match="part must be 'train' or 'test', got 'valid'"):
        load("mnist", part="valid")
    with pytest.raises(ValueError, match="size"):
        load("dsprites", size=48)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dsprites", {}),
        ("shapes3d", {"size": 16}),
        ("digits", {}),
        ("gaussian-factors", {}),
    ],
)
def test_sets_that_need_no_file_load_anywhere(name, options, monkeypatch, tmp_path):
    monkeypatch.delenv("IBBOOK_DATA", raising=False)
    monkeypatch.setenv("IBBOOK_CACHE", str(tmp_path))
    data = load(name, **options)
    assert data.name == name
    assert len(data) == registry()[name].images
    assert len(data.batch([0, len(data) - 1])) == 2
    assert data.source


def test_3d_shapes_says_that_it_is_a_stand_in(monkeypatch, tmp_path):
    monkeypatch.delenv("IBBOOK_DATA", raising=False)
    monkeypatch.setenv("IBBOOK_CACHE", str(tmp_path))
    assert "stand-in" in load("shapes3d").source
    with pytest.raises(FileNotFoundError, match="ibbook data fetch shapes3d"):
        load("shapes3d", stand_in=False)
    official = tmp_path / "shapes3d" / "3dshapes.h5"
    official.parent.mkdir()
    official.write_bytes(b"not the official file")
    with pytest.raises(ValueError, match="is refused: its md5 is"):
        load("shapes3d")  # found, so a wrong one is not passed over in silence
    assert "stand-in" in load("shapes3d", stand_in=True).source


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    data, known = load("digits"), load_digits()
    assert np.array_equal(data.images[:].numpy()[:, 0], known.images)
    assert np.array_equal(data.labels.numpy(), known.target)
    assert data.images[:].max() == data.scale == 16


def test_the_covariance_of_gaussian_factors_is_that_of_the_samples():
    data = load("gaussian-factors", n=200_000, observed=6, factors=3, noise=0.3, seed=5)
    both = torch.cat([data.images[:].double(), data.values], 1)
    # an entry of a sample covariance has variance (c_ii c_jj + c_ij^2) / n
    c = data.covariance
    error = ((c.diag()[:, None] * c.diag() + c**2) / len(data)).sqrt()
    assert ((torch.cov(both.T) - c).abs() < 5 * error).all()
    assert abs(both.mean(0) / (c.diag() / len(data)).sqrt()).max() < 5


def test_the_classes_of_gaussian_factors_are_equally_likely_and_ordered():
    data = load("gaussian-factors", n=20_000, seed=1)
    for j, variance in enumerate(data.variances):
        counts = data.factors[:, j].bincount(minlength=10)
        assert stats.chisquare(counts).pvalue > 1e-4
        edges = stats.norm.ppf(np.arange(1, 10) / 10) * variance.sqrt().item()
        assert np.array_equal(np.digitize(data.values[:, j], edges), data.factors[:, j])
    part = data.sample(100)
    assert part.covariance.shape == (25, 25)
    whole = data.images[:]
    rows = torch.cat([(whole == x).all(1).nonzero()[0] for x in part.images[:]])
    assert part.values.shape == (100, 5)
    assert torch.equal(part.values, data.values[rows])
    assert torch.equal(part.factors, data.factors[rows])


def test_gaussian_factors_need_noise():
    with pytest.raises(ValueError, match="noise positive, got 10000, 20, 5 and 0"):
        load("gaussian-factors", noise=0.0)


# idx files


def refusal_of(read, name):
    """None where `read` refused the file, by its name; any other error fails the test."""
    with contextlib.suppress(Refused):
        try:
            return read()
        except ValueError as error:
            raise (Refused if name in str(error) else AssertionError)(str(error)) from error
    return None


class Refused(Exception):
    pass


def write_idx(path, content: bytes):
    path.write_bytes(gzip.compress(content))
    return path


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_idx_files_are_read_as_they_were_written(tmp_path_factory, shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / "a.gz"
    assert np.array_equal(mnist.read_idx(write_idx(path, idx(shape, array.tobytes()))), array)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("does not begin like an idx", b""),
        ("does not begin like an idx", b"\0\0\x08"),
        ("does not begin like an idx", b"\x01" + idx((2,), b"ab")[1:]),
        ("does not begin like an idx", b"\0\0\x0d" + idx((2,), b"ab")[3:]),  # floats
        ("does not begin like an idx", b"\0\0\x08\x00"),
        ("cut short within its header", idx((2, 2, 2), b"")[:10]),
        ("claims 79,228,162,458,924,105,385,300,197,375 bytes", idx((2**32 - 1,) * 3, b"a")),
        (r"8 bytes for shape \(2, 2, 2\), it holds only 7", idx((2, 2, 2), bytes(7))),
        (r"8 bytes for shape \(2, 2, 2\), it holds more", idx((2, 2, 2), bytes(9))),
    ],
)
def test_idx_files_of_the_wrong_shape_are_refused(message, content, tmp_path):
    with pytest.raises(ValueError, match=message):
        mnist.read_idx(write_idx(tmp_path / "a.gz", content))


def test_a_gzip_file_that_was_cut_or_altered_is_refused(tmp_path):
    random = np.random.default_rng(0)
    array = random.integers(0, 256, (5, 6, 6), dtype=np.uint8)
    whole = gzip.compress(idx(array.shape, array.tobytes()))
    path = tmp_path / "a.gz"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"a\.gz"):
            mnist.read_idx(path)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        found = refusal_of(lambda: mnist.read_idx(path), "a.gz")
        # some bits of the gzip header (date, system) mean nothing for the content
        assert found is None or np.array_equal(found, array)


def test_pictures_and_labels_must_agree(tmp_path):
    x = write_idx(tmp_path / "x.gz", idx((3, 2, 2), bytes(12)))
    y = write_idx(tmp_path / "y.gz", idx((2,), bytes(2)))
    with pytest.raises(ValueError, match="one label for each of 3 pictures"):
        mnist.dataset(x, y, name="x")
    with pytest.raises(ValueError, match=r"must hold \[n, h, w\] pictures"):
        mnist.dataset(y, y, name="x")


@REAL_MNIST
def test_mnist_is_mnist():
    train, test = load("mnist"), load("mnist", part="test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert train.labels.bincount()[[0, 5, 9]].tolist() == [5923, 5421, 5949]
    mean = train.images[:].double().mean() / train.scale
    assert abs(mean - 0.1307) < 5e-5  # the figures that everyone normalises by
    assert abs(train.images[:].double().std() / 255 - 0.3081) < 5e-5


# npz files


@pytest.fixture
def small_mpi3d(monkeypatch, tmp_path):
    """The layout of MPI3D with fewer classes, and pictures that tell their own row."""
    monkeypatch.setattr(mpi3d, "FACTOR_SIZES", (2, 1, 2, 1, 1, 3, 2))
    monkeypatch.setenv("IBBOOK_CACHE", str(tmp_path / "cache"))
    images = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(24)
    return images


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("as_grid", [False, True])
def test_mpi3d_is_mapped_not_read(small_mpi3d, tmp_path, compressed, as_grid):
    path = tmp_path / "mpi3d_toy.npz"
    shaped = small_mpi3d.reshape(*mpi3d.FACTOR_SIZES, 64, 64, 3) if as_grid else small_mpi3d
    (np.savez_compressed if compressed else np.savez)(path, images=shaped)
    for _ in range(2):  # the second time, an unpacked file is there
        data = mpi3d.dataset(path, name="mpi3d-toy")
        assert np.array_equal(data.images[:].numpy(), small_mpi3d.transpose(0, 3, 1, 2))
        assert data.factors_at([23]).tolist() == [[1, 0, 1, 0, 0, 2, 1]]
        assert data.batch([5])[0, 0, 0, 0] == 5
    unpacked = list((tmp_path / "cache").rglob("*.npy"))
    assert len(unpacked) == compressed
    assert not list((tmp_path / "cache").rglob("*.part"))
    mapping = mpi3d.memory_map(path, "images", tmp_path / "cache" / "mpi3d")
    assert isinstance(mapping, np.memmap)
    half = mpi3d.dataset(path, name="mpi3d-toy", size=32)
    assert torch.equal(half.batch([3]), block_mean(data.batch([3]), 32))
    with pytest.raises(ValueError, match="size must be 64, 32 or 16, got 48"):
        mpi3d.dataset(path, name="mpi3d-toy", size=48)


def test_mpi3d_is_loaded_by_name_and_must_stay_as_it_was(small_mpi3d, tmp_path, monkeypatch):
    monkeypatch.delenv("IBBOOK_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="ibbook data fetch mpi3d-real"):
        load("mpi3d-real")
    path = tmp_path / "cache" / "mpi3d" / "mpi3d_real.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, images=small_mpi3d)
    data = load("mpi3d-real", size=16)
    assert (data.name, data.images.shape) == ("mpi3d-real", (24, 3, 16, 16))
    np.savez(path, images=small_mpi3d[::-1])
    with pytest.raises(ValueError, match="when it was first used"):
        load("mpi3d-real")


def test_mpi3d_of_another_shape_is_refused(small_mpi3d, tmp_path):
    np.savez(tmp_path / "a.npz", images=small_mpi3d[:20])
    with pytest.raises(ValueError, match=r"must have shape \(24, 64, 64, 3\), got \(20, 64"):
        mpi3d.dataset(tmp_path / "a.npz", name="mpi3d-toy")
    np.savez(tmp_path / "b.npz", images=small_mpi3d.astype(np.float32))
    with pytest.raises(ValueError, match="images must be uint8, got float32"):
        mpi3d.dataset(tmp_path / "b.npz", name="mpi3d-toy")


def test_pickled_objects_are_refused(tmp_path):
    ran = tmp_path / "ran"

    class Harm:
        def __reduce__(self):
            return ran.touch, ()

    path = tmp_path / "a.npz"
    np.savez(path, images=np.array([Harm()], dtype=object))
    ran.unlink(missing_ok=True)
    with pytest.raises(ValueError, match="pickled objects"):
        mpi3d.memory_map(path, "images", tmp_path)
    assert not ran.exists()


def test_an_npz_without_the_array_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match=r"holds \['pictures.npy'\], not images.npy"):
        mpi3d.memory_map(tmp_path / "a.npz", "images", tmp_path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", b"not numpy's")
    with pytest.raises(ValueError, match="does not hold a numpy array"):
        mpi3d.memory_map(tmp_path / "b.npz", "images", tmp_path)
    stream = io.BytesIO()
    np.save(stream, np.zeros(100, np.uint8))
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("images.npy", stream.getvalue()[:-10])
    with pytest.raises(ValueError, match=r"cut short: images.npy does not hold shape \(100,\)"):
        mpi3d.memory_map(tmp_path / "c.npz", "images", tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_that_was_cut_or_altered_never_ends_in_another_error(tmp_path, compressed):
    random = np.random.default_rng(0)
    array = random.integers(0, 4, (6, 5), dtype=np.uint8)
    path = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, images=array)
    whole = path.read_bytes()
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"a\.npz"):
            mpi3d.memory_map(path, "images", tmp_path / "cache")
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        for old in tmp_path.glob("cache/*"):
            old.unlink()
        found = refusal_of(lambda: mpi3d.memory_map(path, "images", tmp_path / "cache"), "a.npz")
        if compressed and found is not None:  # its own checksum; `verify` has one for stored ones
            assert np.array_equal(found, array)
        assert not list(tmp_path.glob("cache/*.part"))


def test_a_disk_without_room_is_refused_before_unpacking(small_mpi3d, tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=small_mpi3d)
    usage = mpi3d.room_for.__globals__["shutil"].disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match="MB free"):
        mpi3d.dataset(tmp_path / "a.npz", name="mpi3d-toy")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_factors_and_labels_may_be_tensors():
    labels = torch.tensor([0, 1, 0, 1])
    data = Dataset.from_arrays(
        torch.zeros(4, 8, 8, dtype=torch.uint8), factors=labels[:, None], labels=labels
    )
    assert data.factors[:, 0].tolist() == data.labels.tolist() == [0, 1, 0, 1]


def again(data: Dataset) -> Dataset:
    """The set as another process is given it."""
    return pickle.loads(pickle.dumps(data))


def test_every_kind_of_set_can_be_sent_to_another_process(small_mpi3d, tmp_path):
    np.savez(tmp_path / "a.npz", images=small_mpi3d)
    np.save(tmp_path / "b.npy", small_mpi3d[..., 0])
    mapped = np.load(tmp_path / "b.npy", mmap_mode="r")
    sets = [
        load("digits"),
        load("dsprites", size=16),
        load("gaussian-factors", n=10),
        mpi3d.dataset(tmp_path / "a.npz", name="mpi3d-toy"),
        mpi3d.dataset(tmp_path / "a.npz", name="mpi3d-toy", size=16),
        Dataset.from_arrays(mapped),
        Dataset.from_arrays(mapped[3:9]),
        Dataset.from_arrays(mapped[::2]),
        Dataset.from_arrays(small_mpi3d, channels_last=True),
    ]
    for data in (*sets, *(data.select([4, 0, 2]) for data in sets)):
        sent = again(data)
        assert sent.name == data.name
        assert torch.equal(sent.images[[2, 0]], data.images[[2, 0]])
    assert len(pickle.dumps(Dataset.from_arrays(mapped))) < 2000  # the file, not what it holds


def test_pixels_brighter_than_white_are_refused(tmp_path):
    pictures = np.zeros((5000, 2, 2), np.uint8)
    pictures[4500, 1, 1] = 17
    assert Dataset.from_arrays(pictures, scale=17).scale == 17
    np.save(tmp_path / "a.npy", pictures)
    for images in (pictures, np.load(tmp_path / "a.npy", mmap_mode="r")):
        with pytest.raises(ValueError, match="a pixel of 17, above scale=16"):
            Dataset.from_arrays(images, scale=16)
    for scale in (0, 256, 1.5, True, "255"):
        with pytest.raises(ValueError, match="scale must be a whole number from 1 to 255"):
            Dataset.from_arrays(pictures, scale=scale)
    assert type(Dataset.from_arrays(pictures, scale=np.int64(255)).scale) is int


def test_an_index_of_two_axes_is_no_list_of_rows():
    images = load("digits").images
    for key in ((0, 0), (slice(2), 0), (0,)):
        with pytest.raises(IndexError, match="pictures have one index, their number"):
            images[key]
    assert images[[0, 0]].shape == (2, 1, 8, 8)


def test_a_class_of_a_thousand_million_is_refused_before_it_takes_eight_gigabytes():
    with pytest.raises(ValueError, match=r"the largest class must be a whole number .* 1000000"):
        Dataset.from_arrays(np.zeros((2, 2, 2), np.uint8), factors=[[0], [10**9]])


WHITE = np.zeros((2, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dataset.from_codes(np.ones((2, 2)) + 1j), "codes must be .*complex128"),
        (lambda: Dataset.from_codes(np.ma.array([[1.0, 2]], mask=[[0, 1]])), "codes must .*masked"),
        (lambda: Dataset.from_codes(np.full((2, 2), 1e300)), "codes must be finite"),
        (lambda: Dataset.from_arrays(np.ma.array(WHITE, mask=WHITE == 0)), "images are masked"),
        (lambda: Dataset.from_arrays(WHITE, labels=np.ma.array([0, 1], mask=[0, 1])), "masked"),
        (lambda: Dataset.from_arrays(WHITE, labels=["a", "b"]), "labels must be an array"),
        (lambda: Dataset.from_arrays(WHITE, labels=[-1, 0]), "labels must count from 0, got -1"),
        (lambda: Dataset.from_arrays(WHITE, labels=np.array([0, 2**63], "u8")), "count from 0"),
        (lambda: Dataset.from_arrays(WHITE, factor_values=[[0, 1j]]), "factor_values must be"),
        (lambda: Dataset.from_arrays(WHITE).images["a"], "indices must be an array"),
        (lambda: Dataset.from_arrays(WHITE).images[np.array([1j])], "indices must be an array"),
    ],
)
def test_nothing_of_an_array_is_dropped_on_the_way_into_a_set(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_arrays_of_another_byte_order_or_direction_are_read():
    codes = np.arange(6.0).reshape(3, 2)
    for value in (codes.astype(">f4"), codes[::-1][::-1], pd.DataFrame(codes)):
        assert Dataset.from_codes(value).images[:].flatten().tolist() == codes.flatten().tolist()
    assert not Dataset.from_codes(torch.ones(2, 2, requires_grad=True)).images[:].requires_grad
    data = Dataset.from_arrays(
        WHITE, labels=np.array([1, 0], ">i8"), factor_values=[np.array([0, 1.5], ">f8")]
    )
    assert data.labels.tolist() == [1, 0]
    assert data.select(np.array([1, 0], ">i8")[::-1]).values.flatten().tolist() == [0, 1.5]
