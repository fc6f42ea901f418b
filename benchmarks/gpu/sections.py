"""The sections of check.py: each trains something and gives its figures in one line."""

import signal
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from gpu_tasks import (
    Stopwatch,
    byte_task,
    gpt_task,
    image_task,
    spec_of,
    with_steps,
)
from scale import Scale

import isoflop
from isoflop.training.loop import train_model
from models.gpt import GPT

__all__ = [
    "a_batch_that_does_not_fit",
    "a_resumed_run",
    "a_small_sweep",
    "a_tiny_run_from_graphs",
    "images_against_a_bare_loop",
    "tiny_runs_packed",
    "tiny_runs_together",
    "utilisation_of_a_gpt",
]

MFU_GOAL = 0.40
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def utilisation_of_a_gpt(scale: Scale) -> str:
    """Share of the device's peak, and tokens per second, after compilation."""
    task, times = gpt_task(scale), []
    tokens_per_step = scale.batch * scale.context
    spec = spec_of(task, scale.width, scale.gpt_flops_per_token * tokens_per_step * scale.steps)
    run = train_model(
        task,
        with_steps(spec, scale.batch, scale.steps),
        isoflop.MemoryStore(),
        on_progress=lambda now: times.append((time.perf_counter(), now.num_tokens)),
    )
    (began, first), (ended, last) = times[len(times) // 3], times[-1]
    rate = (last - first) / (ended - began)
    mfu = rate * spec.flops_per_token / run.peak_flops_per_second
    return (
        f"{run.num_params / 1e6:.1f}M params, MFU **{mfu:.0%}** (goal {MFU_GOAL:.0%}), "
        f"{rate:,.0f} tokens/s, {run.seconds - run.num_tokens / rate:.0f} s of compilation and "
        f"start, loss {run.loss:.3f}"
    )


def images_against_a_bare_loop(scale: Scale) -> str:
    """Speed on images that workers decode, as a share of a loop's with the same loader."""
    task = image_task(scale)
    spec = spec_of(task, scale.channels, scale.image_flops)
    spec = with_steps(spec, scale.images_batch, scale.image_steps)
    watches = {"bare": [], "isoflop": []}
    for turn in range(4):  # the first pair starts the workers
        name = ("bare", "isoflop")[turn % 2]
        watch = Stopwatch()
        with watch.running():
            if name == "bare":
                _bare_loop(task, spec)
            else:
                train_model(task, spec, isoflop.MemoryStore())
        watches[name].append(watch.seconds)
    bare, ours = watches["bare"][-1], watches["isoflop"][-1]
    rate = scale.image_steps * scale.images_batch / ours
    return (
        f"{rate:,.0f} images/s with {scale.workers} workers, **{bare / ours:.2f}** of the bare "
        "loop's speed"
    )


def _bare_loop(task: isoflop.Task, spec: isoflop.RunSpec) -> None:
    model = task.model(**task.kwargs_for(spec.size)).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, fused=True)
    steps = count()
    while True:
        for images, labels in task.train_data:
            images = images.to(DEVICE, non_blocking=True)
            loss = F.cross_entropy(model(images), labels.to(DEVICE, non_blocking=True))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if next(steps) + 1 >= spec.num_steps:
                return


def tiny_runs_packed(scale: Scale) -> str:
    """Tiny runs in one program against one after the other, in whole calls of train()."""
    task, sweep = _tiny_sweep(scale, scale.packed_width)
    specs = [with_steps(spec, 4, scale.packed_steps) for spec in sweep.specs]
    sweep = replace(sweep, specs=tuple(specs))
    seconds, runs = {}, {}
    for turn in range(4):  # the first pair warms up
        packed = turn % 2 == 1
        seconds[packed], runs[packed] = _timed_sweep(task, sweep, packed=packed)
    assert all("packed" in run.versions for run in runs[True])
    pairs = zip(runs[False], runs[True], strict=True)
    off = max(abs(alone.loss - packed.loss) for alone, packed in pairs)
    return (
        f"{scale.tiny_runs} runs of width {scale.packed_width}: {seconds[False]:.2f} s one after "
        f"the other, {seconds[True]:.2f} s packed, **{seconds[False] / seconds[True]:.1f}x**; "
        f"final losses at most {off:.0e} apart"
    )


