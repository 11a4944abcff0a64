"""Figures: what they say, that they are the same twice, that hostile names do no harm, that nothing is cut off."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_tables import number_of_factors, shrunken_correlations
from matplotlib.axis import Tick
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from safetystats.reporting import figure_style
from safetystats.reporting.figure_parts import VERDICT_MARKS
from safetystats.reporting.figure_style import Drawing, styled
from safetystats.reporting.figure_text import fit_names, fit_text, safe_text, text_width, without_shared_ending
from safetystats.reporting.figures import (
    draw_capability,
    draw_forest,
    draw_loadings,
    draw_missing,
)
from safetystats.reporting.figures_checks import draw_scree, draw_shrinkage
from safetystats.reporting.figures_classes import draw_class_differences
from safetystats.summaries.glossary import TABLES
from safetystats.tables.load import load_table

HOSTILE = {
    "dollar": r"$\frac{1}{0}$ and $unclosed",
    "script": '<script>alert("x")</script> & id="figure_1"',
    "comment": "--> <!-- ]]> </svg>",
    "percent": "100 % of_under_scores^{2} \\n",
    "emoji": "sad 😿 🦜 benchmark 日本語 한국어",
    "hebrew": "בטיחות \u202eevil\u202c العربية",
    "long": "very " * 60 + "long",
    "control": "bell \x07 nul \x00 line\nbreak\ttab \u2028",
    "empty": "",
}
VERDICTS = list(VERDICT_MARKS)


def posterior_table(
    classes: list[str], benchmarks: list[str], areas: list[str], n_models: int = 26, seed: int = 1
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for model_class in classes:
        for i, name in enumerate(benchmarks):
            mean = float(rng.uniform(-0.8, 0.8))
            for mode in ("cut", "joint"):
                rows.append(
                    dict.fromkeys(TABLES["posterior_correlations"], np.nan)
                    | {
                        "model_class": model_class,
                        "benchmark": name,
                        "area": areas[i % len(areas)],
                        "n_models": n_models - i % 2,
                        "n_families": 9,
                        "mode": mode,
                        "mean": mean,
                        "lower": max(-1.0, mean - 0.2),
                        "upper": min(1.0, mean + 0.2),
                        "level": 0.95,
                        "verdict": VERDICTS[i % len(VERDICTS)],
                    }
                )
    return pd.DataFrame(rows)


def correlation_table(classes: list[str], benchmarks: list[str]) -> pd.DataFrame:
    rows = [
        dict.fromkeys(TABLES["capability_correlations"], np.nan)
        | {"model_class": c, "benchmark": b, "method": method, "correlation": 0.5, "interval": interval}
        for c in classes
        for b in benchmarks
        for method in ("spearman_2024", "spearman")
        for interval in ("bca", "fisher")
    ]
    return pd.DataFrame(rows)


def score_table(counts: dict[str, int], name: str = "model {}", family: str = "Family") -> pd.DataFrame:
    rows = []
    for model_class, count in counts.items():
        for i in range(count):
            place = 2 - 4 * i / count
            shared = {"model_class": model_class, "model": name.format(f"{model_class}-{i}"), "family": family}
            rows.append(
                shared
                | {"method": "spearman_pca_2024", "score": 3 * place + 1 if i % 5 else np.nan}
                | {"lower": np.nan, "upper": np.nan, "level": np.nan}
            )
            rows.append(
                shared | {"method": "latent", "score": place, "lower": place - 0.5, "upper": place + 0.5, "level": 0.95}
            )
    return pd.DataFrame(rows)


def loading_table(classes: list[str], benchmarks: list[str]) -> pd.DataFrame:
    rows = [
        {"model_class": c, "benchmark": b, "method": method, "loading": 0.9 - i / 20, "lower": 0.1, "upper": 0.95}
        | {"level": 0.95, "icc": 0.2}
        for c in classes
        for i, b in enumerate(benchmarks)
        for method in ("spearman_pca_2024", "latent")
    ]
    return pd.DataFrame(rows)


def difference_table(pairs: list[tuple[str, str]], benchmarks: list[str], areas: list[str]) -> pd.DataFrame:
    rows = []
    for class_a, class_b in pairs:
        for i, name in enumerate(benchmarks):
            delta = 0.4 - i / len(benchmarks)
            rows.append(
                {"benchmark": name, "area": areas[i % len(areas)], "n_pairs": 12, "class_a": class_a}
                | {"class_b": class_b, "delta": delta, "lower": delta - 0.3, "upper": delta + 0.3, "p_positive": 0.7}
                | {"unpaired_delta": delta, "unpaired_lower": delta - 0.4, "unpaired_upper": delta + 0.4}
            )
    return pd.DataFrame(rows)


def forest(posterior: pd.DataFrame, labels: dict[str, str] | None = None, headline: tuple[str, ...] = ()) -> Drawing:
    classes, benchmarks = list(posterior["model_class"].unique()), list(posterior["benchmark"].unique())
    correlations = correlation_table(classes, benchmarks)
    return draw_forest(posterior, correlations, labels=labels or {}, headline=headline, rope=0.4, level=0.95)


def factor_table(classes: list[str], components: int = 8) -> pd.DataFrame:
    return pd.concat([number_of_factors(c, components) for c in classes], ignore_index=True)


def shrinkage(
    posterior: pd.DataFrame, labels: dict[str, str] | None = None, headline: tuple[str, ...] = ()
) -> Drawing | None:
    cut = posterior[posterior["mode"] == "cut"]
    shrunken = pd.concat([shrunken_correlations(str(c), part) for c, part in cut.groupby("model_class", sort=False)])
    return draw_shrinkage(shrunken, posterior, labels=labels or {}, headline=headline, rope=0.4, level=0.95)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect every figure that is made."""
    made: list[Figure] = []

    def make(**settings: object) -> Figure:
        made.append(Figure(**settings))
        return made[-1]

    monkeypatch.setattr(figure_style, "Figure", make)
    return made


