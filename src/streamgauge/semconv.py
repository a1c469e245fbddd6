"""Every name that streamgauge emits: span names, attributes, metrics, units and bucket bounds, each with its source.

Names are API: `tests/golden/telemetry.json` lists them, and a rename is a breaking change. The GenAI conventions' names
are our own constants, because the Python package's are all marked deprecated and have no successor
(docs/decisions/0006); a test compares them to that package where it still has them.

Two profiles say which names are emitted. `released` is core v1.41, what Python instrumentations emit today; `dev` is
the repository open-telemetry/semantic-conventions-genai at 024a4f94 (schema gen-ai-dev/1.42.0-dev).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Attributes of the GenAI conventions (core v1.41) -------------------------------------------------------------

GEN_AI_AGENT_DESCRIPTION: Final = "gen_ai.agent.description"
GEN_AI_AGENT_ID: Final = "gen_ai.agent.id"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_AGENT_VERSION: Final = "gen_ai.agent.version"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
GEN_AI_REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
GEN_AI_REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
GEN_AI_TOOL_DESCRIPTION: Final = "gen_ai.tool.description"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
# Only in the dev profile's metrics.
GEN_AI_TOKEN_MODALITY: Final = "gen_ai.token.modality"  # noqa: S105

ERROR_TYPE: Final = "error.type"
ERROR_TYPE_OTHER: Final = "_OTHER"
PROCESS_EXIT_CODE: Final = "process.exit.code"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
JSONRPC_REQUEST_ID: Final = "jsonrpc.request.id"
MCP_METHOD_NAME: Final = "mcp.method.name"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
URL_PATH: Final = "url.path"

CONTENT_ATTRIBUTES: Final = frozenset(
    {GEN_AI_INPUT_MESSAGES, GEN_AI_OUTPUT_MESSAGES, GEN_AI_TOOL_CALL_ARGUMENTS, GEN_AI_TOOL_CALL_RESULT}
)
"""Never on a span unless `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` asks for content."""

# Attributes of our own ----------------------------------------------------------------------------------------

STREAMGAUGE_DIALECT: Final = "streamgauge.dialect"
STREAMGAUGE_TRANSPORT: Final = "streamgauge.transport"
STREAMGAUGE_OUTCOME: Final = "streamgauge.outcome"
STREAMGAUGE_STREAM_GRANULARITY: Final = "streamgauge.stream.granularity"
STREAMGAUGE_STREAM_CHUNKS: Final = "streamgauge.stream.chunks"
STREAMGAUGE_STREAM_BYTES: Final = "streamgauge.stream.bytes"
STREAMGAUGE_STREAM_TIME_TO_FIRST_BYTE: Final = "streamgauge.stream.time_to_first_byte"
STREAMGAUGE_STREAM_TIME_TO_FIRST_ANSWER: Final = "streamgauge.stream.time_to_first_answer"
STREAMGAUGE_STREAM_LONGEST_GAP: Final = "streamgauge.stream.longest_gap"
STREAMGAUGE_STREAM_STALLS: Final = "streamgauge.stream.stalls"
STREAMGAUGE_STREAM_WAIT_CALLER: Final = "streamgauge.stream.wait.caller"
STREAMGAUGE_STREAM_WAIT_SOURCE: Final = "streamgauge.stream.wait.source"
STREAMGAUGE_BLIND: Final = "streamgauge.blind"
STREAMGAUGE_DISCONNECT: Final = "streamgauge.disconnect"
STREAMGAUGE_END_UNSEEN: Final = "streamgauge.end_unseen"
STREAMGAUGE_RETRY_ATTEMPT: Final = "streamgauge.retry.attempt"
STREAMGAUGE_RETRY_DELAY_S: Final = "streamgauge.retry.delay_s"
STREAMGAUGE_RETRY_REASON: Final = "streamgauge.retry.reason"
STREAMGAUGE_RETRY_TARGET: Final = "streamgauge.retry.target"
STREAMGAUGE_STEP_NAME: Final = "streamgauge.step.name"
STREAMGAUGE_COST_USD: Final = "streamgauge.cost_usd"
STREAMGAUGE_INTERRUPTED_BY: Final = "streamgauge.interrupted_by"
STREAMGAUGE_SESSION_NAME: Final = "streamgauge.session.name"
STREAMGAUGE_SESSION_TURNS: Final = "streamgauge.session.turns"
STREAMGAUGE_USAGE_INPUT_AUDIO_TOKENS: Final = "streamgauge.usage.input_audio_tokens"
STREAMGAUGE_USAGE_OUTPUT_AUDIO_TOKENS: Final = "streamgauge.usage.output_audio_tokens"
STREAMGAUGE_WEBSOCKET_CLOSE_CODE: Final = "streamgauge.websocket.close_code"
STREAMGAUGE_WEBSOCKET_CLOSE_REASON: Final = "streamgauge.websocket.close_reason"
STREAMGAUGE_WEBSOCKET_CLOSED_BY: Final = "streamgauge.websocket.closed_by"
STREAMGAUGE_TURN_INDEX: Final = "streamgauge.turn.index"
STREAMGAUGE_SEND_SEMANTICS: Final = "streamgauge.send.semantics"
# Metric labels.
DURING: Final = "during"
KIND: Final = "kind"
ON: Final = "on"
REASON: Final = "reason"
TARGET: Final = "target"
LABEL: Final = "label"

# Operations: what gets a span ---------------------------------------------------------------------------------

CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
INVOKE_AGENT: Final = "invoke_agent"
STEP: Final = "step"
RETRY: Final = "retry"

GENERATE_CONTENT: Final = "generate_content"
RPC: Final = "rpc"
SESSION: Final = "session"
TEXT_COMPLETION: Final = "text_completion"

INFERENCE: Final = frozenset({CHAT, GENERATE_CONTENT, TEXT_COMPLETION})
"""Operations that are one model call; only they have token usage in metrics."""

SPANS: Final[Mapping[str, tuple[str, str]]] = {
    INVOKE_AGENT: ("invoke_agent {gen_ai.agent.name}", "INTERNAL"),
    CHAT: ("chat {gen_ai.request.model}", "CLIENT"),
    GENERATE_CONTENT: ("generate_content {gen_ai.request.model}", "CLIENT"),
    TEXT_COMPLETION: ("text_completion {gen_ai.request.model}", "CLIENT"),
    RPC: ("rpc {mcp.method.name}", "CLIENT"),
    STEP: ("step {streamgauge.step.name}", "INTERNAL"),
    EXECUTE_TOOL: ("execute_tool {gen_ai.tool.name}", "INTERNAL"),
    RETRY: ("retry {streamgauge.retry.target}", "INTERNAL"),
    SESSION: ("session {streamgauge.session.name}", "CLIENT"),
}
"""Operation: (span name, span kind). `step`, `retry`, `rpc` (a request of an agent protocol that is no run and no tool)
and `session` (a connection or a process, around the runs in it) are private: the conventions have no such span. The run
of a stream that is served is of kind SERVER, whatever its operation; so is a session."""

# Metrics ------------------------------------------------------------------------------------------------------

_SLO = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_D14 = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_AGENT13 = tuple(round(0.1 * 2**power, 1) for power in range(13))


def _bounds(*parts: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted({bound for part in parts for bound in part}))


SECONDS: Final = _bounds(_D14, _SLO, (0.001, 0.005, 163.84, 327.68, 655.36, 1310.72, 2621.44, 7200.0))
"""The conventions' 14 bounds, the SLO bounds, a millisecond below and two hours above."""
GAP_SECONDS: Final = _bounds(_D14, _SLO, (0.001, 0.002, 0.005, 163.84, 600.0))
FIRST_TOKEN_SECONDS: Final = _bounds(
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0), _SLO,
    (20.48, 40.96, 81.92, 163.84, 327.68, 655.36),
)  # fmt: skip
PER_TOKEN_SECONDS: Final = _bounds(
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5), _SLO, (0.001, 0.002, 0.005)
)
AGENT_SECONDS: Final = _bounds(_AGENT13, _SLO, (0.01, 0.05, 819.2, 1638.4, 3276.8, 7200.0))
TOKENS: Final = tuple(float(4**power) for power in range(14))
CALLS: Final = tuple(float(2**power) for power in range(8))
RATE: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 500.0, 1000.0)

