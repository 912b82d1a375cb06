"""Settings that were changed on the way stand on the page of the run."""

import re
from pathlib import Path

from helpers.recorded_run import HOSTILE, record_run

from prorl_mega.report import write_report
from prorl_mega.run.decisions import SettingChange, go_on


def test_changed_settings_are_on_the_page(tmp_path: Path) -> None:
    record_run(tmp_path / "run", 12)
    assert "Settings that were changed" not in write_report(tmp_path / "run").read_text()
    changes = [
        SettingChange(step=7, key="optimizer.learning_rate", before=2e-6, after=1e-6),
        SettingChange(step=7, key="tasks.mixture.new", before=None, after={"name": HOSTILE}),
    ]
    go_on(tmp_path / "run" / "decisions.jsonl", 7, changes)
    page = write_report(tmp_path / "run").read_text()
    section = page[page.index("Settings that were changed") : page.index("<h2>Settings</h2>")]
    cells = re.findall(r"<td>(.*?)</td>", section, re.DOTALL)
    assert cells[:7] == ["optimizer.learning_rate", "8", "2e-06", "1e-06", "tasks.mixture.new", "8", "(none)"]
    assert "&lt;script&gt;" in cells[7]
    assert "<script>alert" not in page