def assert_sound(drawing: Drawing) -> None:
    """The SVG is well-formed, named, self-contained and small; the PNG has 200 dpi or more and a white margin."""
    root = ET.fromstring(drawing.svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(str(name).startswith(f"{drawing.name}-") for name in ids)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', drawing.svg))
    assert used <= set(ids)
    assert not re.search(r"<(script|style|metadata|image)", drawing.svg)
    assert root.find("{http://www.w3.org/2000/svg}title").text == drawing.caption
    assert root.find("{http://www.w3.org/2000/svg}desc").text == drawing.alt
    assert len(drawing.svg) < 400_000
    picture = imread(io.BytesIO(drawing.png))
    assert picture.shape[1] >= 7 * 200
    for strip in (picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]):
        assert (strip == 1).all()


def _in_view(tick: Tick, limits: tuple[float, float]) -> bool:
    return bool(min(limits) <= tick.get_loc() <= max(limits))


def assert_texts_apart(figure: Figure) -> None:
    """Every text lies within the canvas, and no two overlap by more than a point."""
    with styled():
        renderer = figure.canvas.get_renderer()
        figure.draw(renderer)
        inner, boxes = figure.bbox, []
        ticks = [(tick, axes.get_xlim()) for axes in figure.axes for tick in axes.xaxis.get_major_ticks()]
        ticks += [(tick, axes.get_ylim()) for axes in figure.axes for tick in axes.yaxis.get_major_ticks()]
        unseen = {id(tick.label1) for tick, limits in ticks if not _in_view(tick, limits)}
        for text in figure.findobj(lambda artist: isinstance(artist, Text) and bool(artist.get_text())):
            if id(text) in unseen:
                continue
            box = text.get_window_extent(renderer)
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= inner.x1, text
            assert box.y1 <= inner.y1, text
            boxes.append((box, text))
        x0, y0, x1, y1 = np.array([box.extents for box, _ in boxes]).T
        wide = np.minimum.outer(x1, x1) - np.maximum.outer(x0, x0)
        high = np.minimum.outer(y1, y1) - np.maximum.outer(y0, y0)
        clashes = np.argwhere(np.triu((wide > 1) & (high > 1), k=1))
        assert not len(clashes), [(boxes[i][1], boxes[j][1]) for i, j in clashes]


