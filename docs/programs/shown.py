"""Shows a command and what it prints, as in a terminal; for the pages that run programs."""

import subprocess


def run(command: str, exit_code: int = 0) -> None:
    """Print the command and its output; raises where it ends with another code than the one expected."""
    ended = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(f"$ {command}\n{ended.stdout}", end="")
    if ended.returncode != exit_code:
        raise RuntimeError(f"{command} ended with code {ended.returncode}:\n{ended.stdout}")
