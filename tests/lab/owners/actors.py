"""What the processes of the tests of owners have in common.

Each script tells of each connection, a line on its standard output: the client's
port, the pids of who asked for it and of who served it, and the thread that did
(0: nobody)."""

import os
import select
import socket
import struct
import sys
import threading
import time

LOCAL = "127.0.0.1"


def listen(addr=LOCAL, port=0, family=socket.AF_INET, share=False):
    """A listener: it takes connections as they come."""
    listener = socket.socket(family)
    if share:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((addr, port))
    listener.listen(128)
    return listener


def port_of(end):
    return end.getsockname()[1]


def tell(client_port, client, server=0, thread=0):
    # At once: several processes may have something to tell.
    os.write(1, b"%d %d %d %d\n" % (client_port, client, server, thread))


def child(work):
    """A process that does something and ends. It is not waited for."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(error, file=sys.stderr)
        os._exit(0)
    return pid


def serve(end):
    """Answers one message with who answers it."""
    end.recv(16)
    end.sendall(b"%d %d" % (os.getpid(), threading.get_native_id()))


def ask(port, addr=LOCAL, family=socket.AF_INET):
    """Asks who serves, and tells it."""
    end = socket.socket(family)
    end.connect((addr, port))
    hear(end)
    end.close()


def hear(end):
    """Asks who serves on a connection that is there, and tells it."""
    end.sendall(b"?")
    tell(port_of(end), os.getpid(), *map(int, end.recv(32).split()))


def wait_for(pids):
    for pid in pids:
        os.waitpid(pid, 0)


def pause():
    """Says that all is prepared, and waits until the recorder runs."""
    open("ready", "w").close()
    await_recorder()


def await_recorder():
    while not os.path.exists("go"):
        time.sleep(0.005)
