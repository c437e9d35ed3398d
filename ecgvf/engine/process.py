"""The process of one GPU: ``python -m ecgvf.engine.process FD`` answers calls that come through a pipe."""

import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from ecgvf.core.errors import EcgvfError
from ecgvf.core.shard_set import BatchTooLarge
from ecgvf.engine.host import Host


def serve(connection: "Connection[Any, Any]") -> None:
    """Answer calls of ``Host``'s methods until the driver closes the pipe, or dies."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    setups, host = connection.recv_bytes(), None
    connection.send_bytes(cloudpickle.dumps(None))  # started
    while True:
        call = connection.recv_bytes()
        try:
            method, arguments = cloudpickle.loads(call)
            host = host or Host(cloudpickle.loads(setups))
            answer = getattr(host, method)(*arguments)
        except Exception as error:
            if not isinstance(error, EcgvfError | BatchTooLarge):
                error.add_note("".join(traceback.format_exception(error)))  # which pickling loses
            answer = error
        connection.send_bytes(cloudpickle.dumps(answer))
        del answer  # an error holds the frames that raised it, and with them a batch that did not fit in memory


def _end_with(parent: int) -> None:
    """End with the driver even amid a shard, so that the GPU is free for the run that resumes."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    os.dup2(2, 1)  # standard output is the driver's
    with suppress(EOFError, OSError):  # the driver has ended
        serve(Connection(int(sys.argv[1])))
