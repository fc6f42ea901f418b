"""The corpora and images that the examples train on."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader


def test_windows_of_the_standard_library_predict_the_next_byte():
    from data.python_source import python_source

    train, held_out = python_source(context=32)
    inputs, targets = train[5]
    assert inputs.shape == targets.shape == (32,)
    assert torch.equal(inputs[1:], targets[:-1])
    assert len(train) > 10 * len(held_out) > 0
    assert sum(1 for _ in held_out) == len(held_out)


def test_the_teachers_labels_are_as_hard_as_its_entropy_says():
    from data.teacher_images import Teacher, TeacherImages

    images = TeacherImages(4000, seed=3)
    pixels, labels = images.tensors
    loss = F.nll_loss(Teacher(16).log_probabilities(pixels), labels, reduction="none")
    assert abs(loss.mean() - images.entropy) < 4 * loss.std() / len(labels) ** 0.5
    shares = torch.bincount(labels, minlength=10) / len(labels)
    assert 0.5 < images.entropy < 0.8 * -(shares * shares.log()).sum()


def test_the_teachers_images_are_the_same_for_the_same_seed_alone():
    from data.teacher_images import TeacherImages

    assert torch.equal(TeacherImages(10, seed=1).tensors[0], TeacherImages(10, seed=1).tensors[0])
    assert not torch.equal(
        TeacherImages(10, seed=1).tensors[0], TeacherImages(10, seed=2).tensors[0]
    )


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return pytest.importorskip("datasets", reason="the extra hf is not installed")


def test_tiny_stories_become_windows_of_bytes(datasets, monkeypatch):
    from data import hub

    asked = []

    def made(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_dict({"text": ["Once upon a time, ", "a naïve cat sat."] * 10})

    monkeypatch.setattr(datasets, "load_dataset", made)
    train, held_out = hub.tiny_stories(context=8, share="10%")
    assert asked == [
        ("roneneldan/TinyStories", "train[:10%]"),
        ("roneneldan/TinyStories", "validation"),
    ]
    assert bytes(train[0][0].tolist()) == b"Once upo"
    assert train.bytes.tobytes() == ("Once upon a time, \x00a naïve cat sat.\x00" * 10).encode()
    assert len(held_out) == len(train) == (len(train.bytes) - 1) // 8


def test_cifar_images_become_tensors_and_labels(datasets, monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    from data import hub

    def made(name, split):
        columns = {
            "img": [image.new("RGB", (32, 32), (0, 255, k)) for k in range(4)],
            "label": [3, 1, 0, 9],
        }
        return datasets.Dataset.from_dict(columns).cast_column("img", datasets.Image())

    monkeypatch.setattr(datasets, "load_dataset", made)
    train, _ = hub.cifar10()
    pixels, labels = next(iter(DataLoader(train, batch_size=4)))
    assert pixels.shape == (4, 3, 32, 32)
    assert pixels[:, 0].eq(-1).all()
    assert pixels[:, 1].eq(1).all()
    assert labels.tolist() == [3, 1, 0, 9]


def test_without_a_network_the_hub_is_refused_in_one_sentence_with_the_remedy(
    datasets, monkeypatch
):
    from data import hub

    def unreachable(name, split):
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        RuntimeError,
        match=r"uoft-cs/cifar10 is not on this disk .* gave ConnectionError; connect once",
    ):
        hub.cifar10()


def test_without_the_datasets_package_the_remedy_is_to_install_the_extra(monkeypatch):
    from data import hub

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RuntimeError, match=r'run: pip install "isoflop\[hf\]"'):
        hub.tiny_stories()
