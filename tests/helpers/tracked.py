"""The contents of trackers on this disk, each read by its own package: steps, points, settings and notes of a run."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Tracked:
    """One run as a tracker has it."""

    id: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    points: list[tuple[int, str, float]] = field(default_factory=list)  # step, metric, value
    notes: list[str] = field(default_factory=list)

    def series(self, name: str) -> list[tuple[int, float]]:
        return sorted((step, value) for step, metric, value in self.points if metric == name)


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of an offline run, which lie in the blocks of a LevelDB log; wandb's Python has no reader for it."""
    record_type: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    content, block, data = file.read_bytes(), 1 << 15, b""
    at = 7  # after the file's own header
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block  # padding
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        data += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or its last part
            yield record_type.FromString(data)
            data = b""


def read_wandb(directory: Path) -> list[Tracked]:
    runs: dict[str, Tracked] = {}
    for file in sorted((directory / "wandb").glob("offline-run-*/*.wandb")):
        records = list(wandb_records(file))
        (about,) = {each.run.run_id: each.run for each in records if each.run.run_id}.values()
        run = runs.setdefault(about.run_id, Tracked(about.run_id, about.display_name))
        for record in records:
            for item in record.run.config.update:
                run.settings[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
            for item in record.history.item:
                name, value = item.key or ".".join(item.nested_key), json.loads(item.value_json)
                if not name.startswith("_"):
                    run.points.append((record.history.step.num, name, float(value)))
            if record.alert.title:
                run.notes.append(f"{record.alert.title}: {record.alert.text}")
    return list(runs.values())


def read_mlflow(directory: Path) -> list[Tracked]:
    mlflow: Any = importlib.import_module("mlflow")
    client = mlflow.MlflowClient(tracking_uri=(directory / "mlflow" / "mlruns").as_uri())
    runs = []
    for found in client.search_runs([client.get_experiment_by_name("prorl_mega").experiment_id]):
        run = Tracked(found.info.run_id, found.info.run_name, dict(found.data.params))
        for name in found.data.metrics:
            history = client.get_metric_history(found.info.run_id, name)
            run.points += [(each.step, name.replace("_at_", "@"), each.value) for each in history]
        run.notes += [f"{key}: {text}" for key, text in found.data.tags.items() if key.startswith("step ")]
        runs.append(run)
    return runs


def read_trackio(directory: Path) -> list[Tracked]:
    """The runs of the one place that this process has for all."""
    storage: Any = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    runs = []
    for about in storage.get_run_records("prorl_mega"):
        run = Tracked(about["id"], about["name"], storage.get_run_config("prorl_mega", run_id=about["id"]) or {})
        for row in storage.get_logs("prorl_mega", run_id=about["id"]):
            values = {name: value for name, value in row.items() if name not in ("step", "timestamp")}
            run.points += [(row["step"], name, float(value)) for name, value in values.items()]
        alerts = storage.get_alerts("prorl_mega", run_id=about["id"])
        run.notes += [f"{each['title']}: {each['text']}" for each in alerts]
        runs.append(run)
    return runs


READERS = {"mlflow": read_mlflow, "trackio": read_trackio, "wandb": read_wandb}