# --- what is said ---


def test_forest_says_estimand_interval_level_and_n() -> None:
    drawing = forest(posterior_table(["base", "chat"], ["b1", "b2", "b3"], ["bias"]))
    assert "95 % equal-tailed interval" in drawing.caption
    assert "cut posterior" in drawing.caption
    assert "n = 25 to 26 base and 25 to 26 chat models" in drawing.caption
    assert "|ρ| < 0.40" in drawing.caption
    assert "3 safety benchmarks" in drawing.alt
    assert "base: posterior means from" in drawing.alt
    assert set(drawing.data["benchmark"]) == {"b1", "b2", "b3"}
    assert drawing.data["spearman"].eq(0.5).all()
    assert_sound(drawing)


def test_forest_alt_names_the_extremes_and_counts_verdicts() -> None:
    table = posterior_table(["chat"], ["b1", "b2"], ["bias"])
    table["mean"] = table["benchmark"].map({"b1": -0.25, "b2": 0.5})
    table["verdict"] = "withheld"
    drawing = forest(table, {"b1": "One", "b2": "Two"})
    assert "from −0.25 (One) to 0.50 (Two); 2 withheld." in drawing.alt


def test_forest_shows_the_headline_and_says_so() -> None:
    drawing = forest(posterior_table(["base"], ["b1", "b2", "b3"], ["bias"]), headline=("b2", "elsewhere"))
    assert set(drawing.data["benchmark"]) == {"b2"}
    assert "Shown: 1 headline benchmark; the table has 2 more." in drawing.caption


def test_forest_without_joint_or_spearman_does_not_speak_of_them() -> None:
    table = posterior_table(["base"], ["b1"], ["bias"])
    drawing = draw_forest(
        table[table["mode"] == "cut"],
        pd.DataFrame(columns=list(TABLES["capability_correlations"])),
        labels={},
        headline=(),
        rope=0.4,
        level=0.9,
    )
    assert "joint" not in drawing.caption
    assert "2024" not in drawing.caption
    assert "90 %" in drawing.caption


def test_every_verdict_has_its_own_shape_and_fill() -> None:
    looks = [(mark.shape, mark.filled) for mark in VERDICT_MARKS.values()]
    assert len(set(looks)) == len(looks)


def test_capability_rescales_the_component_score_to_the_latent_one() -> None:
    drawing = draw_capability(score_table({"base": 10, "chat": 5}), labels={}, level=0.95)
    both = drawing.data.dropna(subset=["component"])
    np.testing.assert_allclose(both["component_rescaled"], both["score"])
    assert "n = 10 base and 5 chat models" in drawing.caption
    assert "(3 models without it)" in drawing.caption
    assert "not to be compared" in drawing.caption
    assert "base: 10 models, posterior means from −1.60 (model base-9) to 2.00 (model base-0)." in drawing.alt
    assert_sound(drawing)


def test_capability_with_a_constant_component_draws_none() -> None:
    table = score_table({"base": 4})
    table.loc[table["method"] != "latent", "score"] = 1.0
    assert draw_capability(table, labels={}, level=0.95).data["component_rescaled"].isna().all()


def test_loadings_are_the_latent_ones() -> None:
    drawing = draw_loadings(loading_table(["base", "chat"], ["b1", "b2"]), labels={"b1": "One"}, level=0.95)
    assert set(drawing.data["method"]) == {"latent"}
    assert "in base and chat models" in drawing.caption
    assert "from 0.85 (b2) to 0.90 (One)" in drawing.alt
    assert_sound(drawing)


