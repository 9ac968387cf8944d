"""Lets our own modules see Python as it is on Windows: without the modules, functions and signals of POSIX.

Libraries keep what they have here. `install()` comes before the first import of our packages.
"""

import builtins
import os
import signal
from types import ModuleType

OURS = ("shared_tmu", "toy_demo", "hamer_tmu")
MODULES = {"crypt", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
LACKS = """
PRIO_PROCESS O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC WNOHANG chown chroot fchdir fchmod fchown
fdatasync fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpriority getuid killpg lchown
lockf memfd_create mkfifo mknod nice openpty posix_fadvise posix_fallocate pread preadv pwrite pwritev
sched_getaffinity sched_setaffinity sendfile setpriority setsid setuid statvfs sync sysconf ttyname uname
wait wait3 wait4
SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 alarm pthread_sigmask
setitimer siginterrupt
"""
NAMES = set(LACKS.split())


class _Without(ModuleType):
    """A module without these names."""

    def __init__(self, real):
        super().__init__(real.__name__)
        self.__dict__["real"] = real

    def __getattr__(self, name):
        if name in NAMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self.__dict__["real"], name)


def install():
    """From now on."""
    plain, seen = builtins.__import__, {"os": _Without(os), "signal": _Without(signal)}

    def load(name, globals=None, locals=None, fromlist=(), level=0):
        who = (globals or {}).get("__name__", "").partition(".")[0]
        if who in OURS and level == 0:
            if name in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in seen:
                return seen[name]
        return plain(name, globals, locals, fromlist, level)

    builtins.__import__ = load
