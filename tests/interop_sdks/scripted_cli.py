"""In the place of the `claude` executable: it speaks its JSON lines, and answers the Agent SDK's control requests.

The prompt names what a turn does. It waits for nothing but its input, and calls no model. By the formats of
claude-agent-sdk 0.2.187 (`_internal/message_parser.py`, `_internal/query.py`).
"""

import itertools
import json
import os
import signal
import sys

MODEL, SMALL = "claude-opus-4-8", "claude-haiku-4-5-20251001"
SESSION = "5f0c6d1e-6a52-4b1e-9d38-0d4c5a1f7b20"
PARTIAL = "--include-partial-messages" in sys.argv

numbers = itertools.count(1)
kept = []
cost = 0.0
turns = 0


def put(type_, **event):
    event = {"type": type_, **event}
    if not type_.startswith("control_"):
        event |= {"session_id": SESSION, "uuid": f"00000000-0000-4000-8000-{next(numbers):012}"}
    print(json.dumps(event), flush=True)


def system(subtype, **event):
    put("system", subtype=subtype, **event)


def heard():
    """What the caller says next. The SDK is answered here, whatever it wants to know; an interrupt is also told."""
    while line := sys.stdin.readline():
        message = json.loads(line)
        if message["type"] != "control_request":
            return message
        subtype = message["request"]["subtype"]
        answer = {"commands": [], "output_style": "default"} if subtype == "initialize" else {}
        put(
            "control_response",
            response={"subtype": "success", "request_id": message["request_id"], "response": answer},
        )
        if subtype == "interrupt":
            return message
    sys.exit(0)


def asked(subtype, **request):
    """What the caller answers to a request of ours. A message that comes first is kept for the next turn."""
    id_ = f"ask_{next(numbers)}"
    put("control_request", request_id=id_, request={"subtype": subtype, **request})
    while (message := heard())["type"] != "control_response":
        kept.append(message)
    assert message["response"]["request_id"] == id_
    return message["response"].get("response", {})


def text(words):
    return {"type": "text", "text": words}


