"""Run the plugin and kill it just before its n-th effect.

    python3 -IS die.py N LAUNCHER

Effects are: creating, opening for writing, renaming, linking or removing a file, creating a folder,
taking or releasing a lock, starting a delegate, sending a request to the kernel over rtnetlink. The
interpreter reports each to its audit hooks in advance, so the product needs no hook of its own.
Between two effects, only the content of an open file changes.
"""

import os
import signal
import sys

EFFECTS = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.link",
    "os.posix_spawn",
    "fcntl.flock",
    "socket.sendto",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

left = int(sys.argv[1])
launcher = sys.argv[2]


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    global left  # noqa: PLW0603 - a hook has no other memory
    if event == "open":
        flags = arguments[2]
        if not isinstance(flags, int) or not flags & WRITING:
            return
    elif event not in EFFECTS:
        return
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1


with open(launcher) as file:  # noqa: PTH123 - pathlib is not there without the site module's path
    code = compile(file.read(), launcher, "exec")
sys.addaudithook(_hook)
exec(code, {"__file__": launcher, "__name__": "__main__"})  # noqa: S102 - runs the product as it is
