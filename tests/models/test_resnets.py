"""Weights that others trained: read, held against what the file's name states, and refused where they do not fit."""

import hashlib
import shutil
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tasktrace.errors import DataError
from tasktrace.models import build_model, resnets
from tasktrace.models.resnets import load_weights, residual_network
from tasktrace.tasks import Task

DEPTH = Task(name="depth", outputs=1)


@pytest.fixture(scope="module")
def trained():
    """What torchvision's file of ResNet-18 would hold, classifier and running statistics included."""
    network = torchvision.models.resnet18(weights=None)
    generator = torch.Generator().manual_seed(0)
    state = network.state_dict()
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 7
        for name, value in state.items()
    }


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    """Those weights in a file that is named as torchvision names its."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(trained, folder / "unnamed.pth")
    digest = hashlib.sha256((folder / "unnamed.pth").read_bytes()).hexdigest()
    return (folder / "unnamed.pth").rename(folder / f"resnet18-{digest[:8]}.pth")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub/checkpoints"


@pytest.fixture
def served(file, monkeypatch, cache):
    """torchvision's address replaced by one that can be reached here."""
    monkeypatch.setattr(resnets, "_address", lambda _name: file.as_uri())
    return cache


def assert_loaded(encoder, trained):
    state = encoder.state_dict()
    assert state.keys() == {name for name in trained if not name.startswith("fc.")}
    assert all(torch.equal(value, trained[name]) for name, value in state.items())


def loaded(source):
    encoder = residual_network("resnet18")
    load_weights(encoder, "resnet18", str(source))
    return encoder


def test_a_file_of_either_kind_is_loaded(trained, file, tmp_path):
    assert_loaded(loaded(file), trained)
    save_file(trained, tmp_path / "weights.safetensors")
    assert_loaded(loaded(tmp_path / "weights.safetensors"), trained)


def test_files_from_before_batches_were_counted_are_loaded(trained, tmp_path):
    old = {name: value for name, value in trained.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    state = loaded(tmp_path / "old.pth").state_dict()
    assert all(torch.equal(state[name], value) for name, value in old.items() if name in state)


@pytest.mark.parametrize("name", ["resnet18", "deeplab"])
def test_weights_come_after_the_seed_and_leave_the_heads_alone(name, trained, file, tmp_path):
    spec = {"name": name, "version": 1, **({"stem": "imagenet"} if name == "resnet18" else {})}
    random = build_model(spec, [DEPTH], seed=3)
    if name == "deeplab":
        file = tmp_path / "resnet50.pth"
        trained = {key: value + 1 for key, value in random.encoder.state_dict().items()}
        torch.save(trained, file)
    model = build_model({**spec, "weights": str(file)}, [DEPTH], seed=3)
    assert_loaded(model.encoder, trained)
    pairs = zip(model.heads.parameters(), random.heads.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_torchvisions_file_is_fetched_once_and_whole(served, trained, file, monkeypatch, capfd):
    assert_loaded(loaded("imagenet"), trained)
    assert [path.name for path in served.iterdir()] == [file.name]
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    assert_loaded(loaded("imagenet"), trained)


def test_a_file_altered_on_the_way_is_not_kept(served, file, monkeypatch, tmp_path):
    other = tmp_path / "resnet18-0123abcd.pth"
    shutil.copy(file, other)
    monkeypatch.setattr(resnets, "_address", lambda _name: other.as_uri())
    with pytest.raises(DataError, match=r"cannot fetch resnet18-0123abcd\.pth: invalid hash value"):
        loaded("imagenet")
    assert list(served.iterdir()) == []
    shutil.copy(file, served / other.name)
    with pytest.raises(DataError, match=r"damaged: its name states a sha256 of 0123abcd\.\.\., found"):
        loaded("imagenet")


def test_without_network_and_file_the_message_names_both_ways(cache, monkeypatch, tmp_path):
    def unreachable(*_args, **_kwargs):
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    address = r"https://download\.pytorch\.org/models/resnet18-f37072fd\.pth"
    ways = f"`weights: imagenet`, where {address} can be reached or its file lies in .*; or `weights:` with the path"
    with pytest.raises(DataError, match=rf"cannot fetch resnet18-f37072fd\.pth: .*no route.*{ways}"):
        loaded("imagenet")
    with pytest.raises(DataError, match=rf"no such file: {tmp_path}/absent\.pth; .*{ways}"):
        loaded(tmp_path / "absent.pth")


def test_files_that_are_no_state_dict_are_refused(trained, tmp_path):
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no tensors")
        with pytest.raises(DataError, match=f"{name}: cannot be read as a state dict"):
            loaded(tmp_path / name)
    torch.save({"epoch": 3, "state": trained}, tmp_path / "wrapped.pth")
    with pytest.raises(DataError, match="expected a state dict, tensors by name, found dict"):
        loaded(tmp_path / "wrapped.pth")


def test_a_file_cannot_run_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (pytest.fail, ("it was run",))

    torch.save({"conv1.weight": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(DataError, match="cannot be read as a state dict"):
        loaded(tmp_path / "harmful.pth")


def test_weights_of_another_network_are_refused(trained, tmp_path):
    def refused(change, message):
        torch.save({**trained, **change}, tmp_path / "other.pth")
        with pytest.raises(DataError, match=rf"not the weights of torchvision's resnet18: {message}"):
            loaded(tmp_path / "other.pth")

    refused(
        {"conv1.weight": torch.zeros(64, 3, 3, 3)}, r"conv1\.weight: expected \(64, 3, 7, 7\), found \(64, 3, 3, 3\)"
    )
    refused({"layer9.weight": torch.zeros(2)}, r"layer9\.weight: expected nothing, found \(2,\)")
    del trained["bn1.weight"]
    refused({}, r"bn1\.weight: expected \(64,\), found nothing")