COMMON_LABELS: Final = (
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_AGENT_NAME,
    SERVER_ADDRESS,
    STREAMGAUGE_DIALECT,
    STREAMGAUGE_TRANSPORT,
)
"""On every metric of a stream. Never an id."""

HISTOGRAM: Final = "histogram"
COUNTER: Final = "counter"
GAUGE: Final = "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One instrument. Compared by identity: a profile's metric is that object."""

    name: str
    kind: str
    unit: str
    description: str
    labels: tuple[str, ...] = ()
    """Beyond the common ones."""
    buckets: tuple[float, ...] = ()
    common: bool = True
    """It has the common labels."""


OPERATION_DURATION: Final = Metric(
    "gen_ai.client.operation.duration", HISTOGRAM, "s", "Duration of a GenAI operation, until its stream ended.",
    (ERROR_TYPE, STREAMGAUGE_OUTCOME), SECONDS,
)  # fmt: skip
FIRST_CHUNK: Final = Metric(
    "gen_ai.client.operation.time_to_first_chunk", HISTOGRAM, "s",
    "Time to the first generated piece: text, reasoning or tool-call arguments.",
    (STREAMGAUGE_STREAM_GRANULARITY,), SECONDS,
)  # fmt: skip
PER_CHUNK: Final = Metric(
    "gen_ai.client.operation.time_per_output_chunk", HISTOGRAM, "s",
    "Time from one generated piece to the next, for each after the first.", (), GAP_SECONDS,
)  # fmt: skip
TOKEN_USAGE: Final = Metric(
    "gen_ai.client.token.usage", HISTOGRAM, "{token}", "Tokens used by a model call.", (GEN_AI_TOKEN_TYPE,), TOKENS
)
AGENT_DURATION: Final = Metric(
    "gen_ai.invoke_agent.duration", HISTOGRAM, "s", "Duration of an agent's run.", (ERROR_TYPE,), AGENT_SECONDS
)
AGENT_INFERENCE_CALLS: Final = Metric(
    "gen_ai.invoke_agent.inference_calls", HISTOGRAM, "{inference_call}", "Model calls of an agent's run.",
    (ERROR_TYPE,), CALLS,
)  # fmt: skip
AGENT_TOOL_CALLS: Final = Metric(
    "gen_ai.invoke_agent.tool_calls", HISTOGRAM, "{tool_call}", "Tool calls of an agent's run.", (ERROR_TYPE,), CALLS
)
TOOL_DURATION: Final = Metric(
    "gen_ai.execute_tool.duration", HISTOGRAM, "s", "Duration of a tool's execution.", (GEN_AI_TOOL_NAME, ERROR_TYPE),
    SECONDS,
)  # fmt: skip
SERVER_DURATION: Final = Metric(
    "gen_ai.server.request.duration", HISTOGRAM, "s", "Duration of a request that was served, until its stream ended.",
    (ERROR_TYPE, STREAMGAUGE_OUTCOME), SECONDS,
)  # fmt: skip
SERVER_FIRST_TOKEN: Final = Metric(
    "gen_ai.server.time_to_first_token", HISTOGRAM, "s",
    "Time to the first generated piece of a stream that was served, and completed.",
    (STREAMGAUGE_STREAM_GRANULARITY,), FIRST_TOKEN_SECONDS,
)  # fmt: skip
SERVER_PER_TOKEN: Final = Metric(
    "gen_ai.server.time_per_output_token", HISTOGRAM, "s",
    "Time per output token after the first of a stream that was served, and completed.", (), PER_TOKEN_SECONDS,
)  # fmt: skip
FIRST_BYTE: Final = Metric(
    "streamgauge.stream.time_to_first_byte", HISTOGRAM, "s", "Time to the first data of any kind.", (), SECONDS
)
FIRST_ANSWER: Final = Metric(
    "streamgauge.stream.time_to_first_answer", HISTOGRAM, "s", "Time to the first visible text.",
    (STREAMGAUGE_STREAM_GRANULARITY,), SECONDS,
)  # fmt: skip
STREAMS: Final = Metric(
    "streamgauge.streams", COUNTER, "{stream}", "Streams that ended, by how they ended.",
    (STREAMGAUGE_OUTCOME, ERROR_TYPE),
)  # fmt: skip
ACTIVE: Final = Metric("streamgauge.streams.active", GAUGE, "{stream}", "Streams that are open now.")
SILENT: Final = Metric(
    "streamgauge.streams.silent", GAUGE, "{stream}",
    "Open streams whose source has been silent beyond the stall limit, not waiting for a tool or a person.",
)  # fmt: skip
OLDEST: Final = Metric("streamgauge.stream.oldest", GAUGE, "s", "Age of the oldest open stream.")
CHUNKS: Final = Metric("streamgauge.stream.chunks", COUNTER, "{chunk}", "Generated pieces.", (KIND,))
BYTES: Final = Metric("streamgauge.stream.bytes", COUNTER, "By", "UTF-8 bytes of generated pieces.", (KIND,))
CHUNK_RATE: Final = Metric(
    "streamgauge.stream.chunk_rate", HISTOGRAM, "{chunk}/s",
    "Chunks per second of a stream: those after the first, over the time they took.",
    (STREAMGAUGE_STREAM_GRANULARITY,), RATE,
)  # fmt: skip
STALLS: Final = Metric(
    "streamgauge.stream.stalls", COUNTER, "{stall}", "Silences of a source beyond the stall limit.", (DURING,)
)
STALL_DURATION: Final = Metric(
    "streamgauge.stream.stall.duration", HISTOGRAM, "s", "How long a stall lasted.", (DURING,), SECONDS
)
WAIT: Final = Metric(
    "streamgauge.stream.wait", COUNTER, "s",
    "Time spent waiting for the source, or for the caller to ask for more (back-pressure).", (ON,),
)  # fmt: skip
RETRIES: Final = Metric("streamgauge.retries", COUNTER, "{retry}", "Retries announced or seen.", (TARGET, REASON))
TAP_BLIND: Final = Metric(
    "streamgauge.tap.blind", COUNTER, "{stream}", "Streams that were no longer decoded, by what went wrong.", (REASON,),
    common=False,
)  # fmt: skip
TAP_ERRORS: Final = Metric(
    "streamgauge.tap.errors", COUNTER, "{error}", "Failures beside the stream, by where.", (REASON,), common=False
)
LABELS_CAPPED: Final = Metric(
    "streamgauge.labels.capped", COUNTER, "{value}", "Label values replaced by `other` because of the cap.", (LABEL,),
    common=False,
)  # fmt: skip
EXPORT_DROPPED: Final = Metric(
    "streamgauge.export.dropped", COUNTER, "{item}", "Spans and metric points that were not exported.",
    ("telemetry", REASON), common=False,
)  # fmt: skip
ADDED_LATENCY: Final = Metric(
    "streamgauge.proxy.added_latency", HISTOGRAM, "s", "From data read to data written.", (), GAP_SECONDS
)
REFUSED: Final = Metric(
    "streamgauge.proxy.refused", COUNTER, "{request}", "Requests and connections that were not served, by why.",
    (REASON,), common=False,
)  # fmt: skip
WORKERS: Final = Metric(
    "streamgauge.proxy.workers", GAUGE, "{worker}", "Workers that are ready for requests.", common=False
)
WORKER_RESTARTS: Final = Metric(
    "streamgauge.proxy.worker_restarts", COUNTER, "{restart}", "Workers that died and were replaced, by how they died.",
    (REASON,), common=False,
)  # fmt: skip

