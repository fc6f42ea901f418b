"""Ray: runs on the GPUs and machines of a Ray cluster."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING
from uuid import uuid4

from isoflop import arguments
from isoflop.compute.memory import memory_of
from isoflop.errors import IsoflopError, PlanError, first_line
from isoflop.extras import load_extra
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import (
    Deaths,
    Demand,
    OnProgress,
    Work,
    demand_of,
    longest_first,
)
from isoflop.training.executors.devices import Devices
from isoflop.training.executors.placement import gpu_share, memory_class
from isoflop.training.executors.ray_worker import Mailbox, Remote, do_part, do_run
from isoflop.training.executors.serialization import dump_work

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.util.placement_group import PlacementGroup

__all__ = ["Ray"]

LOOK_SECONDS = 0.5
"""Interval between two readings of the progress of runs."""

STOP_SECONDS = 20.0
"""Time that workers have to save their checkpoints."""


@dataclass(frozen=True)
class Ray:
    """Trains runs on a Ray cluster, longest first.

    The store must be a folder that all machines of the cluster share.

    address: "auto", "host:6379" or "ray://host:10001"; None for the cluster that this process is
        connected to, else that of RAY_ADDRESS or of this machine, else a new one on this machine.
        The connection is kept for later calls.
    devices_per_run: GPUs of one run. A fraction (.25) lets runs share a GPU; k > 1 spreads each
        run over k processes (without GPUs in the cluster: of one CPU each). None for the number
        that `train(devices_per_run=)` gives, or for a share.
    gpu_memory: bytes of each GPU in the cluster. Runs with little predicted memory then share
        GPUs, and runs that do not fit on one GPU are spread over several.
    num_threads: CPU threads per process, and CPUs requested for it.
    retries: number of further tries of a run whose worker or machine died; each continues from
        the last checkpoint.
    runtime_env: Ray's own description of the workers' environment ("pip", "working_dir",
        "env_vars", ...).

    isoflop and the packages that the task imports must be installed on the machines. The user's
    own modules travel with the task.
    """

    address: str | None = None
    devices_per_run: float | None = None
    gpu_memory: float | None = None
    num_threads: int = 1
    retries: int = 1
    runtime_env: Mapping[str, object] | None = None

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
        """The GPUs of the cluster, or its CPUs if it has no GPU."""
        if self.devices_per_run is not None:
            return Devices(per_run=max(1, int(self.devices_per_run)), num_bytes=self.gpu_memory)
        resources = self._connected().cluster_resources()
        available = int(resources.get("GPU", 0)) or int(resources.get("CPU", 0)) // self.num_threads
        return Devices(most=max(1, available), num_bytes=self.gpu_memory)

    def map(self, work: Work, specs: list[RunSpec]) -> Iterator[Run]:
        if not specs:
            return
        jobs = _Jobs(self._connected(), self, work)
        try:
            for spec in longest_first(work, specs):
                jobs.submit(spec)
            yield from jobs.records(work.on_progress)
        finally:
            jobs.stop()

    def _connected(self) -> ModuleType:
        ray: ModuleType = load_extra("ray", "ray")
        if not ray.is_initialized():
            # without it Ray prints a warning in every process
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
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
                    f"There is no Ray cluster to connect to at {self.address or 'RAY_ADDRESS'} "
                    f"({error}); check that it runs, and that RAY_AUTH_MODE and the token here are "
                    f"those of the cluster."
                ) from error
        return ray


@dataclass(frozen=True)
class _Attempt:
    """One try at a run: one task, or one per process, kept together by a placement group."""

    spec: RunSpec
    tasks: "list[ObjectRef[Run]]"
    group: "PlacementGroup | None" = None


class _Jobs:
    """The runs handed to the cluster."""

    def __init__(self, ray: ModuleType, options: Ray, work: Work) -> None:
        self.ray = ray
        self.options, self.work = options, work
        self.deaths = Deaths(options.retries)
        self.waiting: dict[ObjectRef[Run], _Attempt] = {}
        """By task."""
        self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self.node_memory = max(
            node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]
        )
        self.payload = ray.put(dump_work(work.reporting_to(None)))
        self.mailbox = (
            ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=_here(ray)).remote()
        )
        self.do_run = ray.remote(max_retries=0)(do_run)  # retries are counted by self.deaths
        self.do_part = ray.remote(max_retries=0, max_calls=1)(do_part)

    def submit(self, spec: RunSpec) -> None:
        num_ranks = int(self.options.devices_per_run or demand_of(self.work, spec).num_devices)
        attempt = self._alone(spec) if num_ranks <= 1 else self._together(spec, num_ranks)
        self.waiting.update(dict.fromkeys(attempt.tasks, attempt))

    def records(self, on_progress: OnProgress | None) -> Iterator[Run]:
        while self.waiting:
            ended, _ = self.ray.wait(list(self.waiting), timeout=LOOK_SECONDS)
            if on_progress is not None:
                for progress in self.ray.get(self.mailbox.take.remote()):
                    on_progress(progress)
            for task in ended:  # ray.wait returns one at a time
                run = self._outcome(task)
                if run is not None:
                    yield run

    def stop(self) -> None:
        """Make the workers save and end; kill those that have not ended after STOP_SECONDS."""
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

    def _outcome(self, task: "ObjectRef[Run]") -> Run | None:
        """The record that a task ended with; None if its run goes on."""
        attempt = self.waiting[task]
        errors = self.ray.exceptions
        try:
            run: Run = self.ray.get(task)
        except errors.RayTaskError as error:  # from isoflop or the store: it would hit every run
            raise error.cause if isinstance(error.cause, IsoflopError) else error from None
        except errors.RayError as error:
            self._forget(attempt)
            if self.deaths.may_retry(attempt.spec):
                self.submit(attempt.spec)
                return None
            reason = f"{type(error).__name__}: {first_line(error)}"
            return self.deaths.failed_run(attempt.spec, reason)
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
        options, resources = self.options, self._resources(demand_of(self.work, spec))
        task = self.do_run.options(num_cpus=options.num_threads, **resources)
        return _Attempt(
            spec, [task.remote([self.payload], spec, self.mailbox, options.num_threads)]
        )

    def _resources(self, demand: Demand) -> dict[str, float]:
        """What to request for a run in one process, besides CPUs."""
        if self.has_gpus:
            gpus = self.options.devices_per_run or gpu_share(demand, self.options.gpu_memory)
            return {"num_gpus": gpus}
        memory = memory_class(demand, self.node_memory)
        return {"memory": memory} if memory else {}

    def _together(self, spec: RunSpec, num_ranks: int) -> _Attempt:
        """One process per device, close to each other.

        Each is a new process, since torch.distributed can be set up once per process.
        """
        options, name = self.options, f"{spec.id}-{uuid4().hex[:8]}"
        bundle = {"CPU": options.num_threads, **({"GPU": 1} if self.has_gpus else {})}
        group = self.ray.util.placement_group([bundle] * num_ranks, strategy="PACK")
        handed = ([self.payload], spec, self.mailbox, options.num_threads)
        parts = [self._part(group, rank, bundle) for rank in range(num_ranks)]
        tasks = [part.remote(*handed, (name, rank, num_ranks)) for rank, part in enumerate(parts)]
        return _Attempt(spec, tasks, group)

    def _part(self, group: "PlacementGroup", rank: int, bundle: Mapping[str, int]) -> Remote[Run]:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        part: Remote[Run] = self.do_part.options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=rank
            ),
            # A separate environment keeps these processes apart from those that train runs alone.
            runtime_env={"env_vars": {"ISOFLOP_RANK": str(rank)}},
        )
        return part


def _here(ray: ModuleType) -> object:
    """Scheduling on the caller's machine, which lives as long as the caller."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # With soft=True an actor that requests no CPU may be placed on other machines.
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _is_share_or_whole(value: float) -> bool:
    return 0 < value <= 1 or (1 < value <= 10_000 and value == int(value))
