"""Command: a trainer that is a command of the shell."""

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from isoflop import arguments
from isoflop.display.format import format_duration, one_line, quoted
from isoflop.errors import ContractError
from isoflop.handout import Value, command_line, filled, spec_values
from isoflop.runs import RunSpec
from isoflop.storage.atomic import write_text
from isoflop.training import guard
from isoflop.training.command_result import Result, result_of

__all__ = ["Command", "CommandFailed"]

TAIL_LINES, TAIL_BYTES = 5, 4000
"""Last lines of a command's output that its failed record keeps."""
MOST_SIGNAL = 64
_SHELL = frozenset("|&;<>()$`*?[]#~=%!{}\n")
"""Characters that give a first word a meaning of the shell's own."""


class CommandFailed(RuntimeError):
    """A command that ended without a result."""


@dataclass(frozen=True)
class Command:
    """A trainer that runs a command for each spec, in the run's own folder.

    template: the command, with placeholders such as `{size}`, `{num_tokens}`, `{num_steps}`,
        `{batch}`, `{lr:g}`, `{seed}`, the arguments of the size, `{folder}` (the run's own, which
        survives a retry), `{spec}` (a JSON file with all values) and `{python}` (this
        interpreter). A text runs in a shell, with each value quoted; a list of texts runs without
        one. Double braces stand for the command's own.
    result: where the held-out loss is found after the command: a JSON file with a key of dots
        (`"{folder}/result.json:eval.loss"`), the last row of a CSV file or of JSON lines
        (`"metrics.csv:val_loss"`, relative to the run's folder), the last match of a regular
        expression with one group in the output (`r"val loss ([0-9.]+)"`), or a function of the
        folder. A mapping gives several: `{"loss": ..., "num_tokens": ..., "accuracy": ...}`.
    env: variables of the environment, with placeholders, in addition to those of this process.
    cwd: folder to run in, with placeholders; None for the current one.
    timeout: seconds after which the command is ended and the run has failed.
    log: file in the run's folder to which the output is appended.

    A command that ends with an error, is killed, runs too long or leaves no result makes a failed
    run with the last lines of its output. When the program stops, the command gets SIGTERM, and
    SIGKILL after ten seconds; it never outlives its worker.

    Raises ContractError where an argument has the wrong kind.

    Examples
    --------
    >>> import isoflop
    >>> trainer = isoflop.Command(
    ...     "python train.py --width {size} --steps {num_steps} --lr {lr:g} --out {folder}",
    ...     result="result.json:eval.loss",
    ... )
    """

    template: str | Sequence[str]
    result: Result | Mapping[str, Result]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | os.PathLike[str] | None = None
    timeout: float | None = None
    log: str = "log.txt"

    def __post_init__(self) -> None:
        words = [self.template] if isinstance(self.template, str) else self.template
        if not arguments.several(words) or not all(isinstance(word, str) for word in words):
            raise arguments.refused(
                self.template, "Command: template", "a text or a list of texts", error=ContractError
            )
        if not "".join(words).strip():
            raise arguments.refused("", "Command: template", "a command", error=ContractError)
        if not isinstance(self.template, str):
            object.__setattr__(self, "template", tuple(self.template))
        env = arguments.mapping(self.env, "Command: env", "a dict of texts", error=ContractError)
        for name, value in env.items():
            arguments.word(value, f"Command: env[{quoted(name, 40)}]", error=ContractError)
        if self.timeout is not None:
            read = arguments.positive(self.timeout, "Command: timeout", error=ContractError)
            object.__setattr__(self, "timeout", float(read))
        result_of(self.result)

    def check(self, specs: Sequence[RunSpec], *, is_here: bool = True) -> None:
        """Raise ContractError where a template does not fit a spec, or there is no such program.

        is_here: whether the command runs on this machine; on others its program is not looked for.
        """
        results = result_of(self.result)
        for spec in specs:
            values = self._values(spec, Path("folder"))
            self._words(values)
            self._environment(values)
            if self.cwd is not None:
                filled(os.fspath(self.cwd), values)
            results.check(values, Path("folder"))
        if is_here:
            self._check_here(self._values(specs[0], Path("folder")))
        if len(specs) > 1:
            results.check_apart(*(self._values(spec, Path(spec.id)) for spec in specs[:2]))

    def __call__(self, spec: RunSpec, folder: Path) -> dict[str, object]:
        """Run the command for a spec and read its result."""
        values = self._values(spec, folder)
        shown = {name: value for name, value in values.items() if name != "python"}
        write_text(folder / "spec.json", json.dumps(shown, indent=1) + "\n")
        results, log = result_of(self.result), folder / self.log
        before = results.before(values, folder)
        start = log.stat().st_size if log.exists() else 0
        self._run(values, log)
        try:
            found = results.read(values, folder, before, _text_from(log, start))
        except CommandFailed:
            raise
        except Exception as error:
            raise CommandFailed(f"{error}{_tail(log)}") from error
        return found

    def _run(self, values: Mapping[str, Value], log: Path) -> None:
        cwd = None if self.cwd is None else filled(os.fspath(self.cwd), values)
        with open(log, "ab") as output:
            guarded = subprocess.Popen(
                [sys.executable, guard.__file__, *self._words(values)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **self._environment(values)},
                start_new_session=True,  # Ctrl-C reaches this process, which then ends the command
            )
        late = False
        try:
            code = guarded.wait(self.timeout)
        except subprocess.TimeoutExpired:
            late = True
        finally:  # a stop, too: the guard ends the command once its pipe is closed
            assert guarded.stdin is not None
            guarded.stdin.close()
            code = _waited(guarded)
        if late:
            raise CommandFailed(
                f"the command took more than its timeout of "
                f"{format_duration(self.timeout or math.inf)}{_tail(log)}"
            )
        number = -code if code < 0 else code - 128
        if 0 < number <= MOST_SIGNAL:
            raise CommandFailed(f"the command is killed by signal: {number}{_tail(log)}")
        if code != 0:
            raise CommandFailed(f"the command ended with exit code {code}{_tail(log)}")

    def _words(self, values: Mapping[str, Value]) -> list[str]:
        if isinstance(self.template, str):
            return ["/bin/sh", "-c", command_line(self.template, values)]
        return [filled(word, values) for word in self.template]

    def _environment(self, values: Mapping[str, Value]) -> dict[str, str]:
        return {name: filled(value, values) for name, value in self.env.items()}

    def _values(self, spec: RunSpec, folder: Path) -> dict[str, Value]:
        return {
            **spec_values(spec),
            "folder": str(folder),
            "spec": str(folder / "spec.json"),
            "python": sys.executable,
        }

    def _check_here(self, values: Mapping[str, Value]) -> None:
        """Raise ContractError where this machine has no such folder or program."""
        template = None if self.cwd is None else os.fspath(self.cwd)
        cwd = None if template is None else filled(template, values)
        if template is not None and "{" not in template and not os.path.isdir(template):
            raise ContractError(
                f"Command: cwd must be a folder, but there is no {one_line(template, 100)}."
            )
        self._check_program(values, cwd)

    def _check_program(self, values: Mapping[str, Value], cwd: str | None) -> None:
        program = self._program(values)
        if program is None:
            return
        path = Path(cwd or ".") / program if "/" in program else None
        if path is None and shutil.which(program) is None and not _is_of_shell(program):
            raise ContractError(
                f"Command: there must be a program {one_line(program, 60)!r}, but none is on PATH; "
                "give its full path, or {python} for this interpreter."
            )
        if path is not None and not os.access(path, os.X_OK):
            raise ContractError(
                f"Command: {one_line(program, 100)} must be a program that can be run, but it "
                f"{'cannot' if path.exists() else 'does not exist'}; check its path."
            )

    def _program(self, values: Mapping[str, Value]) -> str | None:
        """The program that is called first; None where that is for the shell to say."""
        words = self._words(values)
        if not isinstance(self.template, str):
            return words[0]
        try:
            first = shlex.split(words[2])[0]
        except (ValueError, IndexError):
            return None
        return None if set(first) & _SHELL else first


def _is_of_shell(word: str) -> bool:
    """Whether a word is a command of the shell's own, such as cd."""
    asked = subprocess.run(
        ["/bin/sh", "-c", 'command -v -- "$1"', "sh", word], capture_output=True, check=False
    )
    return asked.returncode == 0


def _waited(process: "subprocess.Popen[bytes]") -> int:
    """Exit code of the guard, which needs up to its grace to end the command.

    Nothing of the command is left running, unless it succeeded.
    """
    try:
        code = process.wait(guard.GRACE_SECONDS + 5.0)
    except BaseException:  # a second Ctrl-C, or a guard that hangs
        _kill_group(process)
        raise
    if code != 0:
        _kill_group(process)
    return code


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _text_from(log: Path, start: int) -> str:
    with open(log, "rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _tail(log: Path) -> str:
    """The last lines of the output, as the end of a message."""
    size = log.stat().st_size
    lines = _text_from(log, max(0, size - TAIL_BYTES)).splitlines()[-TAIL_LINES:]
    said = " | ".join(line.strip() for line in lines if line.strip())
    return f"; its output in {log} ends with: {said}" if said else f"; it wrote nothing to {log}"