# The dev profile's own.
INFERENCE_DURATION: Final = Metric(
    "gen_ai.client.inference.duration", HISTOGRAM, "s", "Duration of a model call, until its stream ended.",
    (ERROR_TYPE, STREAMGAUGE_OUTCOME), SECONDS,
)  # fmt: skip
INFERENCE_FIRST_CHUNK: Final = Metric(
    "gen_ai.client.inference.time_to_first_chunk", HISTOGRAM, "s", FIRST_CHUNK.description, FIRST_CHUNK.labels, SECONDS
)
INFERENCE_PER_CHUNK: Final = Metric(
    "gen_ai.client.inference.time_per_output_chunk", HISTOGRAM, "s", PER_CHUNK.description, (), GAP_SECONDS
)
_TOKEN_WORDS: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read.input_tokens",
    "cache_write": "cache_write.input_tokens",
    "reasoning": "reasoning.output_tokens",
}
TOKEN_TYPES: Final = tuple(_TOKEN_WORDS)
"""`gen_ai.token.type`: separate series; the last three are parts of the first two, never on top of them."""
_INFERENCE_USAGE: Final = {
    kind: Metric(
        f"gen_ai.client.inference.usage.{word}", COUNTER, "{token}", f"Tokens used by model calls: {kind}.",
        (GEN_AI_TOKEN_MODALITY,),
    )
    for kind, word in _TOKEN_WORDS.items()
}  # fmt: skip
_INFERENCE_OPERATION: Final = {
    kind: Metric(
        f"gen_ai.client.inference.operation.{kind}_tokens", HISTOGRAM, "{token}",
        f"{kind.capitalize()} tokens of a model call.", (), TOKENS,
    )
    for kind in ("input", "output")
}  # fmt: skip