def a_tiny_run_from_graphs(scale: Scale) -> str:
    """Speed of a tiny run whose steps are replayed from CUDA graphs, as a multiple of its own."""
    task, sweep = _tiny_sweep(scale, scale.packed_width)
    spec = with_steps(sweep.specs[0], 4, 3 * scale.packed_steps)
    rates = {}
    for mode in (False, "reduce-overhead" if scale.compile else False):
        recipe = replace(task.recipe, compile=mode)
        times = []
        run = train_model(
            replace(task, recipe=recipe),
            spec,
            isoflop.MemoryStore(),
            on_progress=lambda now, times=times: times.append(
                (time.perf_counter(), now.num_tokens)
            ),
        )
        (began, first), (ended, last) = times[len(times) // 2], times[-1]
        rates.setdefault("plain", (last - first) / (ended - began))
        rates["graphs"] = (last - first) / (ended - began)
    return (
        f"width {scale.packed_width}: {rates['plain']:,.0f} tokens/s, {rates['graphs']:,.0f} with "
        f'compile="reduce-overhead", **{rates["graphs"] / rates["plain"]:.1f}x**, '
        f"loss {run.loss:.3f}"
    )


def tiny_runs_together(scale: Scale) -> str:
    """Tiny runs that share the device, one process each, against one after the other."""
    task, sweep = _tiny_sweep(scale, scale.tiny_width)
    one, _ = _timed_sweep(task, sweep, executor=isoflop.InProcess())
    processes = isoflop.Processes(scale.tiny_runs, runs_per_device=scale.tiny_runs)
    together, _ = _timed_sweep(task, sweep, executor=processes)
    return (
        f"{scale.tiny_runs} runs of width {scale.tiny_width}: {one:.0f} s one after the "
        f"other, {together:.0f} s at once, **{one / together:.1f}x**, their start included"
    )


def _tiny_sweep(scale: Scale, width: int) -> tuple[isoflop.Task, isoflop.Sweep]:
    """Runs of one tiny size that differ in their seed."""
    widths, seeds = (width // 2, width, 2 * width), tuple(range(scale.tiny_runs))
    task = byte_task(scale, widths, seeds=seeds)
    sweep = isoflop.plan(task, budgets=[scale.tiny_flops], check_rates=None)
    return task, replace(sweep, specs=tuple(spec for spec in sweep.specs if spec.size == width))


def _timed_sweep(
    task: isoflop.Task, sweep: isoflop.Sweep, **options: object
) -> tuple[float, list[isoflop.Run]]:
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, watch.running():
        runs = isoflop.train(task, sweep, store=folder, progress=False, **options)
    assert all(run.status == "completed" for run in runs), [run.error for run in runs]
    return watch.seconds, runs


def a_resumed_run(scale: Scale) -> str:
    """The loss of a run that was stopped and went on, beside that of one that was not."""
    task = byte_task(scale, (scale.tiny_width // 2, scale.tiny_width, 2 * scale.tiny_width))
    spec = spec_of(task, scale.tiny_width, scale.tiny_flops / 4)
    whole = train_model(task, spec, isoflop.MemoryStore())
    steps, half = count(), int(spec.num_steps) // 2
    with tempfile.TemporaryDirectory() as folder:
        store = isoflop.DirectoryStore(Path(folder))
        try:
            train_model(
                task,
                spec,
                store,
                stop_requested=lambda: signal.SIGINT if next(steps) == half else None,
            )
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("the run did not stop")
        resumed = train_model(task, spec, store)
    same = "equal bit for bit" if resumed.loss == whole.loss else "NOT equal"
    return f"stopped at step {half:,}: loss {resumed.loss:.6f}, {same}"


class Narrow(GPT):
    """A GPT whose device has no room for large batches."""

    most = 0
    largest = 0

    def forward(self, tokens):
        if len(tokens) > self.most > 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        Narrow.largest = max(Narrow.largest, len(tokens))
        return super().forward(tokens)


def a_batch_that_does_not_fit(scale: Scale) -> str:
    """The loss of a run whose batch is halved, beside that of one with enough memory."""
    widths = (scale.tiny_width // 2, scale.tiny_width, 2 * scale.tiny_width)
    task = byte_task(scale, widths, model=Narrow)
    spec = spec_of(task, scale.tiny_width, scale.tiny_flops)
    spec = with_steps(spec, scale.large_batch, 8)
    Narrow.most = Narrow.largest = 0
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    roomy = train_model(task, spec, isoflop.MemoryStore())
    Narrow.largest = 0
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        share = 0.6 * torch.cuda.max_memory_reserved() / torch.cuda.mem_get_info()[1]
        torch.cuda.set_per_process_memory_fraction(share)
    else:
        Narrow.most = scale.large_batch // 3
    try:
        narrow = train_model(task, spec, isoflop.MemoryStore())
    finally:
        if DEVICE.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert narrow.status == "completed", narrow.error
    assert Narrow.largest < scale.large_batch, "the batch fitted"
    return (
        f"a batch of {scale.large_batch:,} was taken in pieces of at most {Narrow.largest:,}: loss "
        f"{narrow.loss:.5f}, {abs(narrow.loss - roomy.loss):.1e} from that with enough memory"
    )


def a_small_sweep(scale: Scale) -> str:
    """The table of a sweep of three budgets, as large as its time allows, and its answer."""
    task = byte_task(scale, scale.sweep_widths)
    largest = scale.largest_budget
    steps = [scale.budget_step**k for k in (-2, -1, 0)]
    sweep = isoflop.plan(task, budgets=[largest * step for step in steps])
    while (sweep.total_seconds or 0) > scale.sweep_seconds:
        largest /= 2
        sweep = isoflop.plan(task, budgets=[largest * step for step in steps])
    watch = Stopwatch()
    with watch.running():
        runs = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    fit = isoflop.fit(runs)
    print(fit)
    answer = isoflop.predict(fit, flops=10 * largest)
    return (
        f"{len(runs)} runs to {largest:.2g} FLOPs in {watch.seconds:.0f} s (predicted "
        f"{sweep.total_seconds:.0f} s); at ten times that N {answer.num_params.value:.3g} "
        f"({answer.num_params.low:.3g} to {answer.num_params.high:.3g})"
    )
