import io
import itertools
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from pictures import assert_readable, written

from emotion import labels, metrics, plot

LABELS = tuple(plot.COLOURS)


def counts(classes: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.poisson(3, (classes, classes)) + np.diag(generator.integers(5, 1500, classes))


def timeline(duration_seconds: float, classes: int, steps: int, dimensions: tuple[str, ...] = ()) -> SimpleNamespace:
    generator = np.random.default_rng(1)
    logits = np.repeat(2 * generator.normal(size=(-(-steps // 8), classes)), 8, axis=0)[:steps]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    edges = np.linspace(0, duration_seconds, steps + 1)
    segments = tuple(SimpleNamespace(start_seconds=edges[first], end_seconds=edges[min(first + 8, steps)],
                                     label=LABELS[probabilities[first].argmax()], confidence=0.5)
                     for first in range(0, steps, 8))
    return SimpleNamespace(labels=LABELS[:classes], duration_seconds=duration_seconds, segments=segments,
                           step_times=(edges[1:] + edges[:-1]) / 2, step_probabilities=probabilities,
                           dimensions=dict.fromkeys(dimensions, 0.5),
                           step_dimensions=generator.uniform(size=(steps, len(dimensions))) if dimensions else None)


def draw_recording(path, duration_seconds=2.0, classes=4, steps=24, dimensions=(), **options):
    generator = np.random.default_rng(2)
    waveform = 0.1 * generator.normal(size=int(16000 * duration_seconds)).astype(np.float32)
    mel = generator.normal(size=(int(100 * duration_seconds) + 1, 64)) - 5
    times = timeline(duration_seconds, classes, steps, dimensions)
    return plot.recording(waveform, 16000, mel, 0.01, times, path, **options)


@pytest.mark.parametrize("classes", [3, 4, 7, 9])
def test_confusion_shows_every_count_and_the_percent_of_its_row(classes, tmp_path):
    matrix = counts(classes)
    figure = plot.confusion(matrix, LABELS[:classes], tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 5000
    axes = figure.axes[0]
    cells = {(text.get_text(), *np.round(text.get_position())) for text in axes.texts}
    for (row, column), count in np.ndenumerate(matrix):
        assert (f"({count})", column, row) in cells
        assert (f"{100 * count / matrix[row].sum():.0f}", column, row) in cells
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_xticklabels()] == list(LABELS[:classes])
    assert [label.get_text() for label in axes.get_yticklabels()] == list(LABELS[:classes])
    assert_readable(figure)


def test_confusion_leaves_the_row_of_an_absent_class_empty(tmp_path):
    figure = plot.confusion([[4, 0], [0, 0]], ["anger", "fear"], tmp_path / "confusion.png")
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["(0)", "(4)", "0", "100"]


@pytest.mark.parametrize("both", [False, True])
def test_reliability_names_the_calibration_error(both, tmp_path):
    generator = np.random.default_rng(0)
    before, after = generator.dirichlet(np.full(4, 0.2), 300), generator.dirichlet(np.full(4, 2.0), 300)
    targets = generator.integers(4, size=300)
    path = tmp_path / "reliability.png"
    figure = plot.reliability(targets, before, path, calibrated=after if both else None)
    assert path.stat().st_size > 5000
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    errors = [100 * metrics.ece(targets, scores) for scores in (before, after)]
    expected = [f"before: ECE {errors[0]:.1f} %", f"after: ECE {errors[1]:.1f} %"]
    assert legend == (expected if both else [expected[0].replace("before", "model")])
    assert [axes.get_ylabel() for axes in figure.axes] == ["share right (%)", "utterances (%)"]
    assert_readable(figure)


def test_reliability_of_a_calibrated_draw_lies_on_the_diagonal(tmp_path):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), 50_000)
    targets = (probabilities.cumsum(axis=1) > generator.random((50_000, 1))).argmax(axis=1)
    figure = plot.reliability(targets, probabilities, tmp_path / "reliability.png")
    confidence, right = figure.axes[0].lines[1].get_data()
    np.testing.assert_allclose(confidence, right, atol=4)


@pytest.mark.parametrize("duration_seconds, classes, steps",
                         [(2.0, 3, 24), (2.0, 9, 24), (60.0, 4, 600), (60.0, 9, 120), (0.5, 7, 1)])
def test_recording_has_three_panels_on_one_time_axis(duration_seconds, classes, steps, tmp_path):
    path = tmp_path / "recording.png"
    figure = draw_recording(path, duration_seconds, classes, steps, title="tone.wav: anger")
    assert path.stat().st_size > 20_000
    panels = figure.axes[:3]
    assert [axes.get_ylabel() for axes in panels] == ["amplitude", "mel band", "probability (%)"]
    assert {axes.get_xlim() for axes in panels} == {(0.0, duration_seconds)}
    sides = [axes.get_position().intervalx for axes in panels]
    np.testing.assert_allclose(sides, [sides[0]] * 3)
    assert panels[2].get_xlabel() == "time (s)" and set(LABELS[:classes]) <= set(written(figure))
    assert_readable(figure)


@pytest.mark.parametrize("options", [{}, {"f0_hz": np.full(201, 150.0)}], ids=["alone", "below the pitch"])
def test_recording_draws_a_line_for_each_dimension_between_0_and_1(options, tmp_path):
    names = ("arousal", "valence", "dominance")
    figure = draw_recording(tmp_path / "recording.png", dimensions=names, **options)
    (panel,) = (axes for axes in figure.axes if axes.get_ylabel() == "rating")
    drawn = timeline(2.0, 4, 24, names)
    for line, values in zip(panel.lines, drawn.step_dimensions.T, strict=True):
        np.testing.assert_allclose(line.get_xdata(), drawn.step_times)
        np.testing.assert_allclose(line.get_ydata(), values)
    assert set(names) <= set(written(figure)) and panel.get_ylim() == (0, 1)
    assert len({line.get_color() for line in panel.lines}) == 3
    assert_readable(figure)


def test_a_recording_of_a_model_of_dimensions_alone_shows_no_emotions(tmp_path):
    drawn = timeline(130.0, 1, 24, ("arousal",))
    drawn.labels = ("unknown",)
    for segment in drawn.segments:
        segment.label = "unknown"
    figure = plot.recording(np.ones(16_000), 16_000, np.zeros((101, 64)), 0.01, drawn, tmp_path / "recording.png")
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["amplitude", "mel band", "rating"]
    assert figure.axes[2].get_xlabel() == "time (min:s)" and "unknown" not in written(figure)
    assert_readable(figure)


def test_dimensions_of_a_long_recording_are_drawn_as_means(tmp_path):
    figure = draw_recording(tmp_path / "long.png", 600.0, steps=14_400, dimensions=("arousal",))
    (panel,) = (axes for axes in figure.axes if axes.get_ylabel() == "rating")
    (line,) = panel.lines
    assert len(line.get_ydata()) == plot.FEW_COLUMNS
    assert line.get_ydata().mean() == pytest.approx(timeline(600.0, 4, 14_400, ("arousal",)).step_dimensions.mean())


def test_recording_draws_each_emotion_in_its_colour_up_to_the_edges(tmp_path):
    emotions = draw_recording(tmp_path / "recording.png", classes=9).axes[2]
    areas = emotions.collections[:9]
    assert [matplotlib.colors.to_hex(area.get_facecolor()[0]).upper() for area in areas] == [
        plot.COLOURS[label] for label in LABELS[:9]]
    times = areas[0].get_paths()[0].vertices[:, 0]
    assert (times.min(), times.max()) == (0.0, 2.0)
    assert areas[-1].get_paths()[0].vertices[:, 1].max() == pytest.approx(100)


def test_a_segment_is_named_only_where_its_name_fits(tmp_path):
    names = [text.get_text() for text in draw_recording(tmp_path / "a.png", 60.0, 4, 24).axes[2].texts]
    assert names == [segment.label for segment in timeline(60.0, 4, 24).segments]
    assert not draw_recording(tmp_path / "b.png", 60.0, 4, 600).axes[2].texts


def test_the_envelope_of_a_long_waveform_keeps_its_highest_and_lowest_sample(tmp_path):
    waveform = np.zeros(1_000_000, dtype=np.float32)
    waveform[777_777], waveform[123_456] = 0.9, -0.8
    mel = np.zeros((6251, 8))
    figure = plot.recording(waveform, 16000, mel, 0.01, timeline(62.5, 3, 60), tmp_path / "long.png")
    heights = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.max(), heights.min()) == pytest.approx((0.9, -0.8))


def test_the_pitch_has_a_panel_with_gaps_where_nothing_is_voiced(tmp_path):
    mel, f0_hz = np.zeros((51, 8)), np.where(np.arange(51) < 20, 0, 200.0)
    figure = plot.recording(np.zeros(8000), 16000, mel, 0.01, timeline(0.5, 3, 6), tmp_path / "f0.png", f0_hz=f0_hz)
    axes = next(axes for axes in figure.axes if axes.get_ylabel() == "F0 (Hz)")
    times, drawn = axes.lines[0].get_data()
    assert times == pytest.approx(0.01 * np.arange(51)) and axes.get_xlim() == (0, 0.5)
    assert np.isnan(drawn[:20]).all() and (drawn[20:] == 200).all()


@pytest.mark.parametrize("duration_seconds, unit, names", [
    (100, "s", None), (600, "min:s", ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]),
    (3 * 3600, "h:min", ["0:00", "0:30", "1:00", "1:30", "2:00", "2:30", "3:00"]),
])
def test_long_times_are_named_in_minutes_and_hours(duration_seconds, unit, names, tmp_path):
    mel = np.zeros((int(duration_seconds * 10) + 1, 4))
    seen = timeline(duration_seconds, 3, 60)
    figure = plot.recording(np.zeros(duration_seconds * 80), 80, mel, 0.1, seen, tmp_path / "long.png")
    axes = next(axes for axes in figure.axes if axes.get_xlabel())
    assert axes.get_xlabel() == f"time ({unit})"
    assert names is None or [text.get_text() for text in axes.get_xticklabels()] == names


def test_a_long_recording_is_told_in_columns_that_an_eye_tells_apart(tmp_path):
    """Neutral, then an hour in which nobody speaks, then mostly anger."""
    hour, labels = 3600.0, ("anger", "neutral")
    times = np.arange(0.5, 3 * hour)
    anger = np.where(times < hour, 0.1, 0.9)
    parts = [(0.0, hour, "neutral"), (2 * hour, 3 * hour - 10, "anger"), (3 * hour - 10, 3 * hour, "neutral")]
    seen = SimpleNamespace(
        labels=labels, duration_seconds=3 * hour, step_times=times, step_probabilities=np.stack([anger, 1 - anger], 1),
        segments=tuple(SimpleNamespace(start_seconds=a, end_seconds=b, label=label) for a, b, label in parts),
        dimensions={}, step_dimensions=None,
    )
    figure = plot.recording(np.zeros(8000), 8000 / 3 / hour, np.zeros((109, 4)), 100.0, seen, tmp_path / "long.png")
    axes = next(axes for axes in figure.axes if axes.get_ylabel() == "probability (%)")
    assert [text.get_text() for text in axes.texts] == ["neutral", "anger"]   # ten seconds are no column
    corners = max(len(path.vertices) for shares in axes.collections for path in shares.get_paths())
    assert corners < 2 * plot.FEW_COLUMNS + 20
    silence, = axes.collections[-1].get_paths()
    assert silence.get_extents().intervalx == pytest.approx([hour, 2 * hour], abs=60)


def test_digital_silence_can_be_drawn(tmp_path):
    mel = np.full((51, 64), np.log(1e-10))
    figure = plot.recording(np.zeros(8000), 16000, mel, 0.01, timeline(0.5, 3, 6), tmp_path / "silence.png")
    assert_readable(figure)


def linear(colour: str) -> np.ndarray:
    share = np.array([int(colour[place:place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    root = np.cbrt(to_xyz @ rgb.clip(0, 1) / [0.9505, 1.0, 1.089])
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("eyes", [  # Machado, Oliveira and Fernandes, 2009, full severity
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
], ids=["usual", "protanopia", "deuteranopia", "tritanopia"])
def test_colours_stay_apart_for_every_kind_of_eyes(eyes):
    seen = [cielab(np.array(eyes) @ linear(colour)) for colour in plot.COLOURS.values()]
    gaps = [np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)]
    assert min(gaps) > 15  # 2.3 is just noticeable


def test_every_emotion_has_a_colour():
    assert LABELS == labels.EMOTIONS


@pytest.mark.parametrize("draw", [
    lambda path, title: plot.confusion(counts(3), LABELS[:3], path, title=title),
    lambda path, title: plot.reliability([0, 1], [[0.9, 0.1], [0.2, 0.8]], path, title=title),
    lambda path, title: draw_recording(path, title=title),
], ids=["confusion", "reliability", "recording"])
def test_a_title_is_written_as_it_is_given_and_only_then(draw, tmp_path):
    name = "a$_{price}$_b.wav"  # would be mathematics, and broken, if it were parsed
    assert name in written(draw(tmp_path / "titled.png", name))
    assert not any(axes.get_title() for axes in draw(tmp_path / "plain.png", None).axes)


@pytest.mark.parametrize("suffix, magic", [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_suffix_chooses_the_format(suffix, magic, tmp_path):
    plot.confusion(counts(3), LABELS[:3], tmp_path / f"confusion.{suffix}")
    assert (tmp_path / f"confusion.{suffix}").read_bytes().startswith(magic)


def test_an_open_file_gets_a_png():
    file = io.BytesIO()
    plot.confusion(counts(3), LABELS[:3], file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_the_same_picture_has_the_same_bytes(tmp_path):
    draw_recording(tmp_path / "a.png")
    draw_recording(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_drawing_touches_neither_pyplot_nor_settings_and_importing_not_even_matplotlib():
    code = ("import sys; from emotion import plot; assert 'matplotlib' not in sys.modules\n"
            "import io, matplotlib; before = matplotlib.rcParams.copy()\n"
            "plot.confusion([[1, 0], [0, 1]], ['fear', 'calm'], io.BytesIO())\n"
            "assert 'matplotlib.pyplot' not in sys.modules and dict.__eq__(matplotlib.rcParams, before)")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_matrix_that_does_not_fit_its_labels_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Pass the labels"):
        plot.confusion(counts(3), LABELS[:4], tmp_path / "confusion.png")


@pytest.mark.parametrize("samples, bands", [((1, 100), (3, 8)), (100, (1, 3, 8)), (0, (3, 8)), (100, (0, 8))])
def test_a_recording_of_other_shapes_is_refused(samples, bands, tmp_path):
    with pytest.raises(ValueError, match="Pass one channel of one recording"):
        times = timeline(0.1, 3, 2)
        plot.recording(np.zeros(samples), 16000, np.zeros(bands), 0.01, times, tmp_path / "recording.png")


def test_a_label_without_a_colour_is_refused(tmp_path):
    strange = timeline(0.1, 3, 2)
    strange.labels = ("anger", "boredom", "envy")
    with pytest.raises(ValueError, match="no colour for envy.*Map the labels"):
        plot.recording(np.zeros(1600), 16000, np.zeros((11, 8)), 0.01, strange, tmp_path / "recording.png")