_SHARED: Final = (
    AGENT_DURATION, AGENT_INFERENCE_CALLS, AGENT_TOOL_CALLS, TOOL_DURATION, SERVER_DURATION, SERVER_FIRST_TOKEN,
    SERVER_PER_TOKEN, FIRST_BYTE, FIRST_ANSWER, STREAMS, ACTIVE, SILENT, OLDEST, CHUNKS, BYTES, CHUNK_RATE, STALLS,
    STALL_DURATION, WAIT, RETRIES, TAP_BLIND, TAP_ERRORS, LABELS_CAPPED, EXPORT_DROPPED, ADDED_LATENCY, REFUSED,
    WORKERS, WORKER_RESTARTS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profile:
    """Which names are emitted."""

    name: str
    schema_url: str
    duration: Metric
    """Of operations that are no model call."""
    inference_duration: Metric
    first_chunk: Metric
    per_chunk: Metric
    tokens: Mapping[str, tuple[tuple[Metric, tuple[str, ...]], ...]]
    """Token type: the metrics that count it, each with the values of its own labels."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Attributes that this profile spells otherwise."""
    without: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Operation: attributes that its span does not have in this profile."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All that this profile emits."""
        tokens = (metric for metrics in self.tokens.values() for metric, _ in metrics)
        own = (self.inference_duration, self.duration, self.first_chunk, self.per_chunk, *tokens)
        return tuple(dict.fromkeys((*own, *_SHARED)))


RELEASED: Final = Profile(
    name="released",
    schema_url="https://opentelemetry.io/schemas/1.41.0",
    duration=OPERATION_DURATION,
    inference_duration=OPERATION_DURATION,
    first_chunk=FIRST_CHUNK,
    per_chunk=PER_CHUNK,
    tokens={kind: ((TOKEN_USAGE, (kind,)),) for kind in TOKEN_TYPES},
)
DEV: Final = Profile(
    name="dev",
    schema_url="https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev",
    duration=OPERATION_DURATION,
    inference_duration=INFERENCE_DURATION,
    first_chunk=INFERENCE_FIRST_CHUNK,
    per_chunk=INFERENCE_PER_CHUNK,
    tokens={
        kind: (
            (_INFERENCE_USAGE[kind], ("unknown",)),
            *(((_INFERENCE_OPERATION[kind], ()),) if kind in _INFERENCE_OPERATION else ()),
        )
        for kind in TOKEN_TYPES
    },
    renamed={GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: "gen_ai.usage.cache_write.input_tokens"},
    without={INVOKE_AGENT: frozenset({GEN_AI_PROVIDER_NAME, GEN_AI_AGENT_ID})},
)
PROFILES: Final[Mapping[str, Profile]] = {profile.name: profile for profile in (RELEASED, DEV)}
