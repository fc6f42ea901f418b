"""sizes_of(): the sizes of a task or of a family."""

from isoflop import arguments
from isoflop.counting.family_sizes import CountedSizes, FamilySizes
from isoflop.counting.sizes import Sizes
from isoflop.errors import ContractError
from isoflop.extras import require_train
from isoflop.family import Family
from isoflop.task import Task, require_task

__all__ = ["sizes_of"]


def sizes_of(task: Task | Family, name: str = "task") -> Sizes:
    """The sizes of a task or of a family.

    name: of the argument, for messages.

    Raises ContractError for any other value, InstallError for a task without torch.
    """
    if isinstance(task, Family):
        counted = task.sizes
        return (
            CountedSizes(task, _of_task(counted))
            if isinstance(counted, Task)
            else FamilySizes(task)
        )
    if isinstance(task, type):
        raise arguments.refused(
            task, name, "an isoflop.Task or an isoflop.Family", error=ContractError
        )
    require_task(task, name)
    return _of_task(task)


def _of_task(task: Task) -> Sizes:
    require_train()
    from isoflop.counting.task_sizes import TaskSizes

    return TaskSizes(task)