def use(id_, name, **given):
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def used(taken, given):
    return {"input_tokens": taken, "output_tokens": given, "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 0}  # fmt: skip


def says(id_, *blocks, model=MODEL, parent=None, **more):
    """A message of the model's; streamed before, where that was asked for."""
    if PARTIAL and parent is None and model == MODEL:
        streamed(id_, blocks, model)
    for block in blocks:
        message = {"id": id_, "type": "message", "role": "assistant", "model": model, "content": [block],
                   "stop_reason": None, "stop_sequence": None, "usage": used(10, 1)}  # fmt: skip
        put("assistant", message=message, parent_tool_use_id=parent, **more)


def streamed(id_, blocks, model):
    def event(kind, **inner):
        put("stream_event", event={"type": kind, **inner}, parent_tool_use_id=None)

    message = {"id": id_, "type": "message", "role": "assistant", "model": model, "content": []}
    event("message_start", message={**message, "usage": used(10, 1)})
    for index, block in enumerate(blocks):
        is_text = block["type"] == "text"
        event("content_block_start", index=index, content_block=text("") if is_text else {**block, "input": {}})
        whole = block["text"] if is_text else json.dumps(block["input"])
        kind, name = ("text_delta", "text") if is_text else ("input_json_delta", "partial_json")
        for half in (whole[: len(whole) // 2], whole[len(whole) // 2 :]):
            event("content_block_delta", index=index, delta={"type": kind, name: half})
        event("content_block_stop", index=index)
    reason = "end_turn" if blocks[-1]["type"] == "text" else "tool_use"
    event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=used(10, 20))
    event("message_stop")


def gave(id_, output, parent=None, is_error=False):
    block = {"type": "tool_result", "tool_use_id": id_, "content": output, "is_error": is_error}
    put("user", message={"role": "user", "content": [block]}, parent_tool_use_id=parent, tool_use_result=output)


def ends(subtype="success", **event):
    global cost
    cost += 0.02
    event = {"is_error": subtype != "success", "stop_reason": "end_turn", "permission_denials": [], **event}
    usage = {"inputTokens": 10 * turns, "outputTokens": 20 * turns, "cacheReadInputTokens": 5 * turns,
             "cacheCreationInputTokens": 0, "costUSD": cost}  # fmt: skip
    put("result", subtype=subtype, duration_ms=50, duration_api_ms=40, num_turns=1, total_cost_usd=round(cost, 6),
        usage=used(10, 20), modelUsage={MODEL: usage}, **event)  # fmt: skip


# Turns ------------------------------------------------------------------------------------------------------------


def plain(name):
    says(f"msg_{name}", text("The sky is blue."))
    ends(result="The sky is blue.")


def tool(name):
    says(f"msg_{name}1", text("Let me look."), use(f"toolu_{name}", "Bash", command="ls"))
    answer = asked("can_use_tool", tool_name="Bash", input={"command": "ls"}, tool_use_id=f"toolu_{name}",
                   permission_suggestions=[])  # fmt: skip
    allowed = answer.get("behavior") == "allow"
    gave(f"toolu_{name}", answer["updatedInput"]["command"] if allowed else answer["message"], is_error=not allowed)
    says(f"msg_{name}2", text("There is a file."))
    ends(result="There is a file.")


def agent(name):
    """A sub-agent with a tool of its own."""
    above = f"toolu_{name}"
    says(f"msg_{name}1", use(above, "Task", prompt="Find it.", subagent_type="general-purpose"))
    task = {"task_id": f"task_{name}", "tool_use_id": above, "description": "Find it"}
    system("task_started", **task, subagent_type="general-purpose", task_type="local_agent", is_backgrounded=False)
    of = {"parent": above, "subagent_type": "general-purpose", "model": SMALL}
    says(f"msg_{name}2", use(f"toolu_{name}2", "Grep", pattern="cut"), **of)
    gave(f"toolu_{name}2", "line 41", parent=above)
    says(f"msg_{name}3", text("In line 41."), **of)
    system("task_notification", **task, status="completed", output_file="", summary="Find it")
    gave(above, [text("In line 41.")])
    says(f"msg_{name}4", text("It is in line 41."))
    ends(result="It is in line 41.")


def hook(name):
    """The SDK's own hook, and an in-process MCP server of the SDK's."""
    says(f"msg_{name}1", use(f"toolu_{name}", "mcp__calc__add", a=1, b=2))
    about = {"hook_id": f"hook_{name}", "hook_name": "PreToolUse:mcp__calc__add", "hook_event": "PreToolUse"}
    system("hook_started", **about)
    given = {"hook_event_name": "PreToolUse", "tool_name": "mcp__calc__add", "tool_input": {"a": 1, "b": 2}}
    asked("hook_callback", callback_id="hook_0", tool_use_id=f"toolu_{name}", input=given)
    system("hook_response", **about, output="", stdout="", stderr="", exit_code=0, outcome="success")
    starts = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "claude", "version": "2"}}
    for method, params in (
        ("initialize", starts),
        ("notifications/initialized", {}),
        ("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}),
    ):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if not method.startswith("notifications/"):
            message["id"] = next(numbers)
        answer = asked("mcp_message", server_name="calc", message=message)
    gave(f"toolu_{name}", answer["mcp_response"]["result"]["content"])
    says(f"msg_{name}2", text("It is 3."))
    ends(result="It is 3.")


def retry(name):
    system("api_retry", attempt=1, max_retries=10, retry_delay_ms=1, error_status=529, error="overloaded")
    put("rate_limit_event", rate_limit_info={"status": "allowed_warning", "rateLimitType": "five_hour",
                                             "resetsAt": 1795230000, "utilization": 0.9})  # fmt: skip
    plain(name)


def hang(name):
    """Until the caller interrupts it."""
    says(f"msg_{name}", text("Well"))
    while heard()["type"] != "control_request":
        pass
    put("user", message={"role": "user", "content": [text("[Request interrupted by user]")]}, parent_tool_use_id=None)
    ends("error_during_execution", terminal_reason="aborted_streaming", stop_reason=None)


def listens(name):
    """To a message in mid-turn, which is for the next turn."""
    says(f"msg_{name}", text("Well"))
    kept.append(heard())
    ends(result="Well", queued_turn_count=1)


def limit(name):
    says(f"msg_{name}", text("I was"))
    ends("error_max_turns", stop_reason=None, errors=["Reached maximum number of turns (1)"])


def refused(name):
    says(f"msg_{name}", text("API Error: 529"), model="<synthetic>")
    ends(is_error=True, api_error_status=529, result="API Error: 529 overloaded")


def exits(name):
    says(f"msg_{name}", text("I was"))
    print("it broke", file=sys.stderr, flush=True)
    sys.exit(3)


def dies(name):
    says(f"msg_{name}", text("I was"))
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(name):
    """It ends well, in mid-turn."""
    says(f"msg_{name}", text("I was"))
    sys.exit(0)


def stays(name):
    """It does not end with its input."""
    says(f"msg_{name}", text("I was"))
    while True:
        signal.pause()


def noise(name):
    """Lines that are none, a type that nobody knows, and one of a megabyte."""
    print("not JSON\n\x00\x01", flush=True)
    put("of_tomorrow", data=[1])
    says(f"msg_{name}", text("x" * 900_000))
    ends(result="")


def main():
    global turns
    does = {each.__name__: each for each in (plain, tool, agent, hook, retry, hang, listens, limit, refused, exits,
                                             dies, leaves, stays, noise)}  # fmt: skip
    while True:
        message = kept.pop(0) if kept else heard()
        if message["type"] != "user":
            continue
        turns += 1
        facts = {"cwd": "/w", "tools": ["Bash", "Task"], "mcp_servers": [], "model": MODEL, "slash_commands": []}
        system("init", **facts, permissionMode="default", claude_code_version="2.1.330", output_style="default")
        does[message["message"]["content"]](f"{turns}")


main()