def test_class_differences_count_the_intervals_that_exclude_zero() -> None:
    table = difference_table([("chat", "base")], ["b1", "b2", "b3", "b4"], ["bias"])
    table.loc[3, ["delta", "lower", "upper"]] = np.nan
    drawing = draw_class_differences(table, labels={}, headline=(), level=0.95)
    assert drawing is not None
    assert "chat − base" in drawing.caption
    assert "n = 12 lineages" in drawing.caption
    assert "For 1 benchmark there is no difference to compute." in drawing.caption
    assert "1 of 3 intervals exclude zero" in drawing.alt
    assert_sound(drawing)


def test_scree_says_rules_and_references() -> None:
    drawing = draw_scree(factor_table(["base", "chat"]), 0.95)
    assert drawing is not None
    assert "95 % quantile" in drawing.caption
    assert "base: 1 by parallel analysis, 1 by parallel analysis with families and 2 by the minimum" in drawing.caption
    assert "base: the first eigenvalue is 5.00, the second 1.50 against references of 1.80 and 1.90." in drawing.alt
    assert_sound(drawing)
    assert draw_scree(factor_table(["base"]).iloc[:0], 0.95) is None


def test_shrinkage_draws_both_posteriors_and_the_areas() -> None:
    posterior = posterior_table(["base", "chat"], ["b1", "b2", "b3"], ["bias", "truth"])
    drawing = shrinkage(posterior, headline=("b1", "b2"))
    assert drawing is not None
    assert "Shown: 2 headline benchmarks; the table has 1 more." in drawing.caption
    np.testing.assert_allclose(drawing.data["mean_shrunken"], drawing.data["mean"] / 2)
    assert "the largest move is" in drawing.alt
    assert_sound(drawing)
    empty = pd.DataFrame(columns=list(TABLES["shrunken_correlations"]))
    assert draw_shrinkage(empty, posterior, labels={}, headline=(), rope=0.4, level=0.95) is None


def test_class_differences_of_one_class_are_none() -> None:
    table = pd.DataFrame(columns=list(TABLES["posterior_differences"]))
    assert draw_class_differences(table, labels={}, headline=(), level=0.95) is None


def test_missing_counts_cells() -> None:
    table = load_table("chat-2025")
    drawing = draw_missing(table)
    assert drawing is not None
    count = int(table.scores.isna().to_numpy().sum())
    assert f"Missing scores: {count} of {table.scores.size} cells" in drawing.caption
    assert len(drawing.data) == count
    assert_sound(drawing)


def test_missing_is_none_for_a_complete_table() -> None:
    table = load_table("chat-2025")
    complete = table.select(benchmarks=[b for b in table.columns() if table.scores[b].notna().all()])
    assert draw_missing(complete) is None


@pytest.mark.parametrize("shape", [(57, 13), (53, 143), (143, 53), (200, 200), (5, 3)])
def test_missing_is_readable_for_scattered_cells(shape: tuple[int, int], figures: list[Figure]) -> None:
    table = load_table("chat-2025")
    rng = np.random.default_rng(3)
    models = pd.Index([f"model {i}" for i in range(shape[0])])
    benchmarks = pd.Index([f"benchmark {i}" for i in range(shape[1])])
    scores = pd.DataFrame(np.where(rng.random(shape) < 0.2, np.nan, 1.0), index=models, columns=benchmarks)
    scores.iloc[0, 0] = np.nan
    facts = table.models.iloc[np.zeros(shape[0], dtype=int)].set_axis(models).assign(name=models)
    about = table.benchmarks.iloc[np.zeros(shape[1], dtype=int)].set_axis(benchmarks).assign(name=benchmarks)
    wide = object.__new__(type(table))
    for slot, value in {"scores": scores, "models": facts, "benchmarks": about}.items():
        object.__setattr__(wide, slot, value)
    drawing = draw_missing(wide)
    assert drawing is not None
    assert_sound(drawing)
    assert_texts_apart(figures[-1])
    if max(shape) > 60:
        assert "most missing" in drawing.caption


# --- hostile and empty input ---


