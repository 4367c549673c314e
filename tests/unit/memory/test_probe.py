"""The probes: unknown is not none, and a fake says that it is one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from onegai.errors import ConfigError
from onegai.memory import probe as resources
from onegai.memory.probe import FakeProbe, Gpu, MachineProbe, machine_probe


def smi(folder: Path, output: str, status: int = 0) -> None:
    """A program named nvidia-smi that prints this."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {status}\n")
    program.chmod(0o755)


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH, on a machine whose nvidia-smi, if any, is hidden."""
    folder = tmp_path / "bin"
    folder.mkdir()
    cat, shell = Path("/bin/cat"), Path("/bin/sh")
    (folder / "cat").symlink_to(cat)
    (folder / "sh").symlink_to(shell)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", missing)


@pytest.fixture
def broken_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise pynvml.NVMLError_DriverNotLoaded

    monkeypatch.setattr(pynvml, "nvmlInit", broken)


def test_ram_is_the_machine_s() -> None:
    memory = MachineProbe().read({})
    assert memory.ram_total == psutil.virtual_memory().total // resources.MIB
    assert 0 < memory.ram_free <= memory.ram_total
    assert not memory.fake


@pytest.mark.usefixtures("path_folder", "no_nvml")
def test_no_driver_is_no_gpu() -> None:
    assert MachineProbe().read({}).gpus == ()


class Driver:
    """Two GPUs as NVML tells of them; the second does not say whose memory it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = 0
        self.broken = False
        monkeypatch.setattr(pynvml, "nvmlInit", self.open)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", self.count)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", self.memory)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda index: f"card {index}")
        monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda index: f"GPU-{index}f3a")
        monkeypatch.setattr(resources, "_pids_are_ours", lambda: True)
        compute, drawing = self.processes((11, 3000), (12, 500)), self.processes((12, 500))
        for name, users in (("Compute", compute), ("Graphics", drawing)):
            monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}RunningProcesses", users)

    def open(self) -> None:
        self.opened += 1

    def count(self) -> int:
        if self.broken:
            raise pynvml.NVMLError_GpuIsLost
        return 2

    def memory(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(total=12288 * resources.MIB, free=(8000 + index) * resources.MIB)

    @staticmethod
    def processes(*users: tuple[int, int]) -> Callable[[int], list[SimpleNamespace]]:
        return lambda index: [
            SimpleNamespace(pid=pid, usedGpuMemory=None if index else mib * resources.MIB)
            for pid, mib in users
        ]


@pytest.mark.usefixtures("path_folder")
def test_nvml_is_opened_once_and_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, probe = Driver(monkeypatch), MachineProbe()
    expected = (
        Gpu(0, "card 0", 12288, 8000, {11: 3000, 12: 500}, "GPU-0f3a"),
        Gpu(1, "card 1", 12288, 8001, uuid="GPU-1f3a"),
    )
    assert probe.read({}).gpus == expected == probe.read({}).gpus
    assert driver.opened == 1
    driver.broken = True
    assert probe.read({}).gpus is None
    driver.broken = False
    assert probe.read({}).gpus == expected
    assert driver.opened == 2


@pytest.mark.usefixtures("path_folder")
def test_in_a_container_the_pids_of_the_driver_mean_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Driver(monkeypatch)
    monkeypatch.setattr(resources, "_pids_are_ours", lambda: False)
    gpus = MachineProbe().read({}).gpus
    assert gpus is not None
    assert [gpu.by_pid for gpu in gpus] == [None, None]


def test_vram_of_processes() -> None:
    known = Gpu(0, "a", 12288, 8000, {11: 3000, 12: 500})
    assert resources.vram_of([11, 99], [known]) == 3000
    assert resources.vram_of([11, 12], [known, known]) == 7000
    assert resources.vram_of([11], [known, Gpu(1, "b", 12288, 8000)]) is None
    assert resources.vram_of([11], []) == 0


@pytest.mark.usefixtures("path_folder", "broken_nvml")
def test_failing_driver_is_unknown() -> None:
    assert MachineProbe().read({}).gpus is None


@pytest.mark.usefixtures("broken_nvml")
def test_nvidia_smi_is_asked_next(path_folder: Path) -> None:
    rows = [
        "0, NVIDIA GeForce RTX 3060, 12288, 11000, GPU-8932f937",
        "1, Tesla T4, 15360, 0, GPU-1",
    ]
    smi(path_folder, "\n".join(rows))
    assert MachineProbe().read({}).gpus == (
        Gpu(0, "NVIDIA GeForce RTX 3060", 12288, 11000, uuid="GPU-8932f937"),
        Gpu(1, "Tesla T4", 15360, 0, uuid="GPU-1"),
    )


@pytest.mark.usefixtures("no_nvml")
@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("No devices were found", 0),
        ("0, GPU, [N/A], [N/A], GPU-1", 0),
        ("0, GPU, 12288, 11000, GPU-1", 9),
    ],
)
def test_nvidia_smi_that_fails_is_unknown(path_folder: Path, output: str, status: int) -> None:
    smi(path_folder, output, status)
    assert MachineProbe().read({}).gpus is None


@pytest.mark.parametrize(
    ("text", "totals"), [("12", [12288]), ("12,24", [12288, 24576]), ("0.5,", [512]), ("", [])]
)
def test_fake(monkeypatch: pytest.MonkeyPatch, text: str, totals: list[int]) -> None:
    monkeypatch.setenv("ONEGAI_FAKE_GPU", text)
    probe = machine_probe()
    assert isinstance(probe, FakeProbe)
    memory = probe.read({})
    assert memory.fake
    assert memory.gpus is not None
    assert [(gpu.index, gpu.total, gpu.free) for gpu in memory.gpus] == [
        (index, total, total) for index, total in enumerate(totals)
    ]


@pytest.mark.parametrize("text", ["lots", "inf", "nan", "-1", "1e300", "12;24"])
def test_fake_that_is_no_gpu(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ONEGAI_FAKE_GPU", text)
    with pytest.raises(ConfigError, match="ONEGAI_FAKE_GPU"):
        machine_probe()


def test_without_the_variable_it_is_the_real_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEGAI_FAKE_GPU", raising=False)
    assert isinstance(machine_probe(), MachineProbe)


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU")
def test_real_gpu() -> None:
    gpus = MachineProbe().read({}).gpus
    assert gpus
    assert all(0 <= gpu.free <= gpu.total for gpu in gpus)
