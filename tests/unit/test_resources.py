"""The probes: unknown is not none, and a fake says that it is one."""

import shutil
from pathlib import Path

import psutil
import pynvml
import pytest

from onegai import resources
from onegai.resources import FakeProbe, Gpu, MachineProbe, machine_probe


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


@pytest.mark.usefixtures("path_folder", "broken_nvml")
def test_failing_driver_is_unknown() -> None:
    assert MachineProbe().read({}).gpus is None


@pytest.mark.usefixtures("broken_nvml")
def test_nvidia_smi_is_asked_next(path_folder: Path) -> None:
    smi(path_folder, "0, NVIDIA GeForce RTX 3060, 12288, 11000\n1, Tesla T4, 15360, 0")
    assert MachineProbe().read({}).gpus == (
        Gpu(0, "NVIDIA GeForce RTX 3060", 12288, 11000),
        Gpu(1, "Tesla T4", 15360, 0),
    )


@pytest.mark.usefixtures("no_nvml")
@pytest.mark.parametrize(
    ("output", "status"),
    [("No devices were found", 0), ("0, GPU, [N/A], [N/A]", 0), ("0, GPU, 12288, 11000", 9)],
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


def test_without_the_variable_it_is_the_real_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEGAI_FAKE_GPU", raising=False)
    assert isinstance(machine_probe(), MachineProbe)


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU")
def test_real_gpu() -> None:
    gpus = MachineProbe().read({}).gpus
    assert gpus
    assert all(0 <= gpu.free <= gpu.total for gpu in gpus)
