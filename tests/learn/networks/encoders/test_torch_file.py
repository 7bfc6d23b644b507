"""Files of PyTorch: both layouts are read without it, and nothing in them is run."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.learn.networks.encoders.architecture import EncoderError
from mjx_s2r.learn.networks.encoders.torch_file import read_torch_file
from tests.learn.networks.encoders.torch_networks import (
    Reduced,
    tensors_of,
    torch_pickle,
    view_of,
    write_legacy,
)

STATE = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a.count": np.array(7, np.int64),
    "b": np.zeros((0, 3), np.float32),
}


def test_the_older_layout_is_read(tmp_path: Path) -> None:
    write_legacy(tmp_path / "old.pth", STATE)
    found = read_torch_file(tmp_path / "old.pth")
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_newer_layout_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new.pth"
    found, storages = tensors_of(STATE)
    content = torch_pickle(found, legacy=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", content)
        archive.writestr("model/byteorder", "little")
        for s in storages:
            archive.writestr(f"model/data/{s.key}", s.numbers.tobytes())
    for name, array in read_torch_file(path).items():
        np.testing.assert_array_equal(array, STATE[name])


def test_a_transposed_view_is_read(tmp_path: Path) -> None:
    """A tensor that is the transpose of its storage, from number 2 on."""
    numbers = np.arange(8, dtype=np.float32)
    value = OrderedDict(x=view_of(numbers, 2, (3, 2), (1, 3)))
    write_legacy(tmp_path / "x.pth", {"x": numbers}, value=value)
    expected = numbers[2:8].reshape(2, 3).T
    np.testing.assert_array_equal(read_torch_file(tmp_path / "x.pth")["x"], expected)


@pytest.mark.parametrize("layout", ["older", "newer"])
def test_a_call_is_refused_and_not_made(tmp_path: Path, layout: str) -> None:
    made, path = tmp_path / "made", tmp_path / "bad.pth"
    value = OrderedDict(x=Reduced(os.mkdir, str(made)))
    if layout == "older":
        write_legacy(path, {}, value=value)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", torch_pickle(value, legacy=False))
    with pytest.raises(EncoderError, match=r"mkdir.*nothing is called"):
        read_torch_file(path)
    assert not made.exists()
    pickle.loads(torch_pickle(value, legacy=False))  # it would have been made by a pickle's reader
    assert made.exists()


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ((0, (3, 3), (3, 1)), "reaches beyond its storage of 8"),
        ((6, (3,), (1,)), "reaches beyond"),
        ((0, (1000000,), (0,)), "reaches beyond"),
        ((0, (2,), (-1,)), "strides"),
        ((-4, (2,), (1,)), "strides"),
        ((0, (2, 2), (1,)), "strides"),
    ],
)
def test_a_tensor_beyond_its_storage_is_named(tmp_path: Path, view: tuple, words: str) -> None:
    numbers = np.arange(8, dtype=np.float32)
    value = OrderedDict(x=view_of(numbers, *view))
    write_legacy(tmp_path / "x.pth", {"x": numbers}, value=value)
    with pytest.raises(EncoderError, match=f"'x'.*{words}"):
        read_torch_file(tmp_path / "x.pth")


def test_a_file_cut_anywhere_is_named(tmp_path: Path) -> None:
    write_legacy(tmp_path / "whole.pth", STATE)
    content = (tmp_path / "whole.pth").read_bytes()
    for length in range(1, len(content), 13):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(EncoderError, match=r"cut\.pth"):
            read_torch_file(tmp_path / "cut.pth")


def test_files_of_others_are_named(tmp_path: Path) -> None:
    for name, content in {
        "text": b"hello",
        "list": pickle.dumps([1, 2], 2),
        "zip": b"PK\x03\x04 broken",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EncoderError, match=name):
            read_torch_file(tmp_path / name)
    write_legacy(tmp_path / "model", {}, value=OrderedDict(epoch=3))
    with pytest.raises(EncoderError, match="'epoch' is no tensor"):
        read_torch_file(tmp_path / "model")
