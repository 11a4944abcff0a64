"""Figures and text lines about verdicts: what they say, and that they are the same twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from safetystats.reporting import figures_verdicts
from safetystats.reporting.figure_style import Drawing
from safetystats.reporting.figures_verdicts import MOST_POINTS, draw_liability, draw_verdict_curve, draw_verdicts
from safetystats.reporting.planning import planning_lines
from safetystats.specs import Rope
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES
from safetystats.summaries.liability import QUADRANTS

LIMITS = (0.3, 0.4, 0.5)


def made(n: int = 6, classes: tuple[str, ...] = ("base", "chat")) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(6)
    curve, rows, posterior = [], [], []
    for label in classes:
        for i in range(n):
            name, rho = f"bench_{i}", float(rng.uniform(-0.9, 0.9))
            place = {"model_class": label, "benchmark": name, "area": f"area {i % 2}"}
            for limit in LIMITS:
                word = "entangled" if rho > limit else "inverse" if rho < -limit else "distinct"
                curve.append(place | {"limit": limit, "verdict": word, "stated": limit == 0.4, "changes": False})
            slope = 3 * rho
            word = f"{'high' if abs(rho) > 0.4 else 'low'} and {'large' if abs(slope) > 1.5 else 'small'}"
            rows.append(
                place | {"mean": rho, "slope": slope, "slope_lower": slope - 1, "slope_upper": slope + 1,
                         "smallest_effect": 1.5, "quadrant": word, "n_models": 20}
            )  # fmt: skip
            posterior.append(place | {"mode": "cut", "mean": rho, "lower": rho - 0.1, "upper": rho + 0.1})
    frames = {"verdict_curve": curve, "liability": rows}
    tables = {name: pd.DataFrame(part).reindex(columns=list(VERDICTS_TABLES[name])) for name, part in frames.items()}
    return tables | {"posterior_correlations": pd.DataFrame(posterior)}


@pytest.mark.parametrize("classes", [("base",), ("base", "chat"), ("a", "b", "c")])
def test_figures_are_drawn_twice_alike_and_described(classes: tuple[str, ...]) -> None:
    tables = made(classes=classes)
    labels = {f"bench_{i}": f"A benchmark with a rather long name, number {i}" for i in range(6)}
    first, again = (
        draw_verdicts(tables, labels=labels, headline=[], rope=0.4, level=0.95) for _ in range(2)
    )  # fmt: skip
    for drawing, other in zip(first, again, strict=True):
        assert drawing is not None
        assert other is not None
        assert drawing.svg == other.svg
        assert f'id="{drawing.name}-desc"' in drawing.svg
        for label in classes:
            assert label in drawing.alt
    assert [drawing.name for drawing in first if drawing] == ["verdict_curve", "liability"]


def test_the_quadrants_drawn_are_those_of_the_table() -> None:
    tables = made()
    drawing = draw_liability(
        tables["liability"], tables["posterior_correlations"], labels={}, headline=["bench_1", "bench_2"], rope=0.4,
        level=0.95,
    )  # fmt: skip
    assert drawing is not None
    assert set(drawing.data["benchmark"]) == {"bench_1", "bench_2"}
    np.testing.assert_allclose(drawing.data["slope_over"], drawing.data["slope"] / 1.5)
    assert "the table has 4 more" in drawing.caption


def test_the_key_of_the_quadrants_has_names_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    finish = figures_verdicts.finish

    def finished(figure: Figure, **words: Any) -> Drawing:
        seen.extend(each.get_text() for each in figure.texts)
        return finish(figure, **words)

    monkeypatch.setattr(figures_verdicts, "finish", finished)
    long = (
        "Worst-case accuracy under fairness perturbation, BoolQ",
        "Worst-case accuracy under fairness perturbation, MMLU",
    )
    tables = made()
    draw_liability(
        tables["liability"], tables["posterior_correlations"], labels={"bench_1": long[0], "bench_2": long[1]},
        headline=["bench_1", "bench_2"], rope=0.4, level=0.95,
    )  # fmt: skip
    assert sorted(text.split(" ", 1)[1] for text in seen) == sorted(long)


def test_numbers_of_crowded_points_stay_apart_and_inside() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal([300.0, 90.0], [40.0, 20.0], (MOST_POINTS, 2))
    offsets = np.array(figures_verdicts._offsets(points[:, 0], points[:, 1], 450.0, 187.0))
    places = points + offsets
    between = np.hypot(*(places[:, None] - places[None]).T) + np.where(np.eye(MOST_POINTS), np.inf, 0.0)
    assert between.min() >= figures_verdicts.ROOM - 0.01
    assert ((places > 0) & (places < [450.0, 187.0])).all()
    assert np.hypot(*offsets.T).max() <= max(figures_verdicts.RINGS) + 0.01


def test_many_benchmarks_are_cut_to_the_largest_correlations_and_none_gives_no_figure() -> None:
    tables = made(n=MOST_POINTS + 5, classes=("base",))
    drawing = draw_liability(
        tables["liability"], tables["posterior_correlations"], labels={}, headline=[], rope=0.4, level=0.95
    )
    assert drawing is not None
    shown = set(drawing.data["benchmark"])
    assert len(shown) == MOST_POINTS
    sizes = tables["liability"].set_index("benchmark")["mean"].abs()
    assert sizes[sorted(shown)].min() >= sizes.drop(sorted(shown)).max()
    without = tables["liability"].assign(quadrant="")
    assert (
        draw_liability(without, tables["posterior_correlations"], labels={}, headline=[], rope=0.4, level=0.95) is None
    )
    empty = {**tables, "verdict_curve": tables["verdict_curve"].iloc[:0]}
    assert draw_verdicts(empty, labels={}, headline=[], rope=0.4, level=0.95) == []
    nothing = draw_verdict_curve(empty["verdict_curve"], tables["posterior_correlations"], labels={}, headline=[])
    assert "No benchmark" in nothing.caption


def test_every_quadrant_has_a_mark_of_its_own() -> None:
    from safetystats.reporting.figures_verdicts import QUADRANT_MARKS

    assert set(QUADRANTS) < set(QUADRANT_MARKS)
    assert len({(mark.shape, mark.filled) for mark in QUADRANT_MARKS.values()}) == len(QUADRANT_MARKS)


def test_lines_of_a_plan_state_errors_and_what_was_assumed() -> None:
    row = dict.fromkeys(VERDICTS_TABLES["models_to_settle"], 0.5) | {
        "model_class": "base", "benchmark": "b", "area": "", "n_models": 20, "n_families": 7, "further": 10,
        "further_families": 3, "n_simulations": 100, "further_approximate": float("nan"), "p_settled_error": 0.05,
    }  # fmt: skip
    text = "\n".join(planning_lines(pd.DataFrame([row]), {"b": "The benchmark"}, Rope()))
    assert "base, The benchmark: 20 models of 7 families" in text
    assert "0.50 ± 0.05" in text
    assert "more models than can be had" in text
    assert "100 simulated futures; limit 0.40, probability 0.95" in text
    row["further_approximate"] = 31.0
    assert "would need 31 further models" in "\n".join(planning_lines(pd.DataFrame([row]), {}, Rope()))
