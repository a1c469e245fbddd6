"""OpenAI Chat Completions, and every server that speaks it: chunks in, one model call out.

vLLM, llama.cpp, Ollama's `/v1`, LiteLLM, Azure, DeepSeek, Groq, OpenRouter, Together, xAI and others send this form,
each with a little of their own. How it is read is in `_chat_completions`; here is what it is called, and the request.

Source: openai 3.54.0, `types/chat/completion_create_params.py`, `types/completion_create_params.py`, and what
`_chat_completions` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from streamgauge import semconv
from streamgauge.dialects._answers import output_type, plain_answer
from streamgauge.dialects._chat_completions import ChatCompletions
from streamgauge.dialects._parameters import is_object, parameters, text

__all__ = ["OpenAIChat"]

_PARAMETERS: Final = {
    "frequency_penalty": semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY,
    "max_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "max_completion_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
    "n": semconv.GEN_AI_REQUEST_CHOICE_COUNT,
    "presence_penalty": semconv.GEN_AI_REQUEST_PRESENCE_PENALTY,
    "reasoning_effort": semconv.GEN_AI_REQUEST_REASONING_LEVEL,
    "seed": semconv.GEN_AI_REQUEST_SEED,
    "stop": semconv.GEN_AI_REQUEST_STOP_SEQUENCES,
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "top_k": semconv.GEN_AI_REQUEST_TOP_K,
    "top_p": semconv.GEN_AI_REQUEST_TOP_P,
}
_REASONING: Final = {"effort": semconv.GEN_AI_REQUEST_REASONING_LEVEL}
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/?]+)/")


class OpenAIChat(ChatCompletions):
    """One answer of `/chat/completions`, or of the legacy `/completions`."""

    name = "openai-chat"
    system = "OpenAI Chat Completions API (openai 3.54) and compatible servers"
    provider_name = "openai"
    paths = (r"/chat/completions$", r"(?<!/chat)(?<!/fim)(?<!/agents)/completions$")
    events: ClassVar[Mapping[str, str]] = {
        "delta.content": "a chunk of text",
        "delta.refusal": "a chunk of text: it is what the user gets to see",
        "delta.reasoning_content": "a chunk of reasoning (DeepSeek, vLLM, llama.cpp)",
        "delta.reasoning": "a chunk of reasoning (OpenRouter, Groq, vLLM, Ollama)",
        "delta.reasoning_details": "a chunk of reasoning, where the delta has it nowhere else (OpenRouter)",
        "delta.tool_calls": "a chunk of arguments; with the name, the event of a tool that is asked for",
        "delta.function_call": "the same, of a legacy function call",
        "delta.audio": "a chunk of its transcript, as text; a chunk of kind `audio`, as base64",
        "delta.images": "a chunk of kind `image`, a URL (OpenRouter)",
        "delta.role": "nothing",
        "finish_reason": "the finish reasons, when every choice has one; `error` is the end of the run, `failed`",
        "usage": "the tokens, in total; where every chunk has them, the last",
        "x_groq": "its tokens; with an error, the end of the run, `failed` (Groq)",
        "prompt_filter_results": "nothing (Azure)",
        "obfuscation": "nothing",
        "moderation": "nothing",
        "text": "a chunk of text (legacy completions)",
        "message": "a whole answer: finish reasons, tools asked for, tokens, the end of the run; no chunk",
        "error": "the end of the run, `failed`: as data, and as an event of that type",
        "[DONE]": "the end of the run",
    }

    __slots__ = ()

    @classmethod
    def asked(cls, path: str, body: Any) -> dict[str, Any]:
        path = path.partition("?")[0]
        attributes = parameters(body, _PARAMETERS)
        model = text(body, "model")
        if is_object(body):
            if "reasoning" in body:  # OpenRouter's form of it
                attributes = {**parameters(body["reasoning"], _REASONING), **attributes}
            if "response_format" in body:
                attributes |= output_type(body["response_format"])
            if body.get("stream") is not True:
                attributes |= plain_answer(body)
        if not model:
            deployment = _DEPLOYMENT.search(path)
            model = unquote(deployment[1]) if deployment else ""
        return {
            "operation": semconv.CHAT if path.endswith("/chat/completions") else semconv.TEXT_COMPLETION,
            "model": model,
            "attributes": attributes,
        }
