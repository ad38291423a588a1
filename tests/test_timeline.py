import dataclasses
import json
import time

import numpy as np
import pytest

from emotion.timeline import Segment, SegmentConfig, Timeline, entropy, segment, smooth

LABELS = ("anger", "fear", "neutral")
OFF = SegmentConfig(smoothing_seconds=0, shortest_seconds=0)


def planted(*stretches: tuple[int, int], share: float = 0.8) -> np.ndarray:
    """Steps of (class, number of steps), its class at `share`, the others alike. Shape: (steps, 3)."""
    rows = [np.full((steps, 3), (1 - share) / 2) for _, steps in stretches]
    for (winner, _), row in zip(stretches, rows):
        row[:, winner] = share
    return np.concatenate(rows)


def restless(steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), steps)


def spans(segments: tuple[Segment, ...]) -> list[tuple[float, float, str]]:
    return [(part.start_seconds, part.end_seconds, part.label) for part in segments]


def timeline(probabilities: list[float], steps: np.ndarray, step_seconds: float = 0.1) -> Timeline:
    return Timeline(
        name="call.wav", labels=LABELS, duration_seconds=len(steps) * step_seconds,
        probabilities=np.array(probabilities), step_times=step_seconds * np.arange(len(steps)),
        step_probabilities=steps, step_speech=np.ones(len(steps)),
        segments=segment(steps, LABELS, step_seconds, len(steps) * step_seconds),
    )


# smoothing

@pytest.mark.parametrize("width", [0, 1, 2, 5, 20, 1000])
@pytest.mark.parametrize("steps", [1, 2, 7, 200])
def test_smoothed_rows_still_sum_to_one(steps, width):
    smoothed = smooth(restless(steps), width)
    assert smoothed.shape == (steps, 3)
    assert smoothed.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("width", [3, 5, 9])
