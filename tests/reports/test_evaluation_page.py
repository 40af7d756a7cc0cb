"""The page needs nothing else, shows names as they are, and does so for ten classes and for two hundred."""

import os
from pathlib import Path

import pytest
from helpers.evaluations import made_up
from helpers.html_elements import Elements

from tlee.errors import InputError, UsageError
from tlee.evaluation.report import report_of, video_lines
from tlee.reports.evaluation_page import CLASSES, confusion_rows, exit_map, findings, hardest, mode_rows, page
from tlee.reports.pages import figures, report_folder, write_report
from tlee.reports.plots import short, standalone

EVIL = "<script>alert(1)</script> --> & \"'"
SUBJECT = {
    "path": f"{EVIL}.tlee",
    "kind": "bundle",
    "sha256": "0" * 64,
    "name": EVIL,
    "backbone": "mobilenetv2",
    "branches": 1,
    "branch": "crm",
    "frm": "max",
    "gate": "gm",
    "classes": 3,
    "point": EVIL,
    "frames": 2,
    "order": [1, 0],
    "thresholds": {"first": [0.9, 0.9], "layer": [0.9, 0.9], "gate": [0.5, 0.5]},
    "full_macs": 400,
}
DATA = {"source": EVIL, "format": "folders", "split": "val", "videos": 4}


def write(folder, evaluation):
    content = report_of(evaluation, SUBJECT, DATA)
    write_report(folder, content, page(content), {"videos.jsonl": video_lines(evaluation)})


def report(classes, several=False):
    labels = [(i, (i + 1) % len(classes)) if several else (i,) for i in range(len(classes))]
    return report_of(made_up(classes, labels), SUBJECT, DATA)


@pytest.fixture(scope="module")
def elements():
    content = report([EVIL, "$x_1$ ünd 走", "with\nline"], several=True)
    content["unreadable"] = [{"path": f"{EVIL}.mp4", "problem": EVIL}]
    return Elements(page(content))


def test_the_page_fetches_nothing(elements):
    assert elements.fetched() == []
    style = elements.text[elements.text.index(":root") : elements.text.index("summary {")]
    assert "url(" not in style and "@import" not in style


def test_names_are_shown_as_they_are(elements):
    assert elements.text.count(EVIL) >= 7  # title, heading, facts, tables, plots
    assert "$x_1$ ünd 走" in elements.text
    assert not any(name.startswith("on") for name, _ in elements.attributes)


def test_plots_keep_their_text_as_text_and_do_not_share_identifiers(elements):
    assert elements.names.count("svg") == 5 and elements.names.count("text") > 60
    assert {"MMACs per video", "top-1 accuracy, %", "frame, in processing order", "branch 0", "tail"} <= {
        line.strip() for line in elements.text.splitlines()
    }
    referred = {value[1:] for name, value in elements.attributes if name == "xlink:href" and value.startswith("#")}
    given = [value for name, value in elements.attributes if name == "id"]
    assert referred and all(given.count(name) == 1 for name in referred)


def test_several_labels_are_explained_where_there_are_some(elements):
    assert "A video with several labels counts as right" in elements.text
    assert "several labels" not in page(report(["a", "b"]))


def test_two_hundred_classes_fit():
    content = report([f"class number {i}" for i in range(200)])
    text = page(content)
    assert f"the {CLASSES} of 200 with the lowest accuracy" in text and "All 200 classes as a table" in text
    assert len(text) < 500_000
    assert Elements(text).text.count("class number 77\n") == 0  # in the table only
    assert hardest(content["per_class"])[0]["class"] == "class number 199"
    assert confusion_rows(content)[1:] == [["class number 199", "class number 0", "1"]]


def test_thresholds_of_a_tail_that_no_frame_reaches_are_doubted():
    content = report(["a", "b"])
    assert content["tail_reached"] == 1  # by the last video, see `made_up`
    assert not any("frame exit only" in text for text in findings(content))
    content["tail_reached"] = 0
    (line,) = [text for text in findings(content) if text.startswith("attention: frame exit only ")]
    assert "no frame of 2 videos reaches" in line


def test_exits_at_chance_are_named_once_where_one_frame_and_all_say_the_same():
    content = report(["a", "b"])
    content["exit_faults"] = {"one_frame": ["x", "y"], "all_frames": ["x", "z"]}
    content["branches"] = {"keep": [], "suggestion": "no branch"}
    told = ["attention: on one frame as on all, x", "attention: on one frame, y", "attention: on all frames, z"]
    shown = [text for text in findings(content) if "exits:" not in text and "frame exit only" not in text]
    assert shown == [*told, "no branch"]
    assert "On one frame as on all, x." in page(content) and "No branch." in page(content)


def test_without_mistakes_the_page_says_so():
    content = report(["a", "b"])
    content["confusion"] = [[1, 0], [0, 1]]
    assert "No mistakes" in page(content)


def test_a_plot_can_stand_alone():
    svg = standalone(exit_map(report(["a", "b"])))
    assert svg.startswith('<svg style="color: #1c1e21; --line: #c9ced6; background: #fff; width: ')


def test_names_in_plots_are_short_and_of_one_line():
    assert short("with\nline") == "with line"
    assert short("x" * 99) == "x" * 25 + "…"
    assert short("\udcff") == "\\udcff"


def test_rows_of_modes_are_for_people():
    head, early, *_ = mode_rows(report(["a", "b"]))
    assert head == [*("mode", "top-1", "95 % interval", "top-5", "mAP", "frames", "layer", "MMACs", "share of MACs")]
    assert early[0] == "early exits" and early[3] == "-" and early[-2:] == ["0.000180", "45.0 %"]
    assert [figures(value) for value in (0.0712, 5, 47.48, 4321.9)] == ["0.0712", "5.00", "47.5", "4322"]


def test_a_report_is_whole_or_not_there(tmp_path):
    evaluation = made_up(["a", "b"], [(0,), (1,)])
    with report_folder(str(tmp_path / "report")) as folder:
        write(folder, evaluation)
        assert not (tmp_path / "report").exists()
    assert sorted(os.listdir(tmp_path / "report")) == ["index.html", "report.json", "videos.jsonl"]
    with pytest.raises(RuntimeError), report_folder(str(tmp_path / "report"), replace=True):
        raise RuntimeError
    assert (tmp_path / "report" / "index.html").exists() and len(os.listdir(tmp_path)) == 1


def test_only_a_report_is_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="is no report"), report_folder(str(tmp_path / "mine"), replace=True):
        pass
    with pytest.raises(UsageError, match="exists already"), report_folder(str(tmp_path / "mine")):
        pass


def test_file_names_that_are_no_utf8_are_escaped(tmp_path):
    broken = os.fsdecode(b"\xff.mp4")
    evaluation = made_up(["a", "b"], [(0,), (1,)], [broken, "b.mp4"])
    evaluation.unreadable[Path(broken)] = InputError(broken, "its name is not UTF-8", "rename it")
    write(tmp_path, evaluation)
    assert '"path": "\\udcff.mp4"' in (tmp_path / "videos.jsonl").read_text()
    assert '"path": "\\udcff.mp4"' in (tmp_path / "report.json").read_text()
    assert "\\udcff.mp4" in (tmp_path / "index.html").read_text()
