"""Weights in local files: what is written is read, and what is wrong is named."""

import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.learn.networks.encoders.architecture import EncoderError
from mjx_s2r.learn.networks.encoders.backbone import parameter_shapes
from mjx_s2r.learn.networks.encoders.convert import convert_weights, folded_weights
from mjx_s2r.learn.networks.encoders.weights import read_weights, write_weights
from tests.learn.networks.encoders.torch_networks import random_state, write_legacy

KIND = "mobilenet_v2"
ARRAYS = folded_weights(KIND, random_state(KIND))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights."""
    path = tmp_path_factory.mktemp("weights") / "whole.npz"
    write_weights(path, KIND, ARRAYS)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    checksum = write_weights(path, KIND, ARRAYS)
    assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    whole, part = read_weights(path, KIND), read_weights(path, KIND, 8)
    assert whole.sha256 == part.sha256 == checksum
    assert list(part.arrays) == list(parameter_shapes(KIND, 8))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(whole.arrays[name], array)
    again = write_weights(tmp_path / f"again{suffix}", KIND, ARRAYS)
    assert again == checksum  # so that documentation can name it


def test_a_file_of_torch_is_converted(tmp_path: Path) -> None:
    source = tmp_path / "net.pth"
    write_legacy(source, random_state(KIND))
    done = convert_weights(source, tmp_path / "net.npz")
    assert (done.kind, done.proved) == (KIND, False)
    assert done.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    np.testing.assert_array_equal(
        read_weights(tmp_path / "net.npz", KIND).arrays["block3.narrow.kernel"],
        ARRAYS["block3.narrow.kernel"],
    )


def test_weights_of_another_network_name_the_first_array(written: Path) -> None:
    with pytest.raises(EncoderError, match=r"whole\.npz.*'mobilenet_v2'.*'block3\.filter\.kernel'"):
        read_weights(written, "efficientnet_lite0", 8)
    # Up to stride 4 both are alike, so what the file says decides.
    with pytest.raises(EncoderError, match=r"'mobilenet_v2'.*not of 'efficientnet_lite0'"):
        read_weights(written, "efficientnet_lite0", 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stem.bias": None}, r"no 'stem\.bias' of shape \(32,\)"),
        ({"stem.bias": np.zeros(31)}, r"'stem\.bias' has shape \(31,\).*needs \(32,\)"),
        ({"stem.bias": np.full(32, np.nan)}, r"'stem\.bias'.*finite"),
        ({"stem.bias": np.zeros(32, int)}, r"'stem\.bias' \(int64\)"),
        ({"kind": None}, "says not what it is of"),
    ],
)
def test_a_wrong_array_is_named(tmp_path: Path, change: dict, words: str) -> None:
    path = tmp_path / "w.npz"
    arrays = {"kind": np.array(KIND)} | dict(ARRAYS) | change
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    with pytest.raises(EncoderError, match=f"w.npz.*{words}"):
        read_weights(path, KIND, 4)


def test_a_pickle_is_refused_under_any_name(tmp_path: Path) -> None:
    for name in ("w.npz", "w.safetensors", "w.pth"):
        (tmp_path / name).write_bytes(pickle.dumps({"stem.bias": np.zeros(32)}))
        with pytest.raises(EncoderError, match="a pickle, which runs code"):
            read_weights(tmp_path / name, KIND, 4)
    np.savez(tmp_path / "objects.npz", **{"stem.kernel": np.array([{}], dtype=object)})
    with pytest.raises(EncoderError, match=r"objects\.npz: no npz file of arrays"):
        read_weights(tmp_path / "objects.npz", KIND, 4)


def test_files_that_are_none_are_named(tmp_path: Path, written: Path) -> None:
    with pytest.raises(EncoderError, match=r"gone\.npz: no such file; docs/encoders"):
        read_weights(tmp_path / "gone.npz", KIND)
    (tmp_path / "t.npz").write_text("text")
    with pytest.raises(EncoderError, match="neither npz nor safetensors"):
        read_weights(tmp_path / "t.npz", KIND)
    (tmp_path / "cut.npz").write_bytes(written.read_bytes()[:9999])
    with pytest.raises(EncoderError, match=r"cut\.npz: no npz file"):
        read_weights(tmp_path / "cut.npz", KIND)
    (tmp_path / "t.safetensors").write_text("a text that is long enough to be read")
    with pytest.raises(EncoderError, match="no safetensors file"):
        read_weights(tmp_path / "t.safetensors", KIND)
    with pytest.raises(EncoderError, match=r"must end in \.npz or"):
        write_weights(tmp_path / "w.pth", KIND, ARRAYS)
    with pytest.raises(EncoderError, match="not the weights of mobilenet_v2"):
        write_weights(tmp_path / "w.npz", KIND, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features.1.conv.1.weight": None}, r"no 'features\.1\.conv\.1\.weight'"),
        ({"features.0.1.bias": np.zeros(3)}, r"'features\.0\.1\.bias' has shape \(3,\).*\(32,\)"),
        ({"features.0.0.weight": None}, "a network that is not known, beginning with"),
    ],
)
def test_a_layer_that_is_wrong_is_named(tmp_path: Path, change: dict, words: str) -> None:
    state = {n: a for n, a in (random_state(KIND) | change).items() if a is not None}
    write_legacy(tmp_path / "net.pth", {n: np.asarray(a, np.float32) for n, a in state.items()})
    with pytest.raises(EncoderError, match=f"net.pth.*{words}"):
        convert_weights(tmp_path / "net.pth", tmp_path / "w.npz")
    assert not (tmp_path / "w.npz").exists()


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"mjx_s2r\[encoders\]"):
        write_weights(tmp_path / "w.safetensors", KIND, ARRAYS)
