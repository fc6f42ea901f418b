import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    TensorDataset,
)

import isoflop
from isoflop.counting.check import check_task
from isoflop.user_code.data import first_batch, open_data
from isoflop.user_code.loss import batch_loss, count_tokens
from isoflop.user_code.model import build, count_params, param_counts
from tasks import MLP, examples, loss, mlp_task


class Stream(IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return (self.data[k] for k in range(len(self.data)))


def refusal(**changes):
    with pytest.raises(isoflop.ContractError) as caught:
        isoflop.plan(mlp_task(**changes), budgets=[1e6])
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- what is refused, before anything is trained


def test_a_size_param_that_the_model_does_not_take_is_refused_with_the_names_it_takes():
    assert "size_param names 'depth'" in refusal(size_param="depth")
    assert "takes: width, num_inputs, num_classes" in refusal(size_param="depth")


def test_a_model_kwarg_that_the_model_does_not_take_is_refused():
    assert "model_kwargs names 'num_layers'" in refusal(model_kwargs={"num_layers": 2})


def test_a_size_param_that_stands_in_model_kwargs_too_is_refused():
    assert "must not be in model_kwargs too" in refusal(model_kwargs={"width": 3})


def test_metrics_of_a_step_that_shows_no_outputs_are_refused():
    metrics = {"accuracy": lambda outputs, targets: outputs}
    assert "which step(model, batch) does not show" in refusal(
        step=lambda model, batch: loss, metrics=metrics
    )


def test_bytes_per_token_that_cannot_be_or_need_no_conversion_are_refused():
    assert "bytes_per_token must be above 0, but got 0.0" in refusal(bytes_per_token=0.0)
    assert "but loss_unit is 'bits/byte'" in refusal(bytes_per_token=4.0, loss_unit="bits/byte")


def test_an_instance_in_place_of_the_class_is_refused():
    assert "pass the class itself" in refusal(model=MLP(4))


def test_a_factory_that_builds_no_module_is_refused():
    assert "must build a torch.nn.Module" in refusal(model=lambda width: "text")


def test_a_num_params_that_is_no_int_is_refused():
    class Odd(MLP):
        def num_params(self):
            return 12.5

    assert "Odd.num_params must give a whole number above 0, but got 12.5" in refusal(model=Odd)


def test_a_loss_that_is_no_scalar_is_refused():
    message = refusal(
        loss=lambda outputs, targets: nn.functional.cross_entropy(
            outputs, targets, reduction="none"
        )
    )
    assert "must give a scalar, but gave a tensor of shape (2,)" in message


def test_a_loss_that_is_no_tensor_is_refused():
    assert "must give a scalar tensor, but gave float" in refusal(loss=lambda outputs, targets: 1.0)


def test_a_loss_that_cannot_take_the_batch_is_refused():
    assert "loss must take the model's outputs and the batch's targets" in refusal(
        loss=lambda outputs, targets: nn.functional.mse_loss(outputs, targets.view(-1, 9))
    )


def test_a_loss_without_a_gradient_is_refused():
    assert "carries no gradient" in refusal(
        loss=lambda outputs, targets: loss(outputs.detach(), targets)
    )


def test_a_loss_that_is_not_finite_at_the_start_is_refused():
    assert "must be finite" in refusal(loss=lambda outputs, targets: loss(outputs, targets) / 0)


def test_empty_data_are_refused():
    assert "train_data must hold at least one example, but it is empty" in refusal(train_data=[])
    assert "val_data must hold at least one example, but it is empty" in refusal(val_data=[])


def test_a_tuple_of_arrays_is_refused_with_the_wrapper_to_use():
    assert "TensorDataset(inputs, targets)" in refusal(
        train_data=(torch.zeros(9, 8), torch.zeros(9))
    )


def test_a_batch_that_is_no_pair_is_refused():
    three = TensorDataset(torch.zeros(9, 8), torch.zeros(9).long(), torch.zeros(9))
    assert "must be (inputs, targets), but got 3 parts" in refusal(train_data=three)


def test_a_loader_that_splits_the_data_among_processes_is_refused():
    data = examples(100)
    loader = DataLoader(data, sampler=DistributedSampler(data, num_replicas=2, rank=0))
    assert "leave the sampler out" in refusal(train_data=loader)


def test_a_mapping_of_data_sets_is_refused_with_a_part_to_name():
    assert "but got dict; name one of its parts, such as ['train']" in refusal(
        train_data={"train": examples(9)}
    )


def test_a_one_shot_iterator_is_refused():
    assert "iterable that can be started again" in refusal(train_data=iter(examples(100)))


def test_a_model_that_runs_at_no_size_is_refused_with_its_own_error():
    with pytest.raises(
        isoflop.PlanError, match=r"at size 64 it raises RuntimeError.*give Task\(sizes="
    ):
        isoflop.plan(mlp_task(model_kwargs={"num_inputs": 5}), budgets=[1e6])


def test_a_recipe_out_of_range_is_refused():
    with pytest.raises(isoflop.ContractError, match="epochs must be above 0 or None, but got 0"):
        isoflop.Recipe(epochs=0)
    with pytest.raises(isoflop.ContractError, match="schedule must be"):
        isoflop.Recipe(schedule="cosin")
    with pytest.raises(isoflop.ContractError, match="seeds must differ"):
        isoflop.Recipe(seeds=(1, 1))


def test_a_recipe_keeps_numbers_of_numpy_and_torch_as_plain_ones():
    recipe = isoflop.Recipe(
        lr=lambda n, d: torch.tensor(0.5),
        warmup=np.float64(0.25),
        seeds=[np.int64(3), torch.tensor(4)],
        compile=np.bool_(False),
    )
    assert recipe.peak_lr(1e6, 1e7) == 0.5
    assert type(recipe.warmup) is float
    assert recipe.seeds == (3, 4)
    assert recipe.compile is False


def test_a_rule_that_gives_no_positive_number_is_refused_with_where():
    with pytest.raises(
        isoflop.ContractError, match="lr must give a number above 0 and up to 1e6 at "
    ):
        isoflop.plan(
            mlp_task(recipe=isoflop.Recipe(epochs=None, lr=lambda n, d: -1.0)), budgets=[1e6]
        )


# -- the forms of model, data and loss that are taken


def plans(**changes):
    sweep = isoflop.plan(mlp_task(**changes), budgets=[1e6])
    assert len({spec.size for spec in sweep.specs}) == 7
    return sweep


def test_a_factory_with_a_function_of_size_is_taken():
    plans(model=lambda a, b: MLP(a, num_classes=b), size_param=lambda size: {"a": 2 * size, "b": 4})


def test_a_loader_gives_its_dataset_and_collate_function():
    def collate(items):
        inputs, targets = zip(*items, strict=True)
        return torch.stack(inputs), torch.stack(targets)

    loader = DataLoader(examples(4000), batch_size=3, shuffle=True, collate_fn=collate)
    source = open_data(loader, "train_data")
    assert source.num_examples == 4000
    assert source.collate is collate
    plans(train_data=loader)


def test_streams_and_callables_are_taken():
    plans(train_data=Stream(examples(4000)))

    def batches(seed):
        generator = torch.Generator().manual_seed(seed)
        while True:
            inputs = torch.randn(32, 8, generator=generator)
            yield inputs, inputs.argmax(dim=1) % 4

    sweep = plans(train_data=batches)
    assert {spec.batch for spec in sweep.specs} == {32}


def test_a_model_that_returns_its_own_loss_is_taken():
    class Own(MLP):
        def forward(self, x, labels):
            return {"loss": loss(super().forward(x), labels)}

    data = [{"x": x, "labels": y} for x, y in examples(4000)]
    plans(model=Own, loss=None, train_data=data, val_data=data)


def test_inputs_that_are_a_mapping_are_passed_by_name():
    data = [({"x": x}, y) for x, y in examples(4000)]
    plans(train_data=data, val_data=data)


def test_a_step_takes_any_batch():
    data = [(x, y, 2.0) for x, y in examples(4000)]

    def step(model, batch):
        inputs, targets, weight = batch
        return (
            weight * nn.functional.cross_entropy(model(inputs), targets, reduction="none")
        ).mean()

    plans(loss=None, step=step, train_data=data, val_data=data)


# -- counting


def test_params_come_from_the_task_then_the_model_then_a_count():
    class Own(MLP):
        def num_params(self):
            return 1000

    assert count_params(mlp_task(), MLP(3)) == 8 * 3 + 3 + 3 * 4 + 4
    assert count_params(mlp_task(), Own(3)) == 1000
    assert count_params(mlp_task(num_params=lambda model: 17), Own(3)) == 17


def test_tied_weights_count_once_and_embeddings_are_told_apart():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mid, self.head = (
                nn.Embedding(10, 4),
                nn.Linear(4, 4),
                nn.Linear(4, 10, bias=False),
            )
            self.head.weight = self.embed.weight

    assert param_counts(Tied()) == {"total": 60, "non_embedding": 20, "matmul": 56}


def test_building_on_the_meta_device_takes_no_memory():
    model = build(mlp_task(), 10**8, "meta")
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_token_is_one_loss_target():
    task = mlp_task()
    inputs = torch.zeros(3, 5)
    assert count_tokens(task, (inputs, torch.zeros(3, 5, dtype=torch.long))) == 15
    assert count_tokens(task, (inputs, torch.zeros(3, dtype=torch.long))) == 3
    assert count_tokens(task, (inputs, torch.zeros(3, 5))) == 3
    assert count_tokens(task, {"x": inputs, "labels": torch.zeros(3, 5, dtype=torch.long)}) == 15
    assert count_tokens(mlp_task(count_tokens=lambda batch: 42), (inputs, inputs)) == 42


def test_ignored_targets_are_no_tokens():
    assert count_tokens(mlp_task(), (torch.zeros(1, 4), torch.tensor([[1, -100, -100, 2]]))) == 2


def test_the_loss_of_a_batch_is_the_users():
    task, model = mlp_task(), MLP(3)
    batch = first_batch(open_data(task.train_data, "train_data"), 5)
    assert batch_loss(task, model, batch) == loss(model(batch[0]), batch[1])


def test_a_task_that_keeps_the_contract_passes():
    check_task(mlp_task())


def test_a_tensor_dataset_is_gathered_at_once_to_what_collating_gives():
    data = examples(50)
    source = open_data(data, "train_data")
    fast, slow = source.gather([7, 3, 3]), source.collate([data[7], data[3], data[3]])
    assert type(fast) is type(slow)
    assert all(torch.equal(one, other) for one, other in zip(fast, slow, strict=True))


@pytest.mark.parametrize("sizes", [[4, 8], np.array([4, 8]), (size for size in (4, 8))])
def test_sizes_are_kept_as_plain_numbers(sizes):
    kept = mlp_task(sizes=sizes).sizes
    assert kept == (4, 8)
    assert all(type(size) is int for size in kept)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "must name at least one size"),
        ("abc", "must name at least one size, but got 'abc'"),
        (
            [{"width": 4}],
            "each of sizes must be a number, a name, or a tuple of them, but got {'width': 4}",
        ),
        ([(4, (1, 2))], "each of sizes must be"),
    ],
)
def test_sizes_that_no_store_can_hold_are_refused(sizes, message):
    with pytest.raises(isoflop.ContractError, match=message):
        mlp_task(sizes=sizes)
