"""What ansible-runner starts as `ansible-playbook` for a warm sandbox: hands its tty over and waits for the end.

Run as a script, `python -IS warm_client.py DIRECTORY ALIVE ORDER ARGUMENT...`: the directory of the sandbox's socket, a
pipe to be held open while the play lives, and JSON {play, environment}. When this process ends, however it does, the
sandbox ends the play. It must not import Mergeyard.
"""

import array
import ctypes
import json
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1
KILLED = 137


def main() -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # end with the runner
    directory, alive, order, *argv = sys.argv[1:]
    place = os.open(directory, os.O_PATH)
    sandbox = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sandbox.connect(f"/proc/self/fd/{place}/socket")  # an address may only be so long
    descriptors = array.array("i", [0, 1, 2, os.open(alive, os.O_WRONLY)])
    message = json.dumps({**json.loads(order), "argv": argv}).encode()
    sandbox.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    os.close(descriptors[3])
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    answer = sandbox.recv(16)
    return int(answer) if answer else KILLED


if __name__ == "__main__":
    sys.exit(main())
