"""Stands for `python`: has the server (warm/server.py) fork what python would have started anew.

It passes on its arguments, environment, folder and open files, then signals, and ends as the program does. The server
kills the program where this process is killed.
"""

import array
import json
import os
import signal
import socket
import sys
import threading

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


UNDERSTOOD = ("-c", "-m", "-u", "-B")
COLD = ["-m", "submitit.local._local"]  # a job's number is this process's id, which a fork has not


def main(address, python):
    option = sys.argv[1] if len(sys.argv) > 1 else "-"
    if (option.startswith("-") and option not in UNDERSTOOD) or sys.argv[1:3] == COLD:
        os.execv(python, [python, *sys.argv[1:]])
    end(exit_code(address))


def exit_code(address):
    """The exit code; negative for a signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is a process to pass them to
    files = open_files()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), os.getpgrp(), files])
        connection.sendmsg(
            [len(request.encode()).to_bytes(8, "big")],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))],
        )
        connection.sendall(request.encode())
        for file in files:
            os.close(file)
        pid = int.from_bytes(connection.recv(8), "big")
        # The main thread has to be free for signals, and a signal would not end its wait.
        received, woken = os.pipe()
        code = []
        threading.Thread(target=wait_for_end, args=(connection, code, woken), daemon=True).start()
        for number in PASSED_ON:
            signal.signal(number, lambda number, frame: os.kill(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        os.read(received, 1)
        return code[0]


def wait_for_end(connection, code, woken):
    code.append(int.from_bytes(connection.recv(8) or b"\x01", "big", signed=True))
    os.write(woken, b"!")


def open_files():
    found = []
    for name in os.listdir("/dev/fd"):
        try:
            os.fstat(int(name))
        except OSError:  # of the list itself
            continue
        found.append(int(name))
    return sorted(found)


def end(code):
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)
