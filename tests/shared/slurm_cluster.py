"""A SLURM cluster of one node on this machine, real but small: munge, controller and node as processes of ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
_PATIENCE = 60.0

_CONF = """
ClusterName=small
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
KillWait=2
CompleteWait=0
JobRequeue=1
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, ``None`` where one can."""
    missing = [program for program in PROGRAMS if _path(program) is None]
    if missing:
        return f"there is no {missing[0]} (Debian: apt-get install slurmctld slurmd slurm-client munge)"
    return None if os.getuid() == 0 else "slurmd runs as root"


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[Path]:
    """Run a cluster while the context is open; yield its slurm.conf, which SLURM_CONF has to name."""
    for name in ("state", "spool", "log"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    conf, key, munge = folder / "slurm.conf", folder / "munge.key", folder / "munge.socket"
    conf.write_text(_CONF.format(folder=folder, host=host, controller=_port(), node=_port()))
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    folder.chmod(0o755)
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    beside = [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "seed", "log")]
    with contextlib.ExitStack() as stack:
        for number, command in enumerate((
            ("munged", "--foreground", "--force", f"--socket={munge}", f"--key-file={key}", *beside),
            ("slurmctld", "-D", "-i"),
            ("slurmd", "-D"),
        )):  # fmt: skip
            log = stack.enter_context(open(folder / "log" / command[0], "wb"))
            process = subprocess.Popen(
                [str(_path(command[0])), *command[1:]], env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
            stack.callback(_stop, process)
            _wait(process, munge.exists if number == 0 else lambda: True, folder)
        _wait(process, lambda: _says(environment, "sinfo", "-h", "-o", "%T") == "idle", folder)
        try:
            yield conf
        finally:
            with contextlib.suppress(subprocess.SubprocessError):
                subprocess.run(["scancel", "-u", "root"], env=environment, capture_output=True, timeout=10)
                _wait(process, lambda: not _says(environment, "squeue", "-h"), folder)


def _wait(process, done, folder: Path) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + _PATIENCE
    while not done():
        if process.poll() is not None or time.monotonic() > end:
            said = "\n".join(file.read_text(errors="replace")[-600:] for file in (folder / "log").iterdir())
            raise RuntimeError(f"the cluster does not come up:\n{said}")
        time.sleep(0.1)


def _says(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20).stdout.strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _path(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
