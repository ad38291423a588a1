"""Why the model answered so: what each place of the spectrogram added to the logit of a label, and a test of it.

    recording -> the window that carried the answer -> log-mel -> slopes, normalisation -> network -> logit

    relevance = (log-mel - baseline) * gradient of the logit, averaged on the straight line from the baseline to it

The baseline is the recording's own mean spectrum in all frames: the same voice in the same room, and nothing happens.
It was chosen by faithfulness, on 180 recordings of speakers that the first bundled model never heard: 0.170 for the
recording's mean spectrum, 0.140 for the training speakers', 0.114 for the recording's quiet, 0.056 for digital silence,
what is deleted becoming the same. With the first, gradient x input has 0.158, loudness 0.088.

Relevance sums to the difference between the two logits. `deletion` puts it to the test: without the places it names the
label must lose more than without as many others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from . import plot, sources, turns
from .analyzer import Analyzer
from .features import from_moments, moments
from .models import Output
from .slopes import deltas
from .timeline import Span, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS = (64, 256, 1024)   # points on the line; the next only where the sum is not exact yet
TOLERANCE = 0.1   # of that sum, in logits: it moves no probability by more than 2.5 %
BATCH_FRAMES = 3000   # computed at once
PATCH_SECONDS, PATCH_BANDS = 0.1, 8   # of what is deleted at once
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
RANDOM_ORDERS = 8   # whose mean is taken
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True, eq=False)
class Explanation:
    """What in a recording, from start to stop, spoke for a label and what against it.

    Shape:  probabilities (classes,) of that part; mel and relevance (frames, bands); baseline and band_hz (bands,), the
        middle of each band; frame_times (frames,); step_times (steps,); step_probabilities (steps, classes);
        attention (steps,), the share of each step in the answer, None where the model pools otherwise; prosody
        (frames, contours) as the model heard it, None where it hears none.
    Unit:   mel and baseline in natural log of power, relevance in logits, times in seconds of the recording.
    baseline_confidence: probability of the label for the baseline alone: where relevance begins to count.
    completeness_error: the sum of relevance less the difference in logits that it stands for; at most TOLERANCE,
        unless 1024 steps were too few.
    """

    name: str
    label: str
    labels: tuple[str, ...]
    start_seconds: float
    stop_seconds: float
    probabilities: np.ndarray
    mel: np.ndarray
    baseline: np.ndarray
    baseline_confidence: float
    relevance: np.ndarray
    frame_times: np.ndarray
    band_hz: np.ndarray
    step_times: np.ndarray
    step_probabilities: np.ndarray
    attention: np.ndarray | None
    prosody: np.ndarray | None
    completeness_error: float

    @property
    def confidence(self) -> float:
        """Calibrated probability of the label."""
        return float(self.probabilities[self.labels.index(self.label)])

    @property
    def frame_seconds(self) -> float:
        """Time from one frame to the next; where there is but one, all of it."""
        return float(np.diff(self.frame_times, append=self.stop_seconds)[0])


def explain(
    analyzer: Analyzer, source: Any, sample_rate: int | None = None, label: str | None = None, *,
    start_seconds: float | None = None, stop_seconds: float | None = None,
) -> Explanation:
    """What in one recording, given as to Analyzer.analyze, speaks for a label (the most probable) and what against.

    Of a recording longer than the analyzer's windows, that stretch of their length is explained in which the label is
    most probable, summed over speech; or the one from start_seconds to stop_seconds.

    Where a model is normalised by utterance, or hears prosody beside the mel, mean, deviation and prosody stay those of
    the recording, and relevance tells of the mel alone.

    Raises: AudioError as analyze; ValueError for a label the model lacks, a span longer than a window or several
        recordings; ModuleNotFoundError where captum is not installed.
    Source: Sundararajan et al., Axiomatic attribution for deep networks, 2017.
    """
    _check_label(label, analyzer.labels)
    span = _given(start_seconds, stop_seconds, analyzer.windows.length_seconds)
    opened = sources.for_each_reader(source)   # a pipe, too, is heard twice
    timeline = analyzer.analyze(opened(), sample_rate, spans=None if span is None else [span])
    if not isinstance(timeline, Timeline):
        raise ValueError("several recordings have each their own reasons. Give one path, file object or array.")
    index = analyzer.labels.index(label) if label else int(timeline.probabilities.argmax())
    span = span or _carrying(timeline, index, analyzer)
    *_, stretch = turns.reader(opened(), sample_rate, analyzer.sample_rate)
    waveform = stretch(span.start_seconds, span.end_seconds)
    mel, prosody = _features(analyzer, waveform)
    network = _Network(analyzer, mel, prosody)
    baseline = mel.mean(0)
    relevance, error = _integrated_gradients(network, mel, baseline, index)
    with torch.inference_mode():
        output = network(mel[None])
        without = network(baseline.expand_as(mel)[None])
    calibration = analyzer.checkpoint.calibration
    reach, attends = analyzer.checkpoint.model.reach, analyzer.checkpoint.model.config.pooling == "attention"
    settings = analyzer.checkpoint.frontend.config
    steps = np.arange(int(output.step_lengths[0]))
    return Explanation(
        name=timeline.name,
        label=analyzer.labels[index],
        labels=analyzer.labels,
        start_seconds=span.start_seconds,
        stop_seconds=span.start_seconds + len(waveform) / analyzer.sample_rate,
        probabilities=_numpy(calibration.apply_utterance(output.logits)[0]),
        mel=_numpy(mel),
        baseline=_numpy(baseline),
        baseline_confidence=float(calibration.apply_utterance(without.logits)[0, index]),
        relevance=_numpy(relevance),
        frame_times=span.start_seconds + settings.frame_seconds * np.arange(len(mel)),
        band_hz=_centres(settings.low_hz, settings.high_hz, settings.num_bands),
        step_times=span.start_seconds + settings.frame_seconds * (reach.centre + reach.hop * steps),
        step_probabilities=_numpy(calibration.apply_steps(output.step_logits)[0]),
        attention=_numpy(output.weights[0]) if attends else None,
        prosody=None if prosody is None else _numpy(prosody),
        completeness_error=error,
    )


def deletion(
    analyzer: Analyzer, explanation: Explanation, shares: Sequence[float] = SHARES, by: str = "relevance",
    seed: int = 0,
) -> np.ndarray:
    """Probability of the label once these shares of the spectrogram, in patches of 0.1 s x 8 bands, are replaced by the
    baseline, the most relevant first.

    by: relevance, or random: the mean over 8 orders.
    Shape:  -> (shares,).
    Raises: ValueError for another order, or shares outside [0, 1].
    Source: Samek et al., Evaluating the visualization of what a deep neural network has learned, 2017.
    """
    if by not in ("relevance", "random"):
        raise ValueError(f"by={by!r} must be relevance or random.")
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares={tuple(shares)} must be in [0, 1]: there is no more than all. Give 0.1 for 10 %.")
    mel, baseline = (torch.from_numpy(part).to(analyzer.device) for part in (explanation.mel, explanation.baseline))
    prosody = None if explanation.prosody is None else torch.from_numpy(explanation.prosody).to(analyzer.device)
    network, index = _Network(analyzer, mel, prosody), explanation.labels.index(explanation.label)
    patches = _patches(explanation)
    count = patches.max() + 1
    if by == "relevance":
        orders = [np.argsort(-np.bincount(patches.ravel(), explanation.relevance.ravel()), kind="stable")]
    else:
        generator = np.random.default_rng(seed)
        orders = [generator.permutation(count) for _ in range(RANDOM_ORDERS)]

    @torch.inference_mode()
    def probability(order: np.ndarray, share: float) -> float:
        deleted = np.isin(patches, order[: round(share * count)])
        left = torch.where(torch.from_numpy(deleted).to(mel.device), baseline, mel)
        return float(analyzer.checkpoint.calibration.apply_utterance(network(left[None]).logits)[0, index])

    return np.mean([[probability(order, share) for share in shares] for order in orders], axis=0)


def faithfulness(
    analyzer: Analyzer, explanation: Explanation, shares: Sequence[float] = SHARES, seed: int = 0,
) -> float:
    """Area between deletion at random and by relevance: 0 where relevance knows no more than chance, at most 1."""
    gap = deletion(analyzer, explanation, shares, "random", seed) - deletion(analyzer, explanation, shares)
    return float(((gap[1:] + gap[:-1]) / 2 * np.diff(shares)).sum())


def draw(explanation: Explanation, path: plot.Output, title: str | None = None) -> Figure:
    """Log-mel in grey under relevance in red (for the label) and blue (against); below, the label's probability over
    time and, where the model pools by attention, what it attended to.

    Colours add up what is around them, weighted: about one patch of `deletion`. path, Figure: as in `plot`.
    """
    attention = explanation.attention
    figure = plot.new_figure(9.0, 4.8 if attention is None else 5.6)
    heights = (3.2, 1) if attention is None else (3.2, 1, 1)
    grid = figure.add_gridspec(len(heights), 2, width_ratios=(1, 0.025), height_ratios=heights)
    spectrum = figure.add_subplot(grid[0, 0])
    image = _draw_relevance(spectrum, explanation)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[0, 1]))
    bar.set_label(f"relevance (logits in {PATCH_SECONDS} s x {PATCH_BANDS} bands)", fontsize=10)
    bar.ax.set_title("for", fontsize=10)
    bar.ax.set_xlabel("against", fontsize=10)
    rows = [figure.add_subplot(grid[row, 0], sharex=spectrum) for row in range(1, len(heights))]
    _draw_probability(rows[0], explanation)
    if attention is not None:
        _draw_attention(rows[1], explanation.step_times, attention)
    for axes in (spectrum, *rows[:-1]):
        axes.tick_params(labelbottom=False)
    rows[-1].set_xlabel("time (s)", fontsize=11)
    spectrum.set_xlim(explanation.start_seconds, explanation.stop_seconds)
    figure.align_ylabels((spectrum, *rows))
    here, alone = (100 * share for share in (explanation.confidence, explanation.baseline_confidence))
    answer = f"{explanation.label} {here:.0f} %; its mean spectrum alone {alone:.0f} %"
    return plot.save(figure, path, title or answer)


def _draw_relevance(axes: Axes, explanation: Explanation):
    mel, times, half = explanation.mel, explanation.frame_times, explanation.frame_seconds / 2
    extent = (times[0] - half, times[-1] + half, -0.5, mel.shape[1] - 0.5)
    place: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": extent}
    top = float(mel.max())
    axes.imshow(mel.T, cmap="Greys", vmin=max(float(mel.min()), top - 14), vmax=top + 4, **place)
    colours = _gathered(explanation).T
    scale = max(float(np.abs(colours).max()), 1e-6)
    strength = np.minimum(1, 3 * np.abs(colours) / scale)  # the weakest third lets the spectrogram through
    image = axes.imshow(colours, cmap="RdBu_r", vmin=-scale, vmax=scale, alpha=strength, **place)
    ticks = [hz for hz in TICKS_HZ if explanation.band_hz[0] <= hz <= explanation.band_hz[-1]]
    bands = np.interp(ticks, explanation.band_hz, np.arange(len(explanation.band_hz)))
    axes.set_yticks(bands, [f"{hz / 1000:g}" for hz in ticks])
    plot.plain(axes, ylabel="frequency (kHz)")
    return image


def _draw_probability(axes: Axes, explanation: Explanation) -> None:
    shares = 100 * explanation.step_probabilities[:, explanation.labels.index(explanation.label)]
    axes.fill_between(explanation.step_times, shares, color=plot.COLOURS.get(explanation.label, plot.GREY), linewidth=0)
    axes.set_ylim(0, 100)
    plot.plain(axes, ylabel=f"{explanation.label}\n(%)")


def _draw_attention(axes: Axes, times: np.ndarray, attention: np.ndarray) -> None:
    axes.plot(times, len(attention) * attention, color=plot.INK, linewidth=1.5)
    axes.axhline(1, color=plot.GREY, linestyle=":", linewidth=1.2)
    axes.set_ylim(0, None)
    plot.plain(axes, ylabel="attention\n(x average)")


def _gathered(explanation: Explanation) -> np.ndarray:
    """Relevance of about one patch around each place. Shape: (frames, bands)."""
    def gather(lines: np.ndarray, size: int) -> np.ndarray:
        window = np.hanning(2 * size + 1)[1:-1]
        padded = np.pad(lines, [(size - 1, size - 1), (0, 0)])
        return np.apply_along_axis(np.convolve, 0, padded, window * size / window.sum(), "valid")

    frames, bands = _patch_size(explanation)
    return gather(gather(explanation.relevance, frames).T, bands).T


def _patch_size(explanation: Explanation) -> tuple[int, int]:
    return max(1, round(PATCH_SECONDS / explanation.frame_seconds)), PATCH_BANDS


def _patches(explanation: Explanation) -> np.ndarray:
    """The number of the patch that each place belongs to, those at the edges smaller. Shape: (frames, bands)."""
    (frames, bands), (patch_frames, patch_bands) = explanation.mel.shape, _patch_size(explanation)
    across = -(-bands // patch_bands)
    return (np.arange(frames) // patch_frames * across)[:, None] + np.arange(bands) // patch_bands


class _Network:
    """The model as a function of the log-mel alone: its slopes follow it, all else stays that of the recording."""

    def __init__(self, analyzer: Analyzer, mel: Tensor, prosody: Tensor | None):
        self._model, self._frontend, self._prosody = analyzer.checkpoint.model, analyzer.checkpoint.frontend, prosody
        self._statistics = None
        if self._frontend.config.normalisation != "global":
            self._statistics = from_moments(*moments(*self._with_slopes(mel[None])))

    def __call__(self, mels: Tensor) -> Output:
        """Shape: (batch, frames, bands) -> Output."""
        maps, lengths = self._with_slopes(mels)
        maps = self._frontend.normalise(maps, lengths, self._statistics)
        prosody = None if self._prosody is None else self._prosody.expand(len(mels), -1, -1)
        return self._model(maps.contiguous(memory_format=torch.channels_last), prosody, lengths)

    def _with_slopes(self, mels: Tensor) -> tuple[Tensor, Tensor]:
        """As Frontend.log_mel. Shape: (batch, frames, bands) -> (batch, channels, frames, bands), (batch,)."""
        lengths = torch.full((len(mels),), mels.shape[1], device=mels.device)
        if not self._frontend.config.deltas:
            return mels[:, None], lengths
        slope = deltas(mels, lengths)
        return torch.stack([mels, slope, deltas(slope, lengths)], dim=1), lengths


def _integrated_gradients(network: _Network, mel: Tensor, baseline: Tensor, index: int) -> tuple[Tensor, float]:
    """Relevance (frames, bands) for the logit of that index, and its completeness error."""
    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "explaining takes the gradients of captum, which is not installed: pip install 'emotion[explain]'"
        ) from None
    method = IntegratedGradients(lambda mels: network(mels).logits)
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN has no gradients of an LSTM in eval mode
        for num_steps in STEPS:
            relevance, error = method.attribute(
                mel[None], baseline.expand_as(mel)[None], target=index, n_steps=num_steps,
                internal_batch_size=max(1, BATCH_FRAMES // len(mel)), return_convergence_delta=True,
            )
            if abs(float(error)) <= TOLERANCE:
                break
    return relevance[0].detach(), float(error)


@torch.no_grad()  # not inference_mode: gradients are taken of what follows
def _features(analyzer: Analyzer, waveform: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """Log-mel (frames, bands) and prosody (frames, contours), or None."""
    frontend = analyzer.checkpoint.frontend
    batch = torch.from_numpy(waveform)[None].to(analyzer.device)
    num_samples = torch.tensor([len(waveform)], device=analyzer.device)
    maps, lengths = frontend.log_mel(batch, num_samples)
    prosody = frontend.prosody(batch, num_samples, maps[:, 0], lengths)[0] if frontend.config.prosody else None
    return maps[0, 0], prosody


def _check_label(label: str | None, labels: tuple[str, ...]) -> None:
    """Raises ValueError where the model has no logit for the label, or names no emotion."""
    if label is not None and label not in labels:
        raise ValueError(
            f"label={label!r} must be one of {', '.join(labels)}: the model has no logit for others. "
            "Leave it out for what the model answers."
        )
    if labels == ("unknown",):
        raise ValueError("a model of dimensions alone names no emotion: nothing speaks for one. Give one of classes.")


def _given(start_seconds: float | None, stop_seconds: float | None, longest_seconds: float) -> Span | None:
    if start_seconds is None and stop_seconds is None:
        return None
    if start_seconds is None or stop_seconds is None:
        raise ValueError("a span has two ends. Give both start_seconds and stop_seconds, or none of them.")
    if not 0 <= start_seconds < stop_seconds:
        raise ValueError(
            f"the span from {start_seconds} s to {stop_seconds} s is empty or begins before 0, where nothing is heard. "
            "Give 0 <= start_seconds < stop_seconds."
        )
    if stop_seconds - start_seconds > longest_seconds:
        raise ValueError(
            f"the span from {start_seconds} s to {stop_seconds} s is longer than {longest_seconds} s, which the model "
            "hears at once: it has an answer for each part. Give a shorter one."
        )
    return Span(start_seconds, stop_seconds)


def _carrying(timeline: Timeline, index: int, analyzer: Analyzer) -> Span:
    """The stretch as long as a window in which that label is most probable, summed over speech."""
    if timeline.duration_seconds <= analyzer.windows.length_seconds:
        return Span(0.0, timeline.duration_seconds)
    spoken = timeline.step_speech >= (analyzer.speech.threshold if analyzer.speech else 0)
    evidence = timeline.step_probabilities[:, index] * (spoken if spoken.any() else 1)
    steps = int(analyzer.windows.length_seconds / analyzer.step_seconds)
    sums = np.concatenate([[0], evidence.cumsum(dtype=np.float64)])
    start = analyzer.step_seconds * int((sums[steps:] - sums[:-steps]).argmax())
    return Span(start, min(start + analyzer.windows.length_seconds, timeline.duration_seconds))


def _centres(low_hz: float, high_hz: float, num_bands: int) -> np.ndarray:
    """The middle of each mel band on Slaney's scale: even up to 1 kHz, then 27 to each factor of 6.4."""
    def mel(hz: float) -> float:
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    places = np.linspace(mel(low_hz), mel(high_hz), num_bands + 2)[1:-1]
    return np.where(places < 15, 200 * places / 3, 1000 * 6.4 ** ((places - 15) / 27))


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
