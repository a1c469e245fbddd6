"""What each attribute and label means, for the generated tables of docs/telemetry.md. A test compares the lists to
`semconv`, and what is said to be set by nobody to the source."""

from __future__ import annotations

from streamgauge import semconv

__all__ = ["ATTRIBUTES", "GIVEN", "LABELS", "PLANNED"]

_ALL, _AGENT_MODEL, _RUN = "all but `retry`", "`invoke_agent`, `chat`", "the run's"
_HTTP = "`chat`, over HTTP"
GIVEN = "where a dialect or `wrap(attributes=...)` gives it; no built-in dialect does"
PLANNED = "nothing sets it yet"

ATTRIBUTES: dict[str, tuple[str, str, str]] = {
    semconv.GEN_AI_AGENT_DESCRIPTION: ("string", GIVEN, "the agent in words"),
    semconv.GEN_AI_AGENT_ID: ("string", "`invoke_agent` where told", "the agent's id"),
    semconv.GEN_AI_AGENT_NAME: ("string", "`invoke_agent`, `execute_tool`; `chat` where told", "the agent's name"),
    semconv.GEN_AI_AGENT_VERSION: ("string", "`session`, of a command line's agent", "the program's version"),
    semconv.GEN_AI_CONVERSATION_ID: ("string", _AGENT_MODEL, "the conversation, where the system has an id for it"),
    semconv.GEN_AI_INPUT_MESSAGES: ("string, JSON", GIVEN, "the prompt"),
    semconv.GEN_AI_OPERATION_NAME: ("string", _ALL, "what the span is of"),
    semconv.GEN_AI_OUTPUT_MESSAGES: ("string, JSON", _AGENT_MODEL, "the text that was generated"),
    semconv.GEN_AI_PROVIDER_NAME: ("string", _AGENT_MODEL, "the model's provider"),
    semconv.GEN_AI_OUTPUT_TYPE: ("string", _HTTP, "the form of output that was asked for: `text`, `json`"),
    semconv.GEN_AI_REQUEST_CHOICE_COUNT: ("int", _HTTP, "how many answers were asked for, where not one"),
    semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: ("double", _HTTP, "the penalty that was asked for"),
    semconv.GEN_AI_REQUEST_MAX_TOKENS: ("int", _HTTP, "the limit that was asked for"),
    semconv.GEN_AI_REQUEST_MODEL: ("string", _AGENT_MODEL, "the model that was asked for"),
    semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: ("double", _HTTP, "the penalty that was asked for"),
    semconv.GEN_AI_REQUEST_REASONING_LEVEL: ("string", _HTTP, "how much reasoning was asked for"),
    semconv.GEN_AI_REQUEST_SEED: ("int", _HTTP, "the seed that was given"),
    semconv.GEN_AI_REQUEST_STOP_SEQUENCES: ("string[]", _HTTP, "the stop sequences that were given"),
    semconv.GEN_AI_REQUEST_STREAM: ("boolean", "`chat`", "true; false for a call that does not stream"),
    semconv.GEN_AI_REQUEST_TEMPERATURE: ("double", _HTTP, "the temperature that was asked for"),
    semconv.GEN_AI_REQUEST_TOP_K: ("int", _HTTP, "as asked for"),
    semconv.GEN_AI_REQUEST_TOP_P: ("double", _HTTP, "as asked for"),
    semconv.GEN_AI_RESPONSE_FINISH_REASONS: (
        "string[]", _AGENT_MODEL, '`["error"]` where the stream did not complete and no reason came',
    ),
    semconv.GEN_AI_RESPONSE_ID: ("string", "`chat`", "the answer's id"),
    semconv.GEN_AI_RESPONSE_MODEL: ("string", _AGENT_MODEL, "the model that answered"),
    semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: ("double, s", _AGENT_MODEL, "the clock \"first token\""),
    semconv.GEN_AI_TOOL_CALL_ARGUMENTS: ("string, JSON", "`execute_tool`", "what the tool was given"),
    semconv.GEN_AI_TOOL_CALL_ID: ("string", "`execute_tool`", "the call's id"),
    semconv.GEN_AI_TOOL_CALL_RESULT: ("string, JSON", "`execute_tool`", "what the tool gave"),
    semconv.GEN_AI_TOOL_DESCRIPTION: ("string", GIVEN, "the tool in words"),
    semconv.GEN_AI_TOOL_NAME: ("string", "`execute_tool`", "the tool's name"),
    semconv.GEN_AI_TOOL_TYPE: ("string", "`execute_tool`", "`function`"),
    semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: ("int", _AGENT_MODEL, "from a cache; part of the input"),
    semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: ("int", _AGENT_MODEL, "put into a cache; part of the input"),
    semconv.GEN_AI_USAGE_INPUT_TOKENS: ("int", _AGENT_MODEL, "all input tokens, cached ones included"),
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS: ("int", _AGENT_MODEL, "all output tokens, reasoning included"),
    semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: ("int", _AGENT_MODEL, "of reasoning; part of the output"),
    semconv.ERROR_TYPE: ("string", _ALL, "why it failed: an exception's name or a code, never a message"),
    semconv.HTTP_REQUEST_METHOD: ("string", "the run's, over HTTP", "as sent"),
    semconv.HTTP_REQUEST_RESEND_COUNT: (
        "int", "the run's, over HTTP", "which attempt this was; absent for the first",
    ),
    semconv.HTTP_RESPONSE_STATUS_CODE: ("int", "the run's, over HTTP", "as the upstream answered"),
    semconv.JSONRPC_REQUEST_ID: ("string", "the run's, of `mcp` and `a2a`", "the request's id"),
    semconv.MCP_METHOD_NAME: ("string", "the run's, of `mcp`", "the method that was called"),
    semconv.SERVER_ADDRESS: ("string", _AGENT_MODEL, "where the agent or the model is"),
    semconv.SERVER_PORT: ("int", _AGENT_MODEL, "its port"),
    semconv.STREAMGAUGE_DIALECT: ("string", "the run's; `session`", "how the events were read"),
    semconv.STREAMGAUGE_TRANSPORT: ("string", _RUN, "`inprocess`, `httpx`, `asgi`, `http` (the proxy)"),
    semconv.STREAMGAUGE_OUTCOME: ("string", _ALL, "how it ended"),
    semconv.STREAMGAUGE_STREAM_GRANULARITY: ("string", "the run's; `chat` where it differs", "what one chunk is"),
    semconv.STREAMGAUGE_STREAM_CHUNKS: ("int", _AGENT_MODEL, "its own generated pieces, not those of operations below"),
    semconv.STREAMGAUGE_STREAM_BYTES: ("int, By", _AGENT_MODEL, "their UTF-8 bytes"),
    semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_BYTE: ("double, s", _RUN, "the clock \"first byte\""),
    semconv.STREAMGAUGE_STREAM_TIME_TO_FIRST_ANSWER: ("double, s", _RUN, "the clock \"first answer\""),
    semconv.STREAMGAUGE_STREAM_LONGEST_GAP: ("double, s", _AGENT_MODEL, "the longest time from one chunk to the next"),
    semconv.STREAMGAUGE_STREAM_STALLS: ("int", _RUN, "how often the source stalled; absent where never"),
    semconv.STREAMGAUGE_STREAM_WAIT_CALLER: ("double, s", _RUN, "how long the caller did not ask for more"),
    semconv.STREAMGAUGE_STREAM_WAIT_SOURCE: ("double, s", _RUN, "how long the source was waited for"),
    semconv.URL_PATH: ("string", "the run's, over HTTP", "the path, without its query"),
    semconv.STREAMGAUGE_DISCONNECT: (
        "string", "the run's, over HTTP", "what a caller that went away led to: `cancel` or `drain`",
    ),
    semconv.STREAMGAUGE_BLIND: ("string", _RUN, "why it was no longer decoded: `dialect`, `framing` or `slow`"),
    semconv.STREAMGAUGE_END_UNSEEN: ("boolean", _ALL, "true where it was closed with what is above it"),
    semconv.STREAMGAUGE_RETRY_ATTEMPT: ("int", "`retry`", "1 for the first retry"),
    semconv.STREAMGAUGE_RETRY_DELAY_S: ("double, s", "`retry`", "the back-off that was announced"),
    semconv.STREAMGAUGE_RETRY_REASON: ("string", "`retry`", "an error's type or code"),
    semconv.STREAMGAUGE_RETRY_TARGET: ("string", "`retry`", "`model`, `tool` or `request`"),
    semconv.STREAMGAUGE_STEP_NAME: ("string", "`step`", "its number or name"),
    semconv.PROCESS_EXIT_CODE: ("int", "`session`, of a process", "as it ended"),
    semconv.STREAMGAUGE_COST_USD: ("double, USD", "the run's; `session`", "its cost, as the agent reports it"),
    semconv.STREAMGAUGE_INTERRUPTED_BY: (
        "string", "the run's", "what the caller ended it with: `input`, `cancel`, `barge_in`, `signal`",
    ),
    semconv.STREAMGAUGE_SESSION_NAME: ("string", "`session`", "the dialect, or the program that was run"),
    semconv.STREAMGAUGE_SESSION_TURNS: ("int", "`session`", "how many runs it had"),
    semconv.STREAMGAUGE_USAGE_INPUT_AUDIO_TOKENS: ("int", "`chat`, where told", "how many of the input are sound"),
    semconv.STREAMGAUGE_USAGE_OUTPUT_AUDIO_TOKENS: ("int", "`chat`, where told", "how many of the output are sound"),
    semconv.STREAMGAUGE_WEBSOCKET_CLOSE_CODE: (
        "int", "`session`, of a WebSocket", "of the close frame; 1005 where it had none, 1006 where none came",
    ),
    semconv.STREAMGAUGE_WEBSOCKET_CLOSE_REASON: ("string", "`session`, of a WebSocket", "as it was given"),
    semconv.STREAMGAUGE_WEBSOCKET_CLOSED_BY: ("string", "`session`, of a WebSocket", "`caller`, `agent` or `proxy`"),
    semconv.STREAMGAUGE_TURN_INDEX: ("int", "the run's, of zag", "which turn of the conversation it is, from 0"),
    semconv.STREAMGAUGE_SEND_SEMANTICS: ("string", "the run's, of zag", "what a message does that is sent in mid-turn"),
}  # fmt: skip
"""Attribute: type, spans that have it, meaning."""

