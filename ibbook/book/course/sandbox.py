"""Student code runs where it sees no network, no other submission and no hidden test.

`unshare` of util-linux gives a process its own view of the machine, where the system lets it. The
limits on memory, files and processes hold everywhere.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import ibbook
from ibbook.book.folders import BookError

PACKAGE = Path(ibbook.__file__).parent
SYSTEM = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/fonts",
    "/etc/passwd",
]
LIBRARIES = 16 << 30  # bytes of addresses that a torch built for CUDA may map besides its data

# Root of a world of its own, then `ro PATH` and `rw PATH`, --, and a command. All of the old world
# is gone before the command runs, and with it every right to bring it back.
SCRIPT = """
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
echo 0 > /proc/sys/user/max_user_namespaces
root=$1; work=$2; shift 2
mount -t tmpfs -o size=1m,mode=755 none "$root"
mkdir -p "$root/dev/shm" "$root/proc" "$root/tmp" "$root/old"
mount -t tmpfs -o size=64m none "$root/dev/shm"
mount -t tmpfs -o size=64m none "$root/tmp"
mount -t proc -o ro,nosuid,nodev,noexec none "$root/proc"
share() { mount --rbind "$1" "$root$1"; }
while [ "$1" != -- ]; do
    if [ -d "$2" ]; then mkdir -p "$root$2"; share "$2"
    elif [ -e "$2" ]; then mkdir -p "$root${2%/*}"; : > "$root$2"; share "$2"
    else shift 2; continue; fi
    if [ "$1" = ro ]; then
        mount -o remount,bind,ro,nosuid,nodev "$root$2" 2>/dev/null ||
            mount -o remount,bind,ro,nosuid,nodev,noexec "$root$2"
    fi
    shift 2
done
shift
for device in null zero random urandom; do : > "$root/dev/$device"; share /dev/$device; done
cd "$root"
pivot_root . old
umount -l /old
rmdir /old
mount -o remount,ro /
cd "$work"
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


class Limits(NamedTuple):
    """What student code may use.

    `cell` and `notebook` are seconds, `memory` GiB of data, `output` characters of a cell.
    """

    cell: float = 10
    notebook: float = 60
    memory: float = 4
    output: int = 100_000


def command(work: Path, sockets: Path, limits: Limits, *, closed: bool) -> list[str]:
    """What stands before a kernel's own command line.

    Where `closed`, it sees of the machine: the system's programs, Python, the package, and its two
    folders `work` and `sockets`.
    """
    environment = {
        "HOME": work, "IPYTHONDIR": work, "MPLCONFIGDIR": work, "PYTHONPATH": PACKAGE.parent,
        "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "JPY_PARENT_PID": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }  # fmt: skip
    data = int(limits.memory * 2**30)
    limited = [
        "prlimit", f"--data={data}", f"--as={data + LIBRARIES}", "--core=0",
        f"--fsize={64 << 20}", "--nofile=512",
        *(["--nproc=2048"] if closed else []),  # else all processes of the user count
        "env", "-i", *(f"{name}={value}" for name, value in environment.items()),
    ]  # fmt: skip
    if not closed:
        return limited
    root = work.with_name("root")
    root.mkdir(exist_ok=True)
    seen = [*SYSTEM, sys.prefix, sys.base_prefix, str(PACKAGE)]
    return [
        "unshare", "-r", "-n", "-m", "-p", "-i", "-u", "-f", "--kill-child", "--mount-proc",
        "sh", "-c", SCRIPT, "sh", str(root), str(work),
        *(word for path in dict.fromkeys(seen) for word in ("ro", path)),
        "rw", str(work), "rw", str(sockets), "--", *limited,
    ]  # fmt: skip


@functools.cache
def closed() -> bool:
    """Whether this machine lets us close student code in."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ib-") as top:
        work, sockets = Path(top, "work"), Path(top, "k")
        work.mkdir(), sockets.mkdir()
        trial = command(work, sockets, Limits(), closed=True)
        try:
            done = subprocess.run([*trial, "true"], capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def limited() -> None:
    """Refuse to run student code where not even the limits hold."""
    try:
        subprocess.run(["prlimit", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise BookError(
            "student code needs prlimit of util-linux (Linux only); install it"
        ) from None


OPEN = """\
WARNING: this system does not let `unshare` close student code in. It runs with limits of time,
memory, output and file size, but it CAN use the network, read every file that you can read (hidden
tests and other submissions among them), write and delete your files, and leave processes behind.
Grade on a machine of its own that holds nothing else, or where `unshare -r true` succeeds."""
