"""jtop as a source, its client replaced by one that hands out readings of boards: see tests/doubles/jtop_recorded."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from doubles.environment import HERE

from tlee.errors import UsageError
from tlee.power import client
from tlee.power.client import OLD, Alerts
from tlee.power.jtop import Jtop
from tlee.power.recorder import Recorder
from tlee.power.source import SourceEnded
from tlee.power.sources import open_source


@pytest.fixture
def jtop(monkeypatch, tmp_path):
    """Opens the source with orders to the double."""
    opened = []

    def open_it(patience=300.0, silence=300.0, **orders):
        monkeypatch.syspath_prepend(str(HERE / "jtop_recorded"))
        monkeypatch.setenv("TLEE_DOUBLE_JTOP", json.dumps(orders))
        opened.append(Jtop(0.02, patience, silence, system=str(tmp_path)))
        return opened[-1]

    yield open_it
    for source in opened:
        source.close()


def recorded(source, readings):
    with Recorder(source, time.perf_counter()) as recorder:
        end = time.monotonic() + 120
        while recorder._thread.is_alive() and len(recorder._samples) < readings:
            assert time.monotonic() < end
            time.sleep(0.005)
    return recorder.as_json()


def left():
    """Threads, descriptors and processes of this one, also processes that ended and nobody waited for."""
    tasks = Path("/proc/self/task").iterdir()
    processes = {child for task in tasks for child in (task / "children").read_text().split()}
    return threading.active_count(), len(os.listdir("/proc/self/fd")), processes


def test_a_nano_says_what_goes_into_the_board(jtop):
    start = time.perf_counter()
    source = jtop(board="nano")
    assert source.total.startswith("POM_5V_IN: ") and source.interval == 0.02
    reading = source.read()
    assert reading.watts == 3.1
    assert reading.rails == {"POM_5V_IN": 3.1, "POM_5V_CPU": 1.008, "POM_5V_GPU": 0.504}
    assert reading.loads == {"GPU": 42.0, "CPU": 50.0, "EMC": 12.0}
    assert reading.clocks == {"GPU": 921.6, "CPU": 1479.0, "EMC": 1600.0}
    assert reading.temperatures == {"CPU": 38.5, "GPU": 36.0}  # PLL is off
    assert reading.throttled == []
    assert reading.state == {"nvpmodel": "MAXN", "jetson_clocks": "on"}
    assert start - OLD <= reading.time <= time.perf_counter()


def test_an_orin_says_what_goes_into_the_module(jtop):
    source = jtop(board="orin")
    assert source.total.startswith("VDD_IN: ")
    reading = source.read()
    assert reading.watts == 7.62 and reading.state == {"nvpmodel": "15W", "jetson_clocks": "off"}


def test_without_an_input_rail_the_total_is_the_sum_of_what_is_measured(jtop):
    source = jtop(board="agx")
    assert source.total.startswith("VDD_CPU_CV + VDD_GPU_SOC + VIN_SYS_5V0: no rail carries all")
    assert source.read().watts == pytest.approx(2 + 4 + 4)  # and not what the USB supply agreed to


def test_when_the_input_rail_disappears_the_total_is_unknown_and_not_the_sum_of_the_others(jtop):
    report = recorded(jtop(board="nano", fault="rail", after=3), 6)
    watts = report["samples"]["watts"]
    assert watts[0] == 3.1 and watts[-1] is None
    assert report["samples"]["rails"]["POM_5V_CPU"][-1] == 1.008
    assert report["samples"]["rails"]["POM_5V_IN"][-1] is None
    assert report["reason"].count("POM_5V_IN") == report["reason"].count("total") == 1


def test_a_mode_that_changes_is_reported(jtop):
    report = recorded(jtop(fault="mode", after=3), 8)
    samples = report["samples"]
    assert (samples["clocks"]["GPU"][0], samples["clocks"]["GPU"][-1]) == (921.6, 640.0)
    assert (samples["state"]["nvpmodel"][0], samples["state"]["nvpmodel"][-1]) == ("MAXN", "5W")


def test_current_above_a_limit_is_throttling(jtop):
    report = recorded(jtop(fault="current", after=3), 8)
    assert [line.split(": ")[1] for line in report["throttled"]] == ["POM_5V_IN above its current limit"]


def test_a_service_that_stops_ends_the_readings_alone(jtop):
    report = recorded(jtop(fault="stop", after=4), 99)
    assert len(report["samples"]["time"]) >= 2
    assert report["reason"] == "jtop: Lost connection with jtop server"


def test_a_service_that_falls_silent_counts_as_gone(jtop):
    report = recorded(jtop(fault="silent", after=4, silence=0.3), 99)
    assert len(set(report["samples"]["time"])) == len(report["samples"]["time"]) <= 4
    assert report["reason"] == "jtop.service does not answer within 0.3 seconds"


@pytest.mark.parametrize(
    "fault, said",
    [
        ("inactive", "jtop: The jtop.service is not active; sudo systemctl restart jtop.service"),
        ("permission", "jtop: I can't access jtop.service; sudo usermod -aG jtop $USER, then log out and in again"),
        ("version", "jtop: Mismatch version jtop service: [4.2.0] and client: [4.3.2]; install one release"),
        ("no sensors", "jtop: this board has no power sensor that jtop knows; "),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line_with_its_remedy(jtop, fault, said):
    before = left()
    with pytest.raises(UsageError) as raised:
        jtop(fault=fault)
    assert str(raised.value).startswith(said)
    assert left() == before


def test_a_service_that_hangs_is_given_up(jtop):
    before = left()
    with pytest.raises(UsageError, match="does not answer within 0.5 seconds; sudo systemctl restart"):
        jtop(fault="hang", patience=0.5)
    assert left() == before


def test_without_jetson_stats_it_says_what_to_install(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE / "hidden" / "jtop"))
    with pytest.raises(UsageError, match="No module named 'jtop'; sudo pip3 install jetson-stats"):
        open_source("jtop")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="jetson-stats is not installed; sudo pip3 install jetson-stats"):
        open_source("jtop")


def test_no_process_thread_or_descriptor_is_left(jtop):
    before = left()
    for _ in range(3):
        recorded(jtop(), 3)
    assert left() == before


def test_a_closed_source_gives_nothing_more(jtop):
    source = jtop()
    source.close()
    source.close()
    with pytest.raises(SourceEnded):
        source.read()


def test_the_client_ends_with_its_parent(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE / "jtop_recorded"))
    monkeypatch.setenv("TLEE_DOUBLE_JTOP", json.dumps({"fault": "hang"}))
    code = "import os; from tlee.power.jtop import _start; print(_start(1.0, '/').pid, flush=True); os._exit(9)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    stat, end = Path(f"/proc/{parent.stdout.strip()}/stat"), time.monotonic() + 120
    while stat.exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_moment_of_a_reading_is_that_of_its_uptime(monkeypatch):
    monkeypatch.setattr(client.time, "perf_counter", lambda: 50.0)
    monkeypatch.setattr(client, "open", lambda path, **options: io.StringIO("2000.50 7000.00\n"), raising=False)
    assert client.moment(2000.2) == pytest.approx(49.7) and client.moment(2000.5 - OLD) == 50.0 - OLD
    for other in (3000.5, 2000.4 - OLD, 1000.5, None):  # of another container, or none
        assert client.moment(other) == 50.0


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_alerts_are_said_while_they_last_and_events_when_they_happen(tmp_path):
    for number, kind in enumerate(["pwm-fan", "gpu-throttle-alert", "hot-surface-alert"]):
        write(tmp_path / f"class/thermal/cooling_device{number}/type", kind)
        write(tmp_path / f"class/thermal/cooling_device{number}/cur_state", "1" if kind == "pwm-fan" else "0")
    write(tmp_path / "class/hwmon/hwmon0/name", "soctherm_oc")
    counter = tmp_path / "class/hwmon/hwmon0/oc3_event_cnt"
    write(counter, "7")
    alerts = Alerts(str(tmp_path))
    assert alerts.read() == []
    write(tmp_path / "class/thermal/cooling_device1/cur_state", "2")
    write(counter, "9")
    assert alerts.read() == ["gpu throttle alert", "momentary over-current (OC3)"]
    assert alerts.read() == ["gpu throttle alert"]


def test_a_machine_without_alerts_has_none(tmp_path):
    assert Alerts(str(tmp_path)).read() == []