def all_drawings(labels: dict[str, str]) -> list[Drawing]:
    keys = list(labels)
    posterior = posterior_table(["base", 'ch$at_<b>"'], keys, ["area $x_1$", "<i>b</i>", "\u202e", ""])
    scores = score_table({"base": 3})
    scores = pd.concat([scores.assign(model=k, family=labels[k]).iloc[:2] for k in keys], ignore_index=True)
    found = [
        forest(posterior, labels),
        draw_capability(scores, labels=labels, level=0.95),
        draw_loadings(loading_table(["base", "$"], keys), labels=labels, level=0.95),
        draw_class_differences(difference_table([("$a_", "<b>")], keys, ["x"]), labels=labels, headline=(), level=0.95),
        draw_scree(factor_table(["base", 'ch$at_<b>"']), 0.95),
        shrinkage(posterior, labels),
    ]
    return [drawing for drawing in found if drawing is not None]


def test_hostile_names_are_text(figures: list[Figure]) -> None:
    drawings = all_drawings(HOSTILE)
    assert len(drawings) == 6
    for drawing, figure in zip(drawings, figures, strict=True):
        assert_sound(drawing)
        assert_texts_apart(figure)


def test_ids_do_not_clash_within_a_page() -> None:
    drawings = all_drawings({"b1": "One", "b2": "Two"})
    ids = [name for drawing in drawings for name in re.findall(r'\bid="([^"]+)"', drawing.svg)]
    assert len(ids) == len(set(ids))


def test_absent_glyphs_become_the_replacement_character() -> None:
    assert safe_text("a🦜b日") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert safe_text("  a\n\tb\u202e\x00c ") == "a bc"
    assert safe_text("\ud800") == "\N{REPLACEMENT CHARACTER}"
    assert safe_text("ρ − Σ “é”") == "ρ − Σ “é”"


def test_intervals_that_are_not_numbers_are_left_out() -> None:
    table = posterior_table(["base"], ["b1", "b2"], ["bias"])
    table.loc[table["benchmark"] == "b1", ["lower", "upper"]] = np.nan
    table.loc[table["benchmark"] == "b2", ["mean", "lower", "upper"]] = np.nan
    assert_sound(forest(table))
    scores = score_table({"base": 3})
    scores[["lower", "upper"]] = np.nan
    assert_sound(draw_capability(scores, labels={}, level=0.95))
    loadings = loading_table(["base"], ["b1"])
    loadings[["loading", "lower", "upper"]] = np.nan
    drawing = draw_loadings(loadings, labels={}, level=0.95)
    assert "no values" in drawing.alt
    differences = difference_table([("chat", "base")], ["b1"], ["bias"])
    differences[["lower", "upper"]] = np.nan
    assert draw_class_differences(differences, labels={}, headline=(), level=0.95) is not None


def test_empty_tables_give_a_figure_that_says_so() -> None:
    def empty(name: str) -> pd.DataFrame:
        return pd.DataFrame(columns=list(TABLES[name]))

    drawings = [
        draw_forest(
            empty("posterior_correlations"),
            empty("capability_correlations"),
            labels={},
            headline=(),
            rope=0.4,
            level=0.95,
        ),
        draw_capability(empty("capability_scores"), labels={}, level=0.95),
        draw_loadings(empty("capability_loadings"), labels={}, level=0.95),
    ]
    for drawing in drawings:
        assert drawing.caption.startswith("No ")
        assert_sound(drawing)


# --- the same twice, and nothing left behind ---


def test_two_calls_give_the_same_bytes() -> None:
    first, second = all_drawings({"b1": "One", "b2": "Two"}), all_drawings({"b1": "One", "b2": "Two"})
    for one, other in zip(first, second, strict=True):
        assert one.svg == other.svg
        assert one.png == other.png


def test_settings_of_the_user_neither_matter_nor_change() -> None:
    table = posterior_table(["base"], ["b1"], ["bias"])
    plain = forest(table)
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "figure.facecolor": "red", "svg.fonttype": "none"}):
        assert forest(table).svg == plain.svg
        assert mpl.rcParams["font.size"] == 20
        assert mpl.rcParams["figure.facecolor"] == "red"


