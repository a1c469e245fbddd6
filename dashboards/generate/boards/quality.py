"""Stream quality: what a caller feels while a stream runs."""

from __future__ import annotations

from typing import Any, Final

from dashboards.generate import metrics
from dashboards.generate.boards.board import Row, board
from dashboards.generate.boards.links import spans
from dashboards.generate.boards.panels import Target, above, heat, lines, ranks
from dashboards.generate.boards.queries import (
    TOKENS,
    chosen,
    everything,
    matching,
    new,
    of_streams,
    rate,
    ratio,
    share,
)  # fmt: skip
from dashboards.generate.boards.served import served
from dashboards.generate.objectives import Objectives
from streamgauge import semconv
from streamgauge.semconv import RELEASED
from streamgauge.wire import Outcome

__all__ = ["quality"]

STREAMS: Final = metrics.name(semconv.STREAMS)
DIALECT: Final = metrics.label(semconv.STREAMGAUGE_DIALECT)
GRANULARITY: Final = metrics.label(semconv.STREAMGAUGE_STREAM_GRANULARITY)
KIND: Final = metrics.label(semconv.KIND)
DURING: Final = metrics.label(semconv.DURING)
_CLOCKS: Final = {
    "first byte": semconv.FIRST_BYTE,
    "first token": RELEASED.first_chunk,
    "first answer": semconv.FIRST_ANSWER,
}
_CLOCK_COLORS: Final = {"first byte": "blue", "first token": "green", "first answer": "orange"}
_STALLED: Final = spans("Traces with a stall", "{ span.streamgauge.stream.stalls > 0 }")
_LEFT: Final = spans("Traces that callers left", '{ span.streamgauge.outcome =~ "abandoned|cancelled" }')


def quality(objectives: Objectives) -> dict[str, Any]:
    return board(
        "streamgauge-quality",
        "What a caller feels: how long until something comes, how evenly it comes, and who is waited for. The heatmaps "
        "show the histograms' own buckets, so two peaks are two kinds of streams, which no average shows.",
        [
            Row("First token and gaps", _heatmaps()),
            Row("The three clocks", _clocks(objectives)),
            Row("Pace and stalls", _pace()),
            Row("Who waits for whom", _waits()),
            Row("Callers that leave", _callers()),
            Row("How much", _volume()),
            Row("Streams that are served", served(objectives)),
        ],
    )


def _heatmaps() -> list[Any]:
    return [
        heat(
            "First token",
            "When the first token came, of streams that come as they are generated. One band is healthy; a second "
            "band above it is a second kind of streams, such as a cold cache, a queue or a slow region; a band that "
            "rises is a provider that slows down. A point is a stream, and opens its trace.",
            "s",
            RELEASED.first_chunk,
            matchers=(TOKENS,),
            only=of_streams,
        ),
        heat(
            "Gaps between chunks",
            "The time from each chunk to the next. The dark band is the pace that readers see. Cells far above it "
            "are hiccups: a row of them at one height is a time-out or a keep-alive somewhere on the way, scattered "
            "ones are an overloaded model. A point is the longest gap of its stream.",
            "s",
            RELEASED.per_chunk,
        ),
    ]


def _clock(rank: float) -> list[Target]:
    found: list[Target] = []
    for name, metric in _CLOCKS.items():
        (target,) = ranks(metric, rank, only=of_streams if metric is RELEASED.first_chunk else everything)
        found.append(Target(target.expr, name, exemplar=target.exemplar))
    return found


def _clocks(objectives: Objectives) -> list[Any]:
    about = (
        "First byte: anything at all came. First token: the first generated piece, of text, reasoning or a tool "
        "call. First answer: the first visible text. Byte to token is the model's own delay; token to answer is "
        "reasoning and tools, which a caller that shows no progress feels as silence. "
    )
    return [
        lines(
            "Half of the streams (p50)", f"{about}If all three rise together, it is the path or a queue.", "s",
            _clock(0.5), span=9, colors=_CLOCK_COLORS,
        ),
        lines(
            "The slow ones (p95)", f"{about}Here one stream of 20 is slower.", "s", _clock(0.95), span=9,
            colors=_CLOCK_COLORS,
        ),
        lines(
            "First token by granularity (p95)",
            "What one chunk is: a token as it is generated, a whole message, or a slice of a text that was finished "
            "before. Only for token is this the time to a first token; message and sliced are as late as the whole "
            "answer, and can only be mended where the system streams.",
            "s",
            ranks(RELEASED.first_chunk, 0.95, by=(GRANULARITY,), only=of_streams),
            span=6,
            steps=above(objectives.first_token_seconds),
        ),
    ]  # fmt: skip


