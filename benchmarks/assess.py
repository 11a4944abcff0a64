"""Does an assessment equal a run, and how long does it take from a cold start?

    SAFETYSTATS_DATA=DIR python benchmarks/assess.py [--store DIR] [--tables helm-classic,chat-2025] [--keep]

Equality: every safety benchmark of a table is taken out of it and assessed against the stored draws; its posterior
mean, the ends of its interval and its verdict are set beside those of a fit of the whole table as a run makes it (cut
posterior). Items are not given: a "distinct" that a run withholds for noise would count as another verdict. ren2024 is
left out unless named: its joint posteriors take long, and are not what is compared.
Speed: `safetystats assess` of one column in a process of its own, three times, the least:
wall-clock, and seconds of processor time, which other work on the machine moves less.
Writes assess.csv and assess.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import safetystats as ss
from safetystats.reporting.text import table_markdown
from safetystats.summaries.references import find_reference, reference_names

HERE = Path(__file__).resolve().parent
LIMIT = 0.02
REPEATS = 3


def equality(name: str, store: Path | None) -> pd.DataFrame:
    """Return one row per class and benchmark: what a run says, and what an assessment says."""
    fit = ss.fit(name, store=store)
    run = ss.posterior_correlations(fit).query("mode == 'cut'").set_index(["model_class", "benchmark"])
    reference, rows = find_reference(name), []
    for benchmark in dict.fromkeys(run.index.get_level_values("benchmark")):
        entry = fit.table.benchmarks.loc[benchmark]
        scores = fit.table.scores[benchmark].dropna()
        found = ss.assess(scores, reference, str(entry["direction"]), name=str(benchmark)).correlations
        for own in found.to_dict("records"):
            key = (own["model_class"], benchmark)
            if key not in run.index:
                continue
            whole = run.loc[key]
            rows.append(
                {
                    "table": name,
                    "model_class": key[0],
                    "benchmark": benchmark,
                    "n_models": own["n_models"],
                    **{f"run_{part}": float(whole[part]) for part in ("mean", "lower", "upper")},
                    **{f"assessed_{part}": own[part] for part in ("mean", "lower", "upper")},
                    "run_verdict": whole["verdict"],
                    "assessed_verdict": own["verdict"],
                }
            )
    frame = pd.DataFrame(rows)
    for part in ("mean", "lower", "upper"):
        frame[f"difference_{part}"] = frame[f"assessed_{part}"] - frame[f"run_{part}"]
    return frame


def seconds(name: str) -> list[tuple[float, float]]:
    """Return wall-clock and processor seconds of the command for one column of a table, run by run."""
    table = ss.load_table(name)
    benchmark = table.columns("safety")[0]
    direction = str(table.benchmarks.loc[benchmark, "direction"])
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "mine.csv"
        table.scores[benchmark].dropna().rename_axis("model").rename("score").to_csv(path)
        command = [sys.executable, "-m", "safetystats", "assess", str(path), "--against", name]
        command += ["--direction", direction, "--out", str(Path(scratch) / "card")]
        taken = []
        for _ in range(REPEATS):
            begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, capture_output=True)
            wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return taken


def page(frame: pd.DataFrame, taken: dict[str, list[tuple[float, float]]]) -> str:
    """Return what was measured as Markdown."""
    cores = os.cpu_count()
    head = (
        f"# An assessment against a run\n\n{datetime.date.today()}, {platform.machine()} {platform.system()}, {cores} "
        f"cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"safetystats {version('safetystats')}. What is measured is defined in `assess.py`.\n\n"
    )
    rows = []
    for (table, label), own in frame.groupby(["table", "model_class"], sort=False):
        largest = [f"{own[f'difference_{part}'].abs().max():.4f}" for part in ("mean", "lower", "upper")]
        other = int((own["run_verdict"] != own["assessed_verdict"]).sum())
        rows.append([str(table), str(label), str(len(own)), *largest, str(other)])
    header = ["table", "class", "benchmarks", "mean", "lower end", "upper end", "other verdicts"]
    equal = table_markdown(header, rows, caption="Largest absolute difference between an assessment and a run.")
    clocked = []
    for name, each in taken.items():
        walls, busy = ([f"{run[part]:.2f}" for run in each] for part in (0, 1))
        clocked.append([name, min(walls, key=float), ", ".join(walls), min(busy, key=float)])
    speed = table_markdown(
        ["against", "wall-clock, least, s", "all, s", "processor, least, s"],
        clocked,
        caption="`safetystats assess` of one column with all its files.",
    )
    return head + equal + "\n\n" + speed + "\n"


def main() -> None:
    """Measure, write, and fail where a mean differs by `LIMIT` or more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path)
    parser.add_argument("--tables", default="helm-classic,chat-2025")
    parser.add_argument("--keep", action="store_true", help="take assess.csv as it is, and measure the time alone")
    asked = parser.parse_args()
    names = asked.tables.split(",")
    if asked.keep:
        frame = pd.read_csv(HERE / "assess.csv")
    else:
        frame = pd.concat([equality(name, asked.store) for name in names], ignore_index=True)
        frame.to_csv(HERE / "assess.csv", index=False, lineterminator="\n")
    text = page(frame, {name: seconds(name) for name in reference_names()})
    (HERE / "assess.md").write_text(text, encoding="utf-8")
    print(text)
    worst = float(frame["difference_mean"].abs().max())
    sys.exit(worst >= LIMIT)


if __name__ == "__main__":
    main()
