"""Ray: runs on the GPUs and machines of a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from isoflop import arguments
from isoflop.compute.memory import memory_of
from isoflop.errors import IsoflopError, PlanError, first_line
from isoflop.extras import load_extra
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import Deaths, demand_of, longest_first, reporting_to
from isoflop.training.executors.devices import Devices
from isoflop.training.executors.placement import gpu_share, memory_class
from isoflop.training.executors.ray_worker import Mailbox, do_part, do_run
from isoflop.training.executors.serialization import dump_work

__all__ = ["Ray"]

LOOK_SECONDS = 0.5
"""Between two looks at the progress of runs."""

STOP_SECONDS = 20.0
"""What workers have to save their checkpoints."""


@dataclass(frozen=True)
class Ray:
    """Trains runs on a Ray cluster, longest first. The store must be a folder that all its machines share.

    address: "auto", "host:6379" or "ray://host:10001"; None for the cluster that this process is connected to, else the
        one of RAY_ADDRESS or of this machine, else a new one on this machine. The connection is kept for later calls.
    devices_per_run: GPUs of one run. A fraction (.25) lets runs share a GPU; k > 1 spreads each run over k processes
        (on a cluster without GPUs: of one CPU each). None for what `train(devices_per_run=)` says, or for a share.
    gpu_memory: bytes of each GPU in the cluster; runs whose predicted memory is small then share GPUs, and those that
        one GPU does not hold are spread over several.
    num_threads: CPU threads, and CPUs asked for, per process.
    retries: how often a run is tried again whose worker or machine died; it goes on from its last checkpoint.
    runtime_env: Ray's own description of what workers need ("pip", "working_dir", "env_vars", ...).

    isoflop and what the task imports must be installed on the machines; the user's own modules travel with the task.
    """

    address: str | None = None
    devices_per_run: float | None = None
    gpu_memory: float | None = None
    num_threads: int = 1
    retries: int = 1
    runtime_env: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.devices_per_run is not None:
            must = "a share up to 1 or a whole number"
            read = arguments.number(
                self.devices_per_run,
                "Ray: devices_per_run",
                must=must,
                holds=_is_share_or_whole,
                error=PlanError,
            )
            object.__setattr__(self, "devices_per_run", read)
        if self.gpu_memory is not None:
            object.__setattr__(self, "gpu_memory", memory_of(self.gpu_memory))
        for name, least in (("num_threads", 1), ("retries", 0)):
            value = getattr(self, name)
            read = arguments.whole(value, f"Ray: {name}", least=least, most=10_000, error=PlanError)
            object.__setattr__(self, name, read)
        if self.address is not None:
            arguments.word(
                self.address,
                "Ray: address",
                "'auto', 'host:6379' or 'ray://host:10001'",
                error=PlanError,
            )
        if self.runtime_env is not None:
            arguments.mapping(self.runtime_env, "Ray: runtime_env", "a dict", error=PlanError)

    def run_devices(self) -> Devices:
        """The GPUs of the cluster, or its CPUs where it has none."""
        if self.devices_per_run is not None:
            return Devices(per_run=max(1, int(self.devices_per_run)), num_bytes=self.gpu_memory)
        there = self._connected().cluster_resources()
        num_there = int(there.get("GPU", 0)) or int(there.get("CPU", 0)) // self.num_threads
        return Devices(most=max(1, num_there), num_bytes=self.gpu_memory)

    def map(self, work: Callable[[RunSpec], Run], specs: list[RunSpec]) -> Iterator[Run]:
        if not specs:
            return
        jobs = _Jobs(self._connected(), self, work)
        try:
            for spec in longest_first(work, specs):
                jobs.submit(spec)
            yield from jobs.records(getattr(work, "on_progress", None))
        finally:
            jobs.stop()

    def _connected(self) -> Any:
        ray = load_extra("ray", "ray")
        if not ray.is_initialized():
            os.environ.setdefault(
                "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
            )  # else Ray warns in every process
            environment = None if self.runtime_env is None else dict(self.runtime_env)
            try:
                ray.init(
                    self.address,
                    runtime_env=environment,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            except ConnectionError as error:
                raise IsoflopError(
                    f"There is no Ray cluster to connect to at {self.address or 'RAY_ADDRESS'} ({error}); check that "
                    f"it runs, and that RAY_AUTH_MODE and the token here are those of the cluster."
                ) from error
        return ray


@dataclass(frozen=True)
class _Attempt:
    """One try at a run: a task, or a task for each of its processes, kept together by a placement group."""

    spec: RunSpec
    tasks: list[Any]
    group: Any = None


class _Jobs:
    """The runs that the cluster has been given."""

    def __init__(self, ray: Any, options: Ray, work: Any) -> None:
        self.ray = ray
        self.options, self.work = options, work
        self.deaths = Deaths(options.retries)
        self.waiting: dict[Any, _Attempt] = {}
        """By task."""
        self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self.node_memory = max(
            node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]
        )
        self.payload = ray.put(dump_work(reporting_to(work, None)))
        self.mailbox = (
            ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=_here(ray)).remote()
        )
        self.do_run = ray.remote(max_retries=0)(do_run)  # deaths are counted here, as everywhere
        self.do_part = ray.remote(max_retries=0, max_calls=1)(do_part)

    def submit(self, spec: RunSpec) -> None:
        num_ranks = int(self.options.devices_per_run or demand_of(self.work, spec).num_devices)
        attempt = self._alone(spec) if num_ranks <= 1 else self._together(spec, num_ranks)
        self.waiting.update(dict.fromkeys(attempt.tasks, attempt))

    def records(self, on_progress: Callable[[Any], None] | None) -> Iterator[Run]:
        while self.waiting:
            ended, _ = self.ray.wait(list(self.waiting), timeout=LOOK_SECONDS)
            if on_progress is not None:
                for progress in self.ray.get(self.mailbox.take.remote()):
                    on_progress(progress)
            for task in ended:  # ray.wait gives one at a time
                run = self._outcome(task)
                if run is not None:
                    yield run

    def stop(self) -> None:
        """Ask the workers to save and end; kill those that have not when the time is over."""
        tasks = list(self.waiting)
        if tasks:
            self.ray.get(self.mailbox.stop.remote())
            for task in tasks:
                self.ray.cancel(task)
            _, late = self.ray.wait(tasks, num_returns=len(tasks), timeout=STOP_SECONDS)
            for task in late:
                self.ray.cancel(task, force=True)
        for attempt in list(self.waiting.values()):
            self._forget(attempt)
        self.ray.kill(self.mailbox)

    def _outcome(self, task: Any) -> Run | None:
        """The record that a task ended with; None where its run goes on."""
        attempt = self.waiting[task]
        errors = self.ray.exceptions
        try:
            run: Run = self.ray.get(task)
        except (
            errors.RayTaskError
        ) as error:  # raised by our own code or the store: every run would meet it
            raise error.cause if isinstance(error.cause, IsoflopError) else error from None
        except errors.RayError as error:
            self._forget(attempt)
            if self.deaths.again(attempt.spec):
                self.submit(attempt.spec)
                return None
            return self.deaths.failed(attempt.spec, f"{type(error).__name__}: {first_line(error)}")
        if task != attempt.tasks[0]:
            del self.waiting[task]
            return None
        self._forget(attempt)
        return run

    def _forget(self, attempt: _Attempt) -> None:
        for task in attempt.tasks:
            self.waiting.pop(task, None)
        if attempt.group is not None:  # ends whichever of its processes are left
            self.ray.util.remove_placement_group(attempt.group)

    def _alone(self, spec: RunSpec) -> _Attempt:
        demand, options = demand_of(self.work, spec), self.options
        gpus = options.devices_per_run or gpu_share(demand, options.gpu_memory)
        memory = memory_class(demand, self.node_memory)
        asked = {"num_gpus": gpus} if self.has_gpus else {"memory": memory} if memory else {}
        task = self.do_run.options(num_cpus=options.num_threads, **asked)
        return _Attempt(
            spec, [task.remote([self.payload], spec, self.mailbox, options.num_threads)]
        )

    def _together(self, spec: RunSpec, num_ranks: int) -> _Attempt:
        """One process per device, close to each other, each fresh: torch.distributed is set up once per process."""
        options, name = self.options, f"{spec.id}-{uuid4().hex[:8]}"
        bundle = {"CPU": options.num_threads, **({"GPU": 1} if self.has_gpus else {})}
        group = self.ray.util.placement_group([bundle] * num_ranks, strategy="PACK")
        arguments = ([self.payload], spec, self.mailbox, options.num_threads)
        parts = [self._part(group, rank, bundle) for rank in range(num_ranks)]
        tasks = [
            part.remote(*arguments, (name, rank, num_ranks)) for rank, part in enumerate(parts)
        ]
        return _Attempt(spec, tasks, group)

    def _part(self, group: Any, rank: int, bundle: Mapping[str, int]) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return self.do_part.options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=rank
            ),
            # An environment of its own keeps these processes apart from those that train runs alone.
            runtime_env={"env_vars": {"ISOFLOP_RANK": str(rank)}},
        )


def _here(ray: Any) -> Any:
    """The caller's machine, which does not go away while the caller is there."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A soft one is placed on other machines too where it asks for no CPU.
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _is_share_or_whole(value: float) -> bool:
    return 0 < value <= 1 or (1 < value <= 10_000 and value == int(value))
