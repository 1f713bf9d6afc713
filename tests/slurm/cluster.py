"""SLURM on one node, for tests: `python -m tests.slurm.cluster start FOLDER` and `... stop FOLDER`.

All that it makes lies in the folder. A SLURM that may already run on the machine is not touched: munged has a socket
and a key of its own, slurmctld and slurmd ports of their own. Packages slurm-wlm and munge are installed with apt-get
if they are missing, and stay.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_DAEMONS = ("slurmd", "slurmctld", "munged")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
_WITHIN_S = 60.0
_CPUS = 4  # claimed, whatever the machine has: tests hardly compute

_CONFIG = """\
ClusterName=facelab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
# A requeued job may start again when the credential of its first start has expired. 5 is the least it takes.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
# Without cgroups, this is how a job that takes too much memory is ended.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=2,batch_sched_delay=0
KillWait=5
MinJobAge=300
ReturnToService=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mib} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=10 State=UP
"""


def start(folder: Path) -> Path:
    """Start a cluster of one node and wait until the node is idle.

    Args:
        folder: must not exist.

    Returns:
        Its slurm.conf: SLURM's commands speak to this cluster where the environment variable SLURM_CONF names it.
    """
    _install()
    if folder.exists():
        raise SystemExit(f"{folder} exists already. If a cluster runs in it, stop that first.")
    folder.mkdir(mode=0o755, parents=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    config = folder / "slurm.conf"
    config.write_text(
        _CONFIG.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            controller_port=_free_port(),
            node_port=_free_port(),
            cpus=_CPUS,
            memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        )
    )
    try:
        _start_munged(folder / "munge")
        _run("slurmctld", "-f", str(config))
        _run("slurmd", "-f", str(config))
        _wait_till_idle(config)
    except BaseException:
        for log in folder.glob("**/*.log"):
            print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
        stop(folder)
        raise
    return config


def stop(folder: Path) -> None:
    """Cancel all jobs, end all daemons, remove the folder."""
    config = folder / "slurm.conf"
    if (folder / "slurmctld.pid").is_file():
        _run(
            "scancel",
            "--quiet",
            "--state=RUNNING",
            "--signal=KILL",
            "--batch",
            "--user=root",
            config=config,
            check=False,
        )
        _run("scancel", "--quiet", "--user=root", config=config, check=False)
        _wait_till_empty(config)
    for name in _DAEMONS:
        for path in folder.glob(f"**/{name}.pid"):
            _end(int(path.read_text()))
    shutil.rmtree(folder)


def _install() -> None:
    if os.geteuid() != 0:
        raise SystemExit(
            "The SLURM tests need root: they start munged, slurmctld and slurmd, and install what is missing."
        )
    if all(shutil.which(program, path=_PATH) for program in _PROGRAMS):
        return
    if not shutil.which("apt-get"):
        raise SystemExit("SLURM is missing, and there is no apt-get: install slurm (20.11 or newer) and munge by hand.")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = ["apt-get", "install", "--yes", "--no-install-recommends", "slurm-wlm", "munge"]
    for command in (["apt-get", "update"], packages):
        print(" ".join(command), flush=True)
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _start_munged(folder: Path) -> None:
    """As its own user: it refuses keys and sockets that others could change."""
    folder.mkdir(mode=0o711)
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    user = pwd.getpwnam("munge")
    for path in (folder, key):
        os.chown(path, user.pw_uid, user.pw_gid)
    places = {
        "socket": "socket",
        "key-file": "key",
        "pid-file": "munged.pid",
        "log-file": "munged.log",
        "seed-file": "seed",
    }
    options = [f"--{option}={folder / name}" for option, name in places.items()]
    _run("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "munged", *options)


def _wait_till_idle(config: Path) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while "idle" not in _run("sinfo", "--noheader", "--format=%t", config=config, check=False):
        if time.monotonic() > deadline:
            raise SystemExit(f"The node is not idle after {_WITHIN_S:.0f} s; the logs above may say why.")
        time.sleep(0.2)


def _wait_till_empty(config: Path) -> None:
    deadline = time.monotonic() + 20
    while _run("squeue", "--noheader", config=config, check=False) and time.monotonic() < deadline:
        time.sleep(0.2)


def _end(pid: int) -> None:
    """End a daemon, and wait until it has gone."""
    for number, within_s in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + within_s
        try:
            os.kill(pid, number)
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.1)
        except ProcessLookupError:
            return


def _run(*command: str, config: Path | None = None, check: bool = True) -> str:
    environment = {**os.environ, "PATH": _PATH, **({"SLURM_CONF": str(config)} if config else {})}
    done = subprocess.run(command, env=environment, check=False, text=True, capture_output=True)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """The command line."""
    match sys.argv[1:]:
        case ["start", folder]:
            print(f"export SLURM_CONF={start(Path(folder).absolute())}")
        case ["stop", folder]:
            stop(Path(folder).absolute())
        case _:
            raise SystemExit("start FOLDER, or stop FOLDER")


if __name__ == "__main__":
    main()