def test_smoothing_is_the_mean_over_a_window_that_narrows_towards_both_ends(width):
    steps = restless(30)
    expected = []
    for i in range(30):
        reach = min(width // 2, i, 29 - i)
        expected.append(steps[i - reach : i + reach + 1].mean(0))
    assert smooth(steps, width) == pytest.approx(np.array(expected))


def test_an_even_width_is_made_odd():
    assert np.array_equal(smooth(restless(30), 4), smooth(restless(30), 5))


@pytest.mark.parametrize("width", [0, 1])
def test_a_width_of_one_step_changes_nothing(width):
    assert smooth(restless(30), width) == pytest.approx(restless(30))


def test_smoothing_backwards_is_smoothing_turned_round():
    assert smooth(restless(30)[::-1], 7) == pytest.approx(smooth(restless(30), 7)[::-1])


# segments

@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("smoothing, shortest", [(0, 0), (0, 0.5), (0.3, 0.2), (0.8, 0.5), (0.8, 5)])
def test_segments_cover_the_recording_without_gap_overlap_or_alike_neighbours(seed, smoothing, shortest):
    duration = np.random.default_rng(seed).uniform(0.05, 12)
    steps = restless(int(duration * 100 + 1) // 8 + 1, seed)  # of 8 frames; the last may begin at the end
    parts = segment(steps, LABELS, 0.08, duration,
                    SegmentConfig(smoothing_seconds=smoothing, shortest_seconds=shortest))
    assert parts[0].start_seconds == 0
    assert parts[-1].end_seconds == pytest.approx(duration, abs=0.0005)
    assert all(part.start_seconds < part.end_seconds for part in parts)
    assert all(a.end_seconds == b.start_seconds and a.label != b.label for a, b in zip(parts, parts[1:]))
    assert len(parts) == 1 or all(part.end_seconds - part.start_seconds > shortest - 0.09 for part in parts)


def test_planted_stretches_come_back_with_their_times_and_their_share():
    steps = planted((0, 10), (2, 20), (1, 10))
    parts = segment(steps, LABELS, 0.1, 4.0, OFF)
    assert spans(parts) == [(0, 1, "anger"), (1, 3, "neutral"), (3, 4, "fear")]
    assert [part.confidence for part in parts] == pytest.approx([0.8] * 3)


def test_segments_cover_the_stretches_and_nothing_is_smoothed_from_one_into_the_next():
    steps = planted((0, 10), (1, 10), (2, 20))
    parts = segment(steps, LABELS, 0.1, 4.0, SegmentConfig(), [(0, 10), (10, 18), (25, 40)])
    assert spans(parts) == [(0, 1, "anger"), (1, 1.8, "fear"), (2.5, 4, "neutral")]
    assert [part.confidence for part in parts] == pytest.approx([0.8] * 3)


def test_borders_lie_half_way_between_the_centres_of_steps():
    steps = planted((0, 10), (1, 10))
    for first, end, border in ((0.0, 1.95, 0.95), (0.05, 2.0, 1.0)):
        parts = segment(steps, LABELS, 0.1, end, OFF, first_seconds=first)
        assert spans(parts) == [(0, border, "anger"), (border, end, "fear")]


def test_where_nobody_speaks_there_is_no_segment():
    assert segment(planted((0, 10)), LABELS, 0.1, 1.0, OFF, []) == ()


def test_a_short_stretch_joins_the_neighbour_that_is_more_probable_inside_it():
    steps = planted((0, 20), (1, 3), (2, 20))
    steps[20:23] = [0.1, 0.6, 0.3]
    parts = segment(steps, LABELS, 0.1, 4.3, SegmentConfig(smoothing_seconds=0, shortest_seconds=0.5))
    assert spans(parts) == [(0, 2, "anger"), (2, 4.3, "neutral")]
    assert parts[1].confidence == pytest.approx((20 * 0.8 + 3 * 0.3) / 23)


@pytest.mark.parametrize("shortest", [0.28, 0.56, 1.12, 0.4])
def test_a_stretch_as_long_as_the_shortest_stays_whatever_the_division_says(shortest):
    count = round(shortest / 0.04)   # 0.28 / 0.04 is 7.000000000000001
    config = SegmentConfig(smoothing_seconds=0, shortest_seconds=shortest)
    parts = segment(planted((0, 40), (1, count), (0, 40)), LABELS, 0.04, (80 + count) * 0.04, config)
    assert [part.label for part in parts] == ["anger", "fear", "anger"]


def test_confidence_is_that_of_the_label_where_another_emotion_was_absorbed():
    steps = np.array([[0.4, 0.35, 0.25]] * 5 + [[0.15, 0.8, 0.05]] * 4 + [[0.1, 0.1, 0.8]] * 6)
    first, _ = segment(steps, LABELS, 0.1, 1.5, SegmentConfig(smoothing_seconds=0, shortest_seconds=0.5))
    assert first.label == "anger" and first.confidence == first.probabilities[0] < first.probabilities[1]


def test_an_island_shorter_than_the_limit_joins_both_sides_to_one():
    steps = planted((0, 20), (1, 4), (0, 20))
    alone, kept = (SegmentConfig(smoothing_seconds=0, shortest_seconds=limit) for limit in (0.5, 0.4))
    assert spans(segment(steps, LABELS, 0.1, 4.4, alone)) == [(0, 4.4, "anger")]
    assert len(segment(steps, LABELS, 0.1, 4.4, kept)) == 3


def test_smoothing_drowns_a_single_restless_step():
    steps = planted((0, 20), (1, 1), (0, 20))
    smoothed = segment(steps, LABELS, 0.1, 4.1, SegmentConfig(smoothing_seconds=0.5, shortest_seconds=0))
    assert len(segment(steps, LABELS, 0.1, 4.1, OFF)) == 3
    assert len(smoothed) == 1


def joined_one_by_one(winners: list[int], smoothed: np.ndarray, fewest: float) -> list[list[int]]:
    """Stretches [start, end, winner] by definition: the shortest joins a neighbour, all is looked at anew."""
    while True:
        stretches: list[list[int]] = []
        for i, winner in enumerate(winners):
            if stretches and stretches[-1][2] == winner:
                stretches[-1][1] = i + 1
            else:
                stretches.append([i, i + 1, winner])
        k = min(range(len(stretches)), key=lambda k: stretches[k][1] - stretches[k][0])
        start, end, _ = stretches[k]
        if len(stretches) == 1 or end - start >= fewest:
            return stretches
        near = [stretches[j][2] for j in (k - 1, k + 1) if 0 <= j < len(stretches)]
        winners[start:end] = [max(near, key=smoothed[start:end].mean(0).__getitem__)] * (end - start)


@pytest.mark.parametrize("seed", range(20))
def test_the_heap_joins_as_looking_through_all_stretches_does(seed):
    steps, fewest = restless(150, seed), 2 + seed % 5
    config = SegmentConfig(smoothing_seconds=0, shortest_seconds=float(fewest))
    expected = joined_one_by_one(steps.argmax(1).tolist(), steps, fewest)
    assert spans(segment(steps, LABELS, 1.0, 150.0, config)) == [(a, b, LABELS[k]) for a, b, k in expected]


def test_an_hour_of_restless_steps_is_joined_at_once():
    started = time.monotonic()
    segment(restless(90_000), LABELS, 0.04, 3600.0)
    assert time.monotonic() - started < 10  # looking through all stretches each time: minutes


def test_a_step_that_begins_with_the_end_of_the_recording_makes_no_empty_segment():
    steps = planted((0, 12), (1, 1))  # 0.96 s are 97 frames, 13 steps of 8
    assert spans(segment(steps, LABELS, 0.08, 0.96, OFF)) == [(0, 0.96, "anger")]
    assert spans(segment(steps, LABELS, 0.08, 1.0, OFF)) == [(0, 0.96, "anger"), (0.96, 1.0, "fear")]


def test_a_recording_of_one_sample_is_one_segment():
    assert spans(segment(planted((1, 1)), LABELS, 0.04, 1 / 16000)) == [(0, 0, "fear")]


@pytest.mark.parametrize("name", ["smoothing_seconds", "shortest_seconds"])
def test_a_negative_duration_is_refused(name):
    with pytest.raises(ValueError, match="Use 0 to switch either off"):
        SegmentConfig(**{name: -0.1})


# the answer

@pytest.mark.parametrize("classes", range(2, 11))
def test_entropy_is_0_for_certainty_and_1_where_all_are_alike(classes):
    assert f"{entropy(np.eye(classes, dtype=np.float32)[0]):.6f}" == "0.000000"  # not -0.000000
    alike = entropy(np.full(classes, 1 / classes, np.float32))
    assert alike == pytest.approx(1) and alike <= 1


def test_two_of_four_alike_have_half_the_entropy():
    assert entropy(np.array([0.5, 0.5, 0, 0])) == pytest.approx(0.5)


def test_the_label_is_the_most_probable_class_and_its_probability_the_confidence():
    answer = timeline([0.2, 0.7, 0.1], planted((0, 30)))
    assert (answer.label, answer.confidence) == ("fear", 0.7)
    assert answer.entropy == entropy(answer.probabilities)
    assert repr(answer) == "Timeline('call.wav', fear 0.70, 3.00 s, 1 segments)"


def test_an_answer_as_sure_as_the_threshold_is_told():
    answer = dataclasses.replace(timeline([0.25, 0.75, 0.0], planted((0, 5))), unknown_below=0.75)
    assert answer.label == "fear" and dataclasses.replace(answer, unknown_below=0.7500001).label == "unknown"


def test_an_answer_survives_json():
    answer = timeline([0.2, 0.7, 0.1], planted((0, 20), (2, 20)))
    fields = json.loads(json.dumps(answer.to_dict()))
    assert fields["probabilities"] == {"anger": 0.2, "fear": 0.7, "neutral": 0.1}
    for told, part in zip(fields["segments"], answer.segments, strict=True):
        assert Segment(**{**told, "probabilities": tuple(told["probabilities"].values())}) == part
    assert (fields["path"], fields["flags"], fields["duration_seconds"]) == ("call.wav", [], 4.0)
    assert "dimensions" not in fields and "dimensions" not in fields["segments"][0]


def test_a_segment_has_the_mean_of_the_dimensions_of_its_steps():
    steps = planted((0, 20), (2, 20))
    felt = np.linspace(0, 1, 80).reshape(40, 2)
    parts = segment(steps, LABELS, 0.1, 4.0, SegmentConfig(smoothing_seconds=0), dimensions=felt)
    assert [part.dimensions for part in parts] == [
        pytest.approx(felt[:20].mean(0)), pytest.approx(felt[20:].mean(0))]


def test_the_dimensions_of_a_segment_are_those_of_its_own_stretch():
    steps, felt = planted((0, 20), (2, 20)), np.linspace(0, 1, 40)[:, None]
    parts = segment(steps, LABELS, 0.1, 4.0, OFF, [(5, 10), (25, 40)], dimensions=felt)
    assert [part.dimensions for part in parts] == [
        (pytest.approx(felt[5:10].mean()),), (pytest.approx(felt[25:].mean()),)]


def test_dimensions_survive_json_by_name():
    part = Segment(0.0, 1.0, "fear", 0.5, (0.5, 0.5, 0), dimensions=(0.25, 0.75))
    answer = dataclasses.replace(
        timeline([0.2, 0.7, 0.1], planted((0, 20))), segments=(part,), dimensions={"valence": 0.125, "arousal": 0.5})
    fields = json.loads(json.dumps(answer.to_dict()))
    assert fields["dimensions"] == {"valence": 0.125, "arousal": 0.5}
    assert fields["segments"][0]["dimensions"] == {"valence": 0.25, "arousal": 0.75}
    assert list(fields).index("dimensions") == list(fields).index("probabilities") - 1
    answer.to_dict()["dimensions"].clear()
    assert len(answer.dimensions) == 2   # what is told is a copy


def test_one_class_alone_leaves_no_doubt():
    assert entropy(np.ones(1)) == 0
