"""A SLURM of two nodes on this machine, with its files in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.tracking.server import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
PATIENCE_S = 60.0
POLL_S = 0.2
NODES = ("node1", "node2")

CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthInfo=socket={root}/munge.socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
{requeue}
KillWait=10
NodeName={first} NodeHostname=localhost NodeAddr=127.0.0.1 Port={first_port} CPUs=2 RealMemory=4000
NodeName={second} NodeHostname=localhost NodeAddr=127.0.0.1 Port={second_port} CPUs=2 RealMemory=4000
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
"""Ten seconds before what goes back into the queue may start: twice the time for which credentials are valid."""


def missing() -> str | None:
    """Return why SLURM cannot be started here."""
    if os.getuid() != 0:
        return "SLURM is started as root"
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(lacking)}; make test-slurm" if lacking else None


class Scheduler:
    """The daemons, and the commands that talk to them."""

    def __init__(self, root: Path):
        self._root = root
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports = [free_port() for _ in range(3)]
        self.environment = {"SLURM_CONF": str(root / "slurm.conf")}

    def start(self) -> None:
        (self._root / "state").mkdir()
        self._configure("")
        key = self._root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {
            "socket": "munge.socket",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
            "seed-file": "munge.seed",
        }
        options = [f"--{option}={self._root / name}" for option, name in files.items()]
        self._run("munged", "--force", "--foreground", f"--key-file={key}", *options)
        _wait_for((self._root / "munge.socket").exists, "munged")
        self._run("slurmctld", "-D")
        for node in NODES:
            (self._root / f"spool-{node}").mkdir()
            self._run("slurmd", "-D", "-N", node)
        _wait_for(lambda: self._idle() == len(NODES), "all nodes")

    def requeue_by_itself(self, *, on: bool) -> None:
        """Let the exit code 75 alone put a job back into the queue, or not."""
        self._configure("RequeueExit=75" if on else "")
        self.ask("scontrol", "reconfigure")
        _wait_for(lambda: self._idle() == len(NODES), "all nodes")

    def _configure(self, requeue: str) -> None:
        port, first_port, second_port = self._ports
        first, second = NODES
        (self._root / "slurm.conf").write_text(
            CONFIGURATION.format(
                root=self._root,
                port=port,
                first=first,
                second=second,
                first_port=first_port,
                second_port=second_port,
                requeue=requeue,
            )
        )

    def _run(self, program: str, *arguments: str) -> None:
        with (self._root / f"{program}.txt").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [program, *arguments],
                    env={**os.environ, **self.environment},
                    stdout=log,
                    stderr=log,
                    cwd=self._root,
                )
            )

    def _idle(self) -> int:
        return (
            self.ask("sinfo", "--Node", "--noheader", "--partition=low", "--format=%t", check=False)
            .split()
            .count("idle")
        )

    def ask(
        self, *command: str, folder: Path | None = None, variables: Mapping[str, str] = {}, check: bool = True
    ) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, **variables, **self.environment},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def submit(self, *arguments: str, folder: Path, variables: Mapping[str, str] = {}) -> Job:
        said = self.ask("sbatch", "--parsable", *arguments, folder=folder, variables=variables)
        return Job(self, said.strip())

    def close(self) -> None:
        self.ask("scancel", "--user=root", check=False)
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Job:
    """A job, as SLURM knows it."""

    def __init__(self, scheduler: Scheduler, number: str):
        self._scheduler = scheduler
        self.number = number

    def facts(self) -> dict[str, str]:
        said = self._scheduler.ask("scontrol", "show", "job", self.number)
        return dict(re.findall(r"(\w+)=(\S*)", said))

    @property
    def state(self) -> str:
        return self.facts()["JobState"]

    def cancel(self) -> None:
        self._scheduler.ask("scancel", self.number)


def _wait_for(ready: object, what: str) -> None:
    assert callable(ready)
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(POLL_S)


@contextlib.contextmanager
def slurm() -> Iterator[Scheduler]:
    root = Path(tempfile.mkdtemp(prefix="sweeper-slurm-"))
    root.chmod(0o755)  # munged trusts no folder that others may write to
    scheduler = Scheduler(root)
    try:
        scheduler.start()
        yield scheduler
    finally:
        scheduler.close()
        shutil.rmtree(root, ignore_errors=True)
