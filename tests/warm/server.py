"""Programs that begin at once: a process that has loaded torch forks one for each call of a stand-in of `python`.

Loading torch and what training needs takes seconds, in each program and each of its workers. A forked program is a
process of its own like any other, but what it would load is loaded already, and its hashes are salted as the others'.
"""

import atexit
import fcntl
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from array import array
from contextlib import suppress
from importlib import import_module
from multiprocessing.spawn import set_executable
from pathlib import Path
from types import ModuleType

LOADED = (
    "torch._dynamo",  # by the first step of an optimiser
    "accelerate",
    "cloudpickle",
    "isoflop.stages",
    "isoflop.training.loop",
    "isoflop.training.executors.work",
    "isoflop.training.executors.worker",
)
LOADED_IF_INSTALLED = ("submitit",)
MOST_FILES = 250  # that one message carries


def serve(folder):
    """Fork programs until the standard input ends. Returns, in each fork, the arguments of its program."""
    for name in LOADED:
        import_module(name)
    for name in LOADED_IF_INSTALLED:
        with suppress(ImportError):
            import_module(name)
    selector, callers = selectors.DefaultSelector(), {}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for source in (listener, woken, 0):
        selector.register(source, selectors.EVENT_READ)
    gc.freeze()  # so that no fork goes through what all share
    print("ready", flush=True)
    parent = os.getppid()
    while True:
        for key, _ in selector.select(timeout=5):
            if key.fileobj is listener:
                caller, _ = listener.accept()
                try:
                    request, files = receive(caller)
                except ConnectionResetError:
                    continue
                pid = os.fork()
                if pid == 0:
                    # what is left to be freed would close files of the program that have its numbers
                    for left in (selector, listener, caller, *callers.values()):
                        left.close()
                    return become(request, files)
                for file in files:
                    os.close(file)
                callers[pid] = caller
                selector.register(caller, selectors.EVENT_READ, pid)
                with suppress(OSError):  # it was killed: selected below
                    caller.sendall(pid.to_bytes(8, "big"))
            elif key.fileobj == woken:
                os.read(woken, 1000)
                for pid, code in ended():
                    caller = callers.pop(pid)
                    with suppress(KeyError):
                        selector.unregister(caller)
                    with suppress(OSError), caller:
                        caller.sendall(code.to_bytes(8, "big", signed=True))
            elif key.fileobj == 0:
                end_all(callers)
            elif key.data in callers:  # its caller was killed, since it sends nothing
                selector.unregister(key.fileobj)
                os.kill(key.data, signal.SIGKILL)
        if os.getppid() != parent:  # killed, and others still hold our input open
            end_all(callers)


def end_all(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)  # not yet waited for, so it cannot be another's
    os._exit(0)


def ended():
    """Process ids and exit codes of the programs that have ended."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            yield found[0], os.waitstatus_to_exitcode(found[1])


def receive(caller):
    """What a caller asks for, and its open files."""
    files = array("i")
    size, control, *_ = caller.recvmsg(8, socket.CMSG_SPACE(MOST_FILES * files.itemsize))
    for _, _, data in control:
        files.frombytes(data)
    left = int.from_bytes(size, "big")
    parts = []
    while left:
        part = caller.recv(left)
        if not part:
            raise ConnectionResetError("the caller was killed")
        parts.append(part)
        left -= len(part)
    return json.loads(b"".join(parts)), list(files)


def become(request, files):
    """Take over a caller's environment, folder and open files; its arguments are returned."""
    arguments, folder, environment, group, numbers = request
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        os.setpgid(0, group)
    except PermissionError:  # the caller is of another session
        os.setsid()
    above = max([*files, *numbers]) + 1
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in files]
    os.closerange(0, above)
    for file, number in zip(moved, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *INSTALLED]
    return arguments


def run(arguments):
    """As `python arguments` does."""
    while arguments[0] in ("-u", "-B"):
        option, *arguments = arguments
        if option == "-u":
            sys.stdout.reconfigure(write_through=True)
        else:
            sys.dont_write_bytecode = True
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = ModuleType("__main__")
    if arguments[0] == "-c":
        sys.argv, text, name = ["-c", *arguments[2:]], arguments[1], "<string>"
        sys.path.insert(0, "")
    else:
        sys.argv, name = arguments, arguments[0]
        text = Path(name).read_text()
        main.__file__ = name
        sys.path.insert(0, str(Path(name).resolve().parent))
    exec(compile(text, name, "exec"), main.__dict__)


def write_python(folder):
    """The stand-in of python in a folder that is served."""
    client = (Path(__file__).parent / "client.py").read_text()
    call = f"main({str(folder / 'socket')!r}, {sys.executable!r})"
    python = folder / "python"
    python.write_text(f"#!{sys.executable} -SEs\n{client}\n\n{call}\n")
    python.chmod(0o700)
    return python


def main(folder):
    arguments = serve(folder)
    sys.executable = str(folder / "python")
    set_executable(sys.executable)
    code = 1
    try:
        run(arguments)
        code = 0
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            print(error.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exception(error)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    end(code)


def end(code):
    """As python ends, without taking apart all that is loaded, which takes longer than most programs."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code & 255)


if __name__ == "__main__":
    # Where packages are: without this file's folder and those of PYTHONPATH, which each caller names.
    NAMED = {os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    INSTALLED = [path for path in sys.path[1:] if os.path.abspath(path) not in NAMED]
    main(Path(sys.argv[1]))