def _pace() -> list[Any]:
    stalls, silent = metrics.name(semconv.STALLS), metrics.name(semconv.SILENT)
    return [
        heat(
            "Chunk rate",
            "Chunks a second, one value for each stream. Low cells under a dark band: some streams crawl; look at "
            "Compare for whose they are.",
            "suffix:chunks/s",
            semconv.CHUNK_RATE,
            span=8,
            height=8,
        ),
        lines(
            "Gap between chunks",
            "Half, 95 and 99 of 100 gaps are shorter. p50 is the pace; p99 far above it is stuttering, which "
            "readers notice from a quarter of a second on.",
            "s",
            ranks(RELEASED.per_chunk, 0.5, 0.95, 0.99),
            span=8,
        ),
        lines(
            "Stalls by cause",
            "How many silences of a source beyond the stall limit ended, in each interval. generation: the model or "
            "the agent fell silent. tool: a tool was running; see Agents and tools for which one. The first is the "
            "provider's, the second mostly one's own.",
            "suffix:stalls",
            [Target(new(stalls, by=(DURING,)), f"{{{{{DURING}}}}}")],
            span=8,
            stacked=True,
            bars=True,
            no_value="no stalls",
            colors={"generation": "red", "tool": "orange"},
            links=[_STALLED],
        ),
        lines(
            "Silent now, by dialect",
            "Streams whose source is silent at this moment, beyond the stall limit. It counts what no stall counts "
            "yet: a silence that never ends is seen here only.",
            "suffix:streams",
            [Target(f"sum by ({DIALECT}) ({chosen(silent)})", f"{{{{{DIALECT}}}}}")],
            span=8,
            stacked=True,
        ),
        lines(
            "How long stalls last",
            "Half and 95 of 100 stalls were shorter, by cause. A length that is always the same is somebody's "
            "time-out.",
            "s",
            ranks(semconv.STALL_DURATION, 0.5, 0.95, by=(DURING,)),
            span=8,
            no_value="no stalls",
            links=[_STALLED],
        ),
        lines(
            "Stalls per stream, by dialect",
            "Stalls for each stream that ended. It tells one system's trouble from everybody's.",
            "percentunit",
            [Target(share(rate(stalls, by=(DIALECT,)), rate(STREAMS, by=(DIALECT,))), f"{{{{{DIALECT}}}}}")],
            span=8,
            links=[_STALLED],
        ),
    ]


def _waits() -> list[Any]:
    wait, on = metrics.name(semconv.WAIT), metrics.label(semconv.ON)
    caller = matching(semconv.ON, "=", "caller")
    everybody = rate(wait, by=(DIALECT,))
    return [
        lines(
            "Waiting for the source, and for the caller",
            "How the time of open streams is spent: source, where the caller asked for more and the model or agent "
            "has not sent it; caller, where there is more and nobody asks (back-pressure). Their sum is how many "
            "streams are open on average. Mostly source is normal.",
            "suffix:streams",
            [Target(rate(wait, by=(on,)), f"{{{{{on}}}}}")],
            stacked=True,
            colors={"source": "green", "caller": "orange"},
        ),
        lines(
            "Share of the time that the caller is waited for",
            "By dialect. Above a half, the streams are slowed down by who reads them: a slow client, a busy event "
            "loop, work between two reads. No faster model would help.",
            "percentunit",
            [Target(share(rate(wait, caller, by=(DIALECT,)), everybody), f"{{{{{DIALECT}}}}}")],
            top=1,
        ),
    ]


def _callers() -> list[Any]:
    return [
        lines(
            "Abandoned and cancelled, of all streams",
            "Abandoned: the caller stopped reading, or went away. Cancelled: it said so. A day before is there to "
            "compare with: the same hour has the same users. A rise beside a slower first token is impatience; "
            "alone, it is a client's fault or a new stop button.",
            "percentunit",
            [
                *(
                    Target(share(rate(STREAMS, _ended(outcome)), rate(STREAMS)), str(outcome))
                    for outcome in (Outcome.ABANDONED, Outcome.CANCELLED)
                ),
                Target(
                    share(rate(STREAMS, _ended(Outcome.ABANDONED), offset="1d"), rate(STREAMS, offset="1d")),
                    "abandoned, a day before",
                ),
            ],
            span=8,
            colors={"abandoned": "blue", "cancelled": "light-blue", "abandoned, a day before": "text"},
            dashed=["abandoned, a day before"],
            links=[_LEFT],
        ),
        lines(
            "How long callers stay before they leave",
            "The age of abandoned streams. Near the first token's time: they leave because nothing comes. Far "
            "beyond: they had read enough, or the answer was too long.",
            "s",
            ranks(RELEASED.duration, 0.5, 0.95, matchers=(_ended(Outcome.ABANDONED),), only=of_streams),
            span=8,
            no_value="nobody left",
            links=[_LEFT],
        ),
        lines(
            "Duration by how they ended (p95)",
            "timed_out all at one height is a deadline that is too short, or a source that hangs; failed near 0 is "
            "refused at once, failed late is lost work.",
            "s",
            ranks(RELEASED.duration, 0.95, by=(metrics.label(semconv.STREAMGAUGE_OUTCOME),), only=of_streams),
            span=8,
        ),
    ]


def _ended(outcome: Outcome) -> str:
    return matching(semconv.STREAMGAUGE_OUTCOME, "=", outcome)


def _volume() -> list[Any]:
    chunks, size = metrics.name(semconv.CHUNKS), metrics.name(semconv.BYTES)
    legend = f"{{{{{KIND}}}}}"
    return [
        lines(
            "Bytes",
            "UTF-8 bytes of generated pieces, by kind. Reasoning that outgrows text is paid for and not seen.",
            "Bps",
            [Target(rate(size, by=(KIND,)), legend)],
            span=8,
            stacked=True,
        ),
        lines(
            "Chunks",
            "Generated pieces, by kind, also of streams that are still open: the load that streamgauge carries.",
            "suffix:chunks/s",
            [Target(rate(chunks, by=(KIND,)), legend)],
            span=8,
            stacked=True,
        ),
        lines(
            "Bytes of a chunk",
            "How much comes at once, on average. A jump: a provider, or a proxy on the way, has begun to put chunks "
            "together, and the pace that readers see has become coarser.",
            "bytes",
            [Target(ratio(rate(size, by=(KIND,)), rate(chunks, by=(KIND,))), legend)],
            span=8,
        ),
    ]
