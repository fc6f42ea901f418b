"""Shows a command and what it prints, as in a terminal; for the pages that run programs."""

import os
import subprocess


def run(command: str, exit_code: int = 0) -> None:
    """Print the command and its output; raises where its exit code is not the one expected."""
    # A notebook's kernel asks programs for colours, which would draw progress as if on a terminal.
    plain = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    ended = subprocess.run(
        command,
        shell=True,
        text=True,
        env=plain,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(f"$ {command}\n{ended.stdout}", end="")
    if ended.returncode != exit_code:
        raise RuntimeError(
            f"{command} ended with code {ended.returncode}:\n{ended.stdout}"
        )
