"""The real client of jetson-stats, and its real service on a board of files: see tests/doubles/jtop_real."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from doubles.environment import HERE

from tlee.errors import UsageError
from tlee.power.jtop import Jtop
from tlee.power.recorder import Recorder

INTERVAL = 0.1


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def nano(sys_folder, milliwatts=3100):
    """The files of a Jetson Nano on JetPack 4 that jetson-stats reads (jtop/core/power.py and gpu.py there)."""
    monitor = sys_folder / "bus/i2c/devices/6-0040"
    write(monitor / "name", "ina3221x\n")
    for number, (rail, power) in enumerate({"POM_5V_IN": milliwatts, "POM_5V_GPU": 400, "POM_5V_CPU": 900}.items()):
        write(monitor / f"iio:device0/rail_name_{number}", rail + "\n")
        write(monitor / f"iio:device0/in_voltage{number}_input", "5000\n")
        write(monitor / f"iio:device0/in_current{number}_input", f"{power // 5}\n")
        write(monitor / f"iio:device0/in_power{number}_input", f"{power}\n")
        write(monitor / f"iio:device0/warn_current_limit_{number}", "32760 ma\n")
    gpu = sys_folder / "devices/57000000.gpu"
    write(gpu / "of_node/name", "gpu\0")
    write(gpu / "load", "420\n")
    write(gpu / "devfreq/57000000.gpu/cur_freq", "921600000\n")
    (gpu / "devfreq/57000000.gpu/device").symlink_to(gpu)
    (sys_folder / "class/devfreq").mkdir(parents=True)
    (sys_folder / "class/devfreq/57000000.gpu").symlink_to(gpu / "devfreq/57000000.gpu")
    return monitor / "iio:device0"


@pytest.fixture
def folder(tmp_path_factory, monkeypatch):
    """Where the socket is: paths of sockets may not be long."""
    folder = tmp_path_factory.mktemp("jtop")
    monkeypatch.syspath_prepend(str(HERE / "jtop_real" / "client"))
    monkeypatch.setenv("TLEE_DOUBLE_SOCKET", str(folder / "jtop.sock"))
    return folder


@pytest.fixture
def service(folder):
    """Starts the service; what it started goes with it."""
    started = []

    def start():
        command = [sys.executable, str(HERE / "jtop_real" / "serve.py"), str(folder)]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, text=True, start_new_session=True, cwd="/", **pipe))
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def opened():
    """The source, as patient as a busy machine may want it."""
    return Jtop(INTERVAL, patience=300.0, silence=300.0)


def recorder_with(source, readings):
    recorder = Recorder(source, time.perf_counter()).__enter__()
    until(lambda: len(recorder._samples) >= readings)
    return recorder


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_real_service_is_read_by_the_real_client(folder, service):
    monitor = nano(folder / "sys")
    service()
    source = opened()
    assert source.interval == INTERVAL and source.total.startswith("POM_5V_IN: ")
    recorder = recorder_with(source, 5)
    write(monitor / "in_power0_input", "5200\n")
    until(lambda: recorder._samples[-1].watts == 5.2)
    recorder.close()
    report = recorder.as_json()
    assert report["samples"]["watts"][0] == 3.1 and report["reason"] is None
    rails = {name: watts[0] for name, watts in report["samples"]["rails"].items()}
    assert rails == {"POM_5V_IN": 3.1, "POM_5V_GPU": 0.4, "POM_5V_CPU": 0.9}
    assert (report["samples"]["loads"]["GPU"][0], report["samples"]["clocks"]["GPU"][0]) == (42.0, 921.6)
    first, last = recorder._samples[0], [sample for sample in recorder._samples if sample.watts == 3.1][-1]
    assert recorder.energy(first.time, last.time) == pytest.approx(3.1 * (last.time - first.time))


def test_a_rail_that_disappears_makes_the_total_unknown(folder, service):
    monitor = nano(folder / "sys")
    service()
    recorder = recorder_with(opened(), 2)
    (monitor / "in_power0_input").unlink()
    until(lambda: recorder._samples[-1].watts is None)
    recorder.close()
    assert recorder.as_json()["samples"]["rails"]["POM_5V_IN"][-1] is None
    assert "the total is unknown" in recorder.reason


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.full), signal.SIGKILL])
def test_a_service_that_ends_in_mid_run_ends_the_readings_alone(folder, service, end):
    nano(folder / "sys")
    process = service()
    source = opened()
    recorder = recorder_with(source, 2)
    source._silence = 2.0
    until(lambda: len(recorder._samples) >= 4 or not recorder._thread.is_alive())  # from here on it holds
    os.killpg(process.pid, end)
    until(lambda: not recorder._thread.is_alive())
    recorder.close()
    assert recorder.reason and "\n" not in recorder.reason
    assert len(recorder.as_json()["samples"]["time"]) >= 2


def test_a_service_that_does_not_run_is_said(folder):
    with pytest.raises(UsageError, match="jtop: The jtop.service is not active; sudo systemctl restart jtop.service"):
        Jtop(INTERVAL)


def test_a_socket_that_a_service_left_behind_is_said(folder):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "jtop.sock"))
    with pytest.raises(UsageError, match="The jtop.service is not active; sudo systemctl"):
        Jtop(INTERVAL)


def test_a_socket_behind_which_nobody_answers_is_given_up(folder):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "jtop.sock"))
        dead.listen()
        with pytest.raises(UsageError, match="jtop.service does not answer within 2 seconds; sudo systemctl"):
            Jtop(INTERVAL, patience=2.0)


@pytest.mark.skipif(os.getuid() == 0, reason="root may open any socket")
def test_a_socket_that_this_user_may_not_open_is_said(folder):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "jtop.sock"))
        other.listen()
        (folder / "jtop.sock").chmod(0)
        with pytest.raises(UsageError, match="I can't access jtop.service; sudo usermod -aG jtop"):
            Jtop(INTERVAL)


def test_a_board_without_sensors_is_said(folder, service):
    (folder / "sys").mkdir()
    service()
    with pytest.raises(UsageError, match="this board has no power sensor that jtop knows"):
        Jtop(INTERVAL)
