"""Every example trains, through the same Task, on a tiny budget."""

import math

import pytest

import isoflop

BYTES, CLASSES = 256, 10


def assert_trained(runs, chance):
    assert [run.status for run in runs] == ["completed", "completed"]
    for run in runs:
        assert run.loss < 1.05 * chance
        assert (
            abs(run.num_tokens - run.spec.num_tokens)
            <= run.spec.batch * run.spec.tokens_per_example
        )


@pytest.mark.parametrize("family", ["gpt", "llama", "dial"])
def test_gpts_train_on_the_standard_library(family, train_two):
    import train_gpt

    assert_trained(train_two(train_gpt.task(family), 2e8), math.log(BYTES))


def test_a_mixture_of_experts_trains_and_its_n_is_what_is_active(train_two):
    import moe

    task = moe.task()
    runs = train_two(task, 2e8)
    assert_trained(runs, math.log(BYTES))
    for run in runs:
        model = task.model(**task.kwargs_for(run.size))
        assert (
            run.num_params == model.num_active_params() < sum(p.numel() for p in model.parameters())
        )


@pytest.mark.parametrize("model", ["vit", "cnn"])
def test_image_models_train_on_the_teachers_images(model, train_two, few_images):
    import images_vit

    few_images(images_vit)
    assert_trained(train_two(images_vit.task(model), 2e8), math.log(CLASSES))


def test_a_hugging_face_llama_trains_with_its_own_loss(train_two):
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    import hf_llama

    runs = train_two(hf_llama.task(), 2e8)
    assert_trained(runs, math.log(BYTES))
    assert (
        runs[0].spec.tokens_per_example == hf_llama.CONTEXT - 1
    )  # the first label of a window is no target


def test_a_hugging_face_vit_trains_with_its_own_loss(train_two, few_images):
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    import hf_vit

    few_images(hf_vit)
    assert_trained(train_two(hf_vit.task(), 2e8), math.log(CLASSES))


def test_the_gpt_program_runs_from_its_arguments_to_its_page(tmp_path, monkeypatch, capsys):
    import train_gpt

    monkeypatch.setitem(
        train_gpt.FAMILIES, "gpt", {"size_param": "width", "sizes": [4, 8, 12, 16, 20]}
    )
    monkeypatch.setattr(train_gpt, "CORPORA", {"stdlib": few_windows})
    train_gpt.main(["--budgets", "5e7", "1e8", "--store", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "12 runs at 2 budgets" in shown
    assert (tmp_path / "report.html").exists()


def few_windows(context):
    """The corpus, with little of it held out."""
    from data.python_source import ByteWindows, python_source

    train_data, val_data = python_source(context)
    return train_data, ByteWindows(val_data.bytes[:4_000], context)


def test_a_command_can_name_a_family():
    import train_gpt
    from isoflop.cli.arguments import load_task

    task = load_task(f"{train_gpt.__file__}:dial")
    assert isinstance(task, isoflop.Task)
    assert task.kwargs_for(3) == {"width": 48, "num_heads": 3, "num_layers": 3}