def test_tables_are_not_changed() -> None:
    table = posterior_table(["base", "chat"], ["b1", "b2"], ["bias"])
    before = table.copy()
    forest(table)
    pd.testing.assert_frame_equal(table, before)


# --- sizes of studies ---


NAMES = ["Gender stereotype association, NarrativeQA", "TruthfulQA", "Worst-case accuracy under fairness perturbation"]


@pytest.mark.parametrize(
    ("classes", "n_benchmarks", "n_models", "ending"),
    [
        (["base", "chat"], 12, {"base": 43, "chat": 24}, " (HELM Classic)"),
        (["chat"], 7, {"chat": 57}, ""),
        (["base", "chat"], 61, {"base": 27, "chat": 26}, ""),
        (["base", "chat", "reasoning"], 10, {"base": 9, "chat": 8, "reasoning": 7}, ""),
        (["base"], 1, {"base": 2}, ""),
    ],
)
def test_labels_of_whole_studies_are_apart_and_inside(
    classes: list[str], n_benchmarks: int, n_models: dict[str, int], ending: str, figures: list[Figure]
) -> None:
    benchmarks = [f"b{i}" for i in range(n_benchmarks)]
    labels = {b: f"{NAMES[i % 3]} {i}{ending}" for i, b in enumerate(benchmarks)}
    areas = ["truthfulness / hallucination", "bias & toxicity", "strict instruction following", "weaponization"]
    pairs = [(other, classes[0]) for other in classes[1:]]
    models = score_table(n_models, "Claude Sonnet 4 (2025-05-14, extended thinking) {}", "Anthropic-LM")
    drawings = [
        forest(posterior_table(classes, benchmarks, areas), labels),
        draw_capability(models, labels={}, level=0.95),
        draw_loadings(loading_table(classes, benchmarks[:12]), labels=labels, level=0.95),
    ]
    scree = draw_scree(factor_table(classes, 12), 0.95)
    shrunken = shrinkage(posterior_table(classes, benchmarks, areas), labels)
    assert scree is not None
    assert shrunken is not None
    drawings += [scree, shrunken]
    if pairs:
        difference = draw_class_differences(
            difference_table(pairs, benchmarks, areas), labels=labels, headline=(), level=0.95
        )
        assert difference is not None
        drawings.append(difference)
    for drawing, figure in zip(drawings, figures, strict=True):
        assert_sound(drawing)
        assert_texts_apart(figure)
        assert figure.get_figheight() <= 10.8


# --- labels ---


def test_cut_labels_fit_and_stay_apart() -> None:
    names = {str(i): "the same long beginning of a name that goes on and on, " + "xyz"[i] * 3 for i in range(3)}
    names |= {
        "a": "twice the same name and too long to be shown whole",
        "b": "twice the same name and too long to be shown whole",
    }
    labels = fit_names(names, 2.0)
    assert len(set(labels.values())) == len(labels)
    assert all(text_width(label) <= 2.05 for label in labels.values())
    assert labels["0"].endswith("xxx")


def test_long_text_ends_in_an_ellipsis_by_45_characters() -> None:
    assert len(fit_text("x" * 300, 20.0)) == 45
    assert fit_text("x" * 300, 20.0).endswith("…")
    assert fit_text("short", 2.0) == "short"


def test_two_lines_break_before_a_bracket() -> None:
    labels = fit_names({"a": "XSTest, safe + unsafe prompts (HELM Safety)"}, 2.3, lines=2)
    assert labels["a"] == "XSTest, safe + unsafe prompts\n(HELM Safety)"


def test_an_ending_is_dropped_only_if_all_share_it() -> None:
    assert without_shared_ending({"a": "A (x)", "b": "B (x)"}) == ({"a": "A", "b": "B"}, "(x)")
    assert without_shared_ending({"a": "A (x)", "b": "B (y)"})[1] == ""
    assert without_shared_ending({"a": "A (x)"})[1] == ""


def test_a_name_that_cannot_be_drawn_gives_way_to_its_key() -> None:
    assert without_shared_ending({"a": "\u202e", "b": "B"})[0] == {"a": "a", "b": "B"}