LABELS: dict[str, str] = {
    semconv.GEN_AI_OPERATION_NAME: "`invoke_agent`, `chat`, `generate_content`, `text_completion`, `execute_tool`",
    semconv.GEN_AI_PROVIDER_NAME: "the model's provider",
    semconv.GEN_AI_REQUEST_MODEL: "the model that was asked for",
    semconv.GEN_AI_AGENT_NAME: "the agent",
    semconv.SERVER_ADDRESS: "where the agent or the model is",
    semconv.STREAMGAUGE_DIALECT: "how the events were read",
    semconv.STREAMGAUGE_TRANSPORT: "`inprocess`, `httpx`, `asgi`, `http` (the proxy)",
    semconv.ERROR_TYPE: "an exception's name or a code; absent where nothing failed",
    semconv.STREAMGAUGE_OUTCOME: "how it ended",
    semconv.STREAMGAUGE_STREAM_GRANULARITY: "what one chunk is",
    semconv.GEN_AI_TOKEN_TYPE: ", ".join(f"`{kind}`" for kind in semconv.TOKEN_TYPES),
    semconv.GEN_AI_TOKEN_MODALITY: "`unknown`",
    semconv.GEN_AI_TOOL_NAME: "the tool",
    semconv.KIND: "of a chunk: `text`, `reasoning`, `tool_call`",
    semconv.ON: "who was waited for: `source`, `caller`",
    semconv.DURING: "a stall: `generation`, `tool`",
    semconv.TARGET: "what was tried again: `model`, `tool`, `request`",
    semconv.REASON: "an error's type or code; of the middleware's own metrics, what went wrong",
    semconv.LABEL: "which label was capped",
    "telemetry": "`spans`, `metrics`",
}
