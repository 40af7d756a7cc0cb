from tlee.engines.memory import MIB, available, workspace


def test_the_workspace_is_half_of_what_is_free_beyond_what_tensorrt_needs():
    assert workspace(2024 * MIB) == 500 * MIB


def test_the_workspace_is_never_nothing_and_never_more_than_a_gigabyte():
    assert workspace(300 * MIB) == 32 * MIB and workspace(64 << 30) == 1024 * MIB


def test_free_memory_is_what_linux_estimates(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  4051048 kB\nMemFree:  100 kB\nMemAvailable:  2048 kB\n")
    assert available(str(tmp_path / "meminfo")) == 2 * MIB
    assert available() > 0
