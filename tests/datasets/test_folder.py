"""A folder of pictures as a data set, and what is refused before anything trains on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ibbook.datasets import from_folder
from ibbook.networks import mlp
from ibbook.objective import Objective
from ibbook.training import fit


def draw(path, shape=(9, 12, 3), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def test_pictures_come_in_the_order_of_their_names_cut_to_the_middle(tmp_path):
    second = draw(tmp_path / "b.png", seed=2)
    first = draw(tmp_path / "a.bmp", seed=1)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a.bmp").write_text("what macOS says of it")
    draw(tmp_path / ".thumbnails" / "a.png")
    data = from_folder(tmp_path, size=9)
    expected = np.stack([first, second])[:, :, 1:10].transpose(0, 3, 1, 2)  # 9 of 12 columns
    np.testing.assert_array_equal(data.images[:].numpy(), expected)
    assert (data.name, data.labels, data.scale) == (tmp_path.name, None, 255)


def test_a_picture_of_one_colour_keeps_it_at_every_size_and_becomes_grey(tmp_path):
    Image.new("RGB", (20, 14), (10, 200, 30)).save(tmp_path / "one.PNG")
    for size in (3, 14, 40):
        assert torch.equal(
            from_folder(tmp_path, size=size).images[:],
            torch.tensor([10, 200, 30])
            .to(torch.uint8)[None, :, None, None]
            .expand(1, 3, size, size),
        )
    grey = from_folder(tmp_path, size=4, grey=True).images[:]
    assert grey.shape == (1, 1, 4, 4)
    assert abs(int(grey[0, 0, 0, 0]) - (0.299 * 10 + 0.587 * 200 + 0.114 * 30)) <= 1


@pytest.mark.parametrize("ending", ["png", "jpg", "JPEG", "gif", "tiff", "webp", "bmp"])
def test_common_formats_are_read(tmp_path, ending):
    Image.new("RGB", (8, 8), "white").save(tmp_path / f"x.{ending}")
    assert (from_folder(tmp_path, size=8).images[:] > 250).all()


def test_folders_are_labels_and_the_set_trains(tmp_path):
    for k, kind in enumerate(("cats", "ants", "cats", "bees")):
        draw(tmp_path / kind / f"{k}.png", seed=k)
    data = from_folder(tmp_path, size=4, grey=True)
    assert data.labels.tolist() == [0, 1, 2, 2]
    ensemble = fit(mlp((1, 4, 4), latents=2, hidden=(4,)), Objective(), data, [{}], steps=2,
                   batch_size=2)  # fmt: skip
    assert ensemble.final["loss"].notna().all()


def test_what_is_no_set_of_pictures_is_named(tmp_path):
    with pytest.raises(ValueError, match="path must be a folder of pictures, there is none at"):
        from_folder(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"holds no picture; known endings are \.bmp"):
        from_folder(tmp_path)
    draw(tmp_path / "a.png")
    with pytest.raises(ValueError, match="size must be a whole number >= 1, got 0"):
        from_folder(tmp_path, size=0)
    draw(tmp_path / "b.png", shape=(9, 9, 3))
    with pytest.raises(ValueError, match=r"b\.png has 9x9 pixels, .*a\.png has 12x9; bring all"):
        from_folder(tmp_path)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b\.png cannot be read as a picture"):
        from_folder(tmp_path)
    (tmp_path / "b.png").write_text("no picture at all")
    with pytest.raises(ValueError, match=r"b\.png cannot be read as a picture"):
        from_folder(tmp_path)
