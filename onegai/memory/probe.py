"""How much VRAM and RAM there is. A probe that fails says "unknown", which is not 0."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from onegai.errors import ConfigError
from onegai.schema import MOST_GB

MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in MiB."""

    index: int
    name: str
    total: int
    free: int
    by_pid: Mapping[int, int] | None = None
    """What each process has; None: the driver does not say (on WSL2 and in containers)."""
    uuid: str = ""
    """As CUDA_VISIBLE_DEVICES takes it, ``GPU-…``; empty: unknown."""


def vram_of(pids: Collection[int], gpus: Iterable[Gpu]) -> int | None:
    """What these processes have on these GPUs, MiB; None where one of them does not say."""
    total = 0
    for gpu in gpus:
        if gpu.by_pid is None:
            return None
        total += sum(gpu.by_pid.get(pid, 0) for pid in pids)
    return total


@dataclass(frozen=True)
class Memory:
    """One reading, MiB. ``gpus`` None: unknown. Empty: no GPU."""

    gpus: tuple[Gpu, ...] | None
    ram_total: int
    ram_free: int
    fake: bool = False


class Probe(Protocol):
    """Reads the machine's memory. May take tens of milliseconds: call it in a thread."""

    def read(self, declared: Mapping[int, int]) -> Memory:
        """One reading; never raises.

        ``declared``: MiB per GPU index that the running services say they use. A real probe
        measures instead.
        """
        ...


class MachineProbe:
    """NVML through nvidia-ml-py, then nvidia-smi; RAM by psutil.

    NVML stays open from the first reading on, as opening it can take longer than all the rest.
    """

    def __init__(self) -> None:
        self._open = False

    def read(self, _declared: Mapping[int, int]) -> Memory:
        """One reading of the real machine."""
        ram = psutil.virtual_memory()
        gpus = self._by_nvml()
        if gpus is None:
            gpus = _by_nvidia_smi()
        return Memory(gpus, ram.total // MIB, ram.available // MIB)

    def _by_nvml(self) -> tuple[Gpu, ...] | None:
        """Empty: the driver's library is not there. None: it is there, and fails."""
        import pynvml

        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
            return tuple(_gpu(index) for index in range(pynvml.nvmlDeviceGetCount()))
        except pynvml.NVMLError_LibraryNotFound:
            return None if shutil.which("nvidia-smi") else ()
        except pynvml.NVMLError:
            self._open = False
            return None


class FakeProbe:
    """Pretends GPUs of the given sizes (``ONEGAI_FAKE_GPU``, GB). RAM is real.

    What services declare counts as used, as if each took all of it and nothing else had any.
    """

    def __init__(self, sizes_gb: tuple[float, ...]) -> None:
        self._sizes = tuple(round(size * 1024) for size in sizes_gb)

    def read(self, declared: Mapping[int, int]) -> Memory:
        """The pretended GPUs and the real RAM."""
        ram = psutil.virtual_memory()
        gpus = tuple(
            Gpu(index, f"fake {size / 1024:g} GB", size, max(size - declared.get(index, 0), 0))
            for index, size in enumerate(self._sizes)
        )
        return Memory(gpus, ram.total // MIB, ram.available // MIB, fake=True)


def machine_probe() -> Probe:
    """The real machine, or the fake that ONEGAI_FAKE_GPU ("12" or "12,24") asks for.

    Raises ConfigError when that is no list of numbers.
    """
    fake = os.environ.get("ONEGAI_FAKE_GPU")
    if fake is None:
        return MachineProbe()
    try:
        sizes = tuple(float(size) for size in fake.split(",") if size.strip())
        if not all(0 <= size <= MOST_GB for size in sizes):
            raise ValueError
    except ValueError:
        raise ConfigError(
            where="environment variable ONEGAI_FAKE_GPU",
            reason=f"{fake!r} is not a list of GB",
            do='set it to "12", or "12,24" for two GPUs',
        ) from None
    return FakeProbe(sizes)


def _gpu(index: int) -> Gpu:
    """One GPU by NVML, which must be open. Raises NVMLError."""
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = str(pynvml.nvmlDeviceGetName(handle))
    try:
        users = [
            *pynvml.nvmlDeviceGetComputeRunningProcesses(handle),
            *pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
        ]
    except pynvml.NVMLError:
        users = None
    by_pid: dict[int, int] | None = None
    if (
        users is not None
        and _pids_are_ours()
        and all(user.usedGpuMemory is not None for user in users)
    ):
        # A process that computes and draws is in both lists, each time with all of its memory.
        by_pid = {int(user.pid): int(user.usedGpuMemory) // MIB for user in users}
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    return Gpu(index, name, int(memory.total) // MIB, int(memory.free) // MIB, by_pid, uuid)


def _pids_are_ours() -> bool:
    """Does this process see the pids that the driver does, those of the first pid namespace?

    Its inode never changes: PROC_PID_INIT_INO in Linux' include/linux/proc_ns.h.
    """
    return Path("/proc/self/ns/pid").stat().st_ino == 0xEFFFFFFC


def _by_nvidia_smi() -> tuple[Gpu, ...] | None:
    """The same from the command's CSV output (MiB); None when it does not answer."""
    facts = "index,name,memory.total,memory.free,uuid"
    query = [f"--query-gpu={facts}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, timeout=10, check=True
        )
        rows = [line.split(", ") for line in answer.stdout.splitlines() if line.strip()]
        return tuple(
            Gpu(int(index), name, int(total), int(free), uuid=uuid)
            for index, name, total, free, uuid in rows
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
