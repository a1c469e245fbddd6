"""The command line, as a user has it: real processes, their exit codes, and every word that they say."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from streamgauge import __version__, cli, dialects, semconv, testing
from streamgauge.capture import Capture, Ending
from streamgauge.cli import _numbers, _streams, _text
from streamgauge.cli._streams import Manner, Play, captures, plays, steps
from streamgauge.replay import replay
from streamgauge.wire import Event, Outcome, Request

CAPTURES = Path(__file__).parent / "captures"
OLDER = '{"py_type": "dict", "t_ms": 1.5, "event": {"type": "init", "model": "m"}}\n'
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def environment() -> dict[str, str]:
    """Nothing is set, whatever is where the tests run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMGAUGE_"))}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "PYTHONPATH"):
        ours.pop(name, None)
    return ours


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Any:
    def run(*arguments: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "streamgauge", *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**environment, **variables},
            timeout=40,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    return run


def mistaken(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a mistake is told in."""
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("streamgauge: ")
    return line


# Help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_lists_every_command_and_says_what_to_try(run: Any, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    for command in ("demo", "replay", "dialects", "check"):
        assert re.search(rf"^    {command} +\w", done.stdout, re.MULTILINE)
    assert "streamgauge.wrap(agent)" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_every_command_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert f"\nexamples:\n  streamgauge {name}" in text or f" streamgauge {name}" in text.partition("examples:")[2]
        assert max(map(len, text.splitlines())) <= 82


def test_help_loads_neither_the_sdk_nor_rich(run: Any, environment: dict[str, str]) -> None:
    script = (
        "import sys; from streamgauge.cli import parser; parser().format_help();"
        "print([name for name in sys.modules if name == 'rich' or name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, timeout=40)
    assert done.stdout.decode().strip() == "[]"


def test_version(run: Any) -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"streamgauge {__version__}\n")


def test_what_argparse_does_not_know_is_a_mistake(run: Any) -> None:
    done = run("nonsense")
    assert done.returncode == 2
    assert "invalid choice: 'nonsense'" in done.stderr


# dialects ----------------------------------------------------------------------------------------------------------


def test_dialects_are_listed(run: Any) -> None:
    done = run("dialects")
    assert done.returncode == 0
    headings, *lines = done.stdout.split("\n\n")[0].splitlines()
    assert headings.split() == ["NAME", "GRANULARITY", "TERMINAL", "FRAMING", "EVENTS", "SYSTEM"]
    assert [line.split()[0] for line in lines] == list(dialects.BUILT_IN)
    (zag,) = [line for line in lines if line.startswith("zag ")]
    kind = dialects.find("zag")
    assert kind is not None
    assert zag.split()[:5] == ["zag", str(kind.granularity), "yes", kind.framing, str(len(kind.events))]
    assert zag.endswith(kind.system)


def test_a_dialects_events_are_listed(run: Any) -> None:
    done = run("dialects", "generic")
    assert done.returncode == 0
    kind = dialects.find("generic")
    assert kind is not None
    for event, becomes in kind.events.items():
        assert re.search(rf"^{re.escape(event)}  +{re.escape(becomes)}$", done.stdout, re.MULTILINE)


def test_dialects_from_outside_are_listed_and_a_broken_one_breaks_nothing(run: Any, tmp_path: Path) -> None:
    package = tmp_path / "outside-1.5.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.5\n")
    (package / "entry_points.txt").write_text(
        "[streamgauge.dialects]\nmine = outside:Mine\nbroken = outside_missing:Broken\n"
    )
    (tmp_path / "outside.py").write_text(
        "from streamgauge import Dialect\n"
        "class Mine(Dialect):\n    name = 'mine'\n    system = 'my own'\n    events = {'a': 'nothing'}\n"
    )
    done = run("dialects", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0
    assert done.stderr == ""
    assert re.search(r"^mine .* my own \(from outside 1\.5\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^broken .*broken \(from outside 1\.5\): ModuleNotFoundError: No mod", done.stdout, re.MULTILINE)

    assert "mine: my own" in run("dialects", "mine", PYTHONPATH=str(tmp_path)).stdout
    line = mistaken(run("dialects", "broken", PYTHONPATH=str(tmp_path)))
    assert "'broken' (from outside 1.5) cannot be loaded: ModuleNotFoundError" in line
    checked = run("check", "--set", "traces_exporter=none", PYTHONPATH=str(tmp_path), OTEL_METRICS_EXPORTER="none")
    assert checked.returncode == 1
    assert re.search(r"^problem  dialect broken +cannot be loaded: ModuleNotFoundError", checked.stdout, re.MULTILINE)


def test_an_unknown_dialect_is_a_mistake_that_names_the_known(run: Any) -> None:
    line = mistaken(run("dialects", "nope"))
    assert "no dialect 'nope'; known are generic, ziran," in line


# check -------------------------------------------------------------------------------------------------------------

QUIET = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}


def settings(text: str) -> dict[str, tuple[str, str]]:
    """What is printed of each setting: its value, and where it comes from."""
    lines = text.partition("\n\n")[0].splitlines()
    at_value, at_source = lines[0].index("VALUE"), lines[0].index("FROM")
    return {line[:at_value].strip(): (line[at_value:at_source].strip(), line[at_source:].strip()) for line in lines[1:]}


def test_check_says_that_all_is_well(run: Any) -> None:
    done = run("check", **QUIET)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.endswith("All is well.\n")
    assert re.search(
        r"^ok       self-test +a stream of 3 chunks came to 1 stream, 3 chunks and 1 span$", done.stdout, re.M
    )
    assert f"\nok       streamgauge         {__version__}, Python " in done.stdout
    assert "\nproblem" not in done.stdout


def test_check_names_where_each_setting_comes_from(run: Any, tmp_path: Path) -> None:
    (tmp_path / "streamgauge.toml").write_text('stall_after_s = 3\nlabel_cap = 7\nprofile = "dev"\n')
    done = run("check", "--set", "profile=released", STREAMGAUGE_LABEL_CAP="9", **QUIET)
    assert done.returncode == 0
    found = settings(done.stdout)
    assert found["profile"] == ("released", "--set")
    assert found["label_cap"] == ("9", "STREAMGAUGE_LABEL_CAP")
    assert found["stall_after_s"] == ("3.0", "streamgauge.toml")
    assert found["disabled"] == ("false", "default; OTEL_SDK_DISABLED")


def test_check_finds_all_bad_settings_and_checks_the_rest(run: Any, tmp_path: Path) -> None:
    done = run("check", STREAMGAUGE_STALL_AFTER_S="soon", STREAMGAUGE_LABEL_CAP="9", **QUIET)
    assert done.returncode == 1
    assert settings(done.stdout)["label_cap"] == ("9", "STREAMGAUGE_LABEL_CAP")
    assert settings(done.stdout)["stall_after_s"] == ("10.0", "default; STREAMGAUGE_STALL_AFTER_S")
    assert re.search(
        r"^problem  settings +STREAMGAUGE_STALL_AFTER_S: 'soon' is not allowed; it takes", done.stdout, re.M
    )
    assert done.stdout.endswith("\n1 problem.\n")
    (tmp_path / "streamgauge.toml").write_text("label_cap = 'many'\n")
    done = run("check", STREAMGAUGE_STALL_AFTER_S="soon", **QUIET)
    assert "problem  settings            streamgauge.toml, label_cap: 'many' is not allowed" in done.stdout
    assert done.stdout.endswith("\n2 problems.\n")
    done = run("check", STREAMGAUGE_CONFIG="missing.toml", **QUIET)
    assert "problem  settings            missing.toml: cannot be read: No such file" in done.stdout


def test_a_bad_flag_is_a_mistake(run: Any) -> None:
    assert "--set label_cap: '0' is not allowed" in mistaken(run("check", "--set", "label_cap=0"))
    assert run("check", "--set", "label_cap").returncode == 2


def test_check_finds_an_exporter_that_is_not_there(run: Any) -> None:
    done = run("check", **{**QUIET, "OTEL_TRACES_EXPORTER": "jaeger"})
    assert done.returncode == 1
    assert "problem  traces exporter     OTEL_TRACES_EXPORTER: there is no exporter 'jaeger'" in done.stdout


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_check_finds_a_taken_port(run: Any, taken: int) -> None:
    page = {**QUIET, "OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"}
    done = run("check", **page, OTEL_EXPORTER_PROMETHEUS_PORT=str(taken))
    assert done.returncode == 1
    assert f"port {taken} on 127.0.0.1 is taken by another program" in done.stdout
    done = run("check", **page, OTEL_EXPORTER_PROMETHEUS_PORT="0")
    assert done.returncode == 0
    assert re.search(r"^ok       /metrics +port \d+ on 127.0.0.1 is free$", done.stdout, re.MULTILINE)


def test_check_asks_the_otlp_endpoint(run: Any, taken: int) -> None:
    otlp = {**QUIET, "OTEL_TRACES_EXPORTER": "otlp"}
    done = run("check", **otlp, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{taken}")
    assert done.returncode == 0
    assert f"ok       OTLP endpoint       127.0.0.1:{taken} (traces) answers" in done.stdout
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    done = run("check", **otlp, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://user:secret@127.0.0.1:{free}")
    assert done.returncode == 1
    assert f"127.0.0.1:{free} (traces) does not answer: Connection refused" in done.stdout
    assert "secret" not in done.stdout
    done = run("check", **otlp, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://")
    assert "'http://' has no host; it is a URL such as" in done.stdout


# replay ------------------------------------------------------------------------------------------------------------


def test_replay_shows_the_summary_and_a_tree(run: Any) -> None:
    done = run("replay", str(CAPTURES / "shipit-tool-retry.ndjson"), str(CAPTURES / "zag-stream-toolfail.ndjson"))
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("2 captures, 24 events, played in ")
    assert re.search(r"^shipit-agent +1 +1 +- +- ", done.stdout, re.MULTILINE)
    tree = done.stdout.partition("one trace\n")[2]
    assert re.search(r"^invoke_agent .*completed  first byte ", tree)
    assert "│   └── execute_tool flaky" in tree
    assert "│       └── retry tool" in tree
    assert "attempt 1" in tree
    assert "\x1b" not in done.stdout


def test_replay_reads_standard_input_and_the_older_form(run: Any) -> None:
    done = run("replay", "--dialect", "zag", "-", stdin=OLDER.encode())
    assert done.returncode == 0
    assert "1 capture, 1 event, played in" in done.stdout


def test_replay_with_a_dialect_reads_the_events_as_that_ones(run: Any) -> None:
    done = run("replay", "--dialect", "generic", str(CAPTURES / "zag-stream-tool.ndjson"))
    assert done.returncode == 0
    assert re.search(r"^generic +1 +1 ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.ndjson", None, "missing.ndjson: no such file or directory"),
        ("readme.ndjson", "# hello\n", "readme.ndjson, line 1: not JSON"),
        ("empty.ndjson", "", "empty.ndjson, line 1: it is empty"),
        ("older.ndjson", OLDER, "does not name its dialect: give one with --dialect: generic, ziran,"),
        (
            "framed.ndjson",
            '{"streamgauge":"capture","version":1,"dialect":"zag","framing":"morse","epoch_ns":0}\n',
            "there is no framing 'morse'",
        ),
        (
            "foreign.ndjson",
            '{"streamgauge":"capture","version":1,"dialect":"nope","framing":null,"epoch_ns":0}\n',
            "foreign.ndjson: there is no dialect 'nope'; known are",
        ),
    ],
)
def test_a_bad_capture_is_a_mistake_told_in_one_line(
    run: Any, tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert says in mistaken(run("replay", name))


def test_an_unknown_dialect_is_told_before_anything_is_played(run: Any) -> None:
    assert "no dialect 'nope'" in mistaken(run("replay", "--dialect", "nope", "x.ndjson"))


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_is_a_number_above_zero(speed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay", f"--speed={speed}", "x"])
    assert ended.value.code == 2
    assert f"'{speed}' is not a number above 0" in capsys.readouterr().err


def test_a_stream_that_could_not_be_decoded_is_said(run: Any, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(
        "from streamgauge import Dialect\nclass Fails(Dialect):\n    name = 'fails'\n    system = 'fails'\n"
    )
    package = tmp_path / "fails-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fails\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[streamgauge.dialects]\nfails = fails:Fails\n")
    done = run(
        "replay", "--dialect", "fails", str(CAPTURES / "zag-stream-tool.ndjson"), PYTHONPATH=str(tmp_path)
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("streamgauge: 1 of the streams could not be decoded to the end; see above\n")


def test_without_rich_the_extra_is_named_and_the_rest_works(environment: dict[str, str], tmp_path: Path) -> None:
    script = "import sys; sys.modules['rich'] = None; from streamgauge.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.run(command, capture_output=True, env={**environment, **QUIET}, cwd=tmp_path, timeout=40)

    for arguments in (("demo",), ("replay", "x.ndjson")):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.decode() == "streamgauge: this command needs an extra: pip install 'streamgauge[cli]'\n"
    assert run("dialects").returncode == 0
    assert run("check").returncode == 0


def test_a_reader_that_has_seen_enough_is_no_error(environment: dict[str, str], tmp_path: Path) -> None:
    for arguments in (["dialects", "shipit-agent"], ["replay", str(CAPTURES / "zag-stream-tool.ndjson")]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-m", "streamgauge", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=tmp_path,
            timeout=40,
        )
        os.close(writing)
        assert done.stderr == b""
        assert done.returncode == 0


# demo --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(tmp_path: Path, environment: dict[str, str]) -> Iterator[Any]:
    """Starts it, and gives the process and the URL that it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**environment, **variables},
        )
        started.append(process)
        assert process.stdout is not None
        found = re.search(r"http://\S+/metrics", process.stdout.readline())
        assert found is not None
        return process, found[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def fetched(url: str, accept: str = "") -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=10) as answer:
        return str(answer.read().decode())


def ended_streams(url: str) -> int:
    families = {family.name: family for family in text_string_to_metric_families(fetched(url))}
    return sum(int(sample.value) for sample in families["streamgauge_streams"].samples)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_demo_serves_metrics_and_ends_when_told(demo: Any, number: signal.Signals, code: int) -> None:
    process, url = demo("--duration", "600", OTEL_EXPORTER_PROMETHEUS_PORT="0")
    until = time.monotonic() + 30
    while not ended_streams(url):
        assert time.monotonic() < until
    exemplars = openmetrics.text_string_to_metric_families(fetched(url, OPENMETRICS))
    assert {"streamgauge_streams", "streamgauge_streams_active"} <= {family.name for family in exemplars}
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err == ""
    assert "one trace\n" in out
    assert f"curl -s {url}" in out
    assert "streamgauge.wrap(agent)" in out


def test_the_demo_ends_by_itself_having_shown_every_dialect(demo: Any) -> None:
    process, _ = demo("--duration", "4", "--seed", "7", OTEL_EXPORTER_PROMETHEUS_PORT="0")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == ""
    assert "seed 7" in out
    for name in dialects.BUILT_IN:
        assert re.search(rf"^{name} +\d+ ", out, re.MULTILINE), name


def test_the_demo_takes_a_free_port_where_the_usual_one_is_taken(demo: Any) -> None:
    try:
        blocker = socket.create_server(("127.0.0.1", 9464))
    except OSError:  # somebody else has it: as good
        blocker = socket.socket()
    with blocker:
        _, url = demo("--duration", "600")
    assert not url.endswith(":9464/metrics")
    assert "streamgauge_build_info" in fetched(url)


def test_a_port_that_was_asked_for_is_not_replaced(run: Any, taken: int) -> None:
    port = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(taken), "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"}
    assert f"port {taken} on 127.0.0.1 is taken" in mistaken(run("demo", **port))


@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (40, 80), (40, 120), (60, 120)])
def test_on_a_terminal_the_numbers_are_shown_live(
    environment: dict[str, str], tmp_path: Path, lines: int, columns: int
) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (lines, columns))
    variables = {"TERM": "xterm", "NO_COLOR": "1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "streamgauge", "demo", "--duration", "2"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env={**environment, **variables},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            shown += os.read(ours, 65_536)
        except OSError:  # the other side has closed
            break
    os.close(ours)
    assert process.wait(20) == 0
    text = shown.decode()
    live, _, summary = text.partition("seed 1")
    assert "Ctrl-C ends it" in live
    assert len(re.findall("first answer", live)) > 3  # drawn again and again
    assert "…" not in live  # nor had a line, or the last of the lines
    families = [each for each in ("model APIs", "programs", "protocols", "agents") if re.search(rf"\d {each} ", live)]
    assert len(families) == {60: 2, 40: 3, 24: 4}[lines], families  # as many rows as there is room for
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", text)  # a colour
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", summary)
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= columns
    assert "…" not in plain  # nothing had to be cut


# What the demo plays -----------------------------------------------------------------------------------------------


def test_the_demo_has_streams_of_every_dialect_that_decode_to_their_end() -> None:
    known = captures()
    assert set(known) == set(dialects.BUILT_IN)
    for capture in [capture for found in known.values() for capture in found]:
        with testing.recording() as seen:
            replay(capture, seen.pipeline)
            assert seen.open == 0
            assert seen.value(semconv.TAP_BLIND.name) == 0


def test_each_dialect_has_a_stream_as_long_and_as_even_as_a_models() -> None:
    for dialect, found in captures().items():
        longest = max(found, key=lambda capture: capture.events[-1].at if capture.events else 0)
        assert longest.events[-1].at > 1_000_000_000, dialect


def test_a_seed_is_a_plan() -> None:
    known = captures()["shipit-agent"]

    def planned(seed: int, caller: str) -> list[Play]:
        return list(islice(plays(seed, caller, known), 60))

    assert planned(1, "a") == planned(1, "a")
    assert planned(1, "a") != planned(2, "a")
    assert planned(1, "a") != planned(1, "b")
    assert {play.manner for play in planned(1, "a")} == set(Manner)
    assert {id(play.capture) for play in planned(1, "a")} == {id(capture) for capture in known}


def play(manner: Manner, *, events: int = 4, ending: Ending | None = None, where: float = 0.5) -> Play:
    capture = Capture(Request(), None, 0, ending=ending)
    capture.events.extend(Event(at * 100_000_000, f"{at}") for at in range(1, events + 1))
    return Play(capture, manner, "a", 2.0, where, 0.0)


def test_steps_are_paced_and_end_as_the_manner_says() -> None:
    read = steps(play(Manner.READ))
    assert [(step.data, step.wait_s) for step in read] == [(f"{at}", pytest.approx(0.2)) for at in range(1, 5)]
    assert [step.data for step in steps(play(Manner.CUT))] == ["1", "2"]
    *before, last = steps(play(Manner.BROKEN))
    assert [step.data for step in before] == ["1", "2"]
    assert isinstance(last.data, _streams.Scripted)
    assert type(last.data).__qualname__ == "ConnectionResetError"
    stalled = steps(play(Manner.STALLED))
    assert max(step.wait_s for step in stalled) > _streams.STALL_AFTER_S
    assert [step.data for step in stalled] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("manner", Manner)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_a_stream_without_events_can_be_played_in_every_manner(manner: Manner, where: float) -> None:
    failing = play(manner, events=0, ending=Ending(5, "error", "x.ProtocolError"), where=where)
    assert all(isinstance(step.data, _streams.Scripted) for step in steps(failing))


def test_own_timestamps_keep_their_distance_from_the_arrival() -> None:
    capture = Capture(Request(), None, 1_700_000_000_000_000_000)
    capture.events.append(Event(2_000_000_000, {"timestamp": 1_700_000_001.5}))
    (step,) = steps(Play(capture, Manner.READ, "a", 2.0, 0.5, 0.0))
    assert step.lag_s == pytest.approx(1.0)
    before = time.time()
    (given,) = _streams.paused_source([step], lambda seconds: None)
    assert before - 1.0 <= given["timestamp"] <= time.time() - 1.0 + 0.1


# Numbers and text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([0, 0, 0], 0.5, None),
        ([4, 0, 0], 0.5, 0.5),
        ([0, 4, 0], 0.5, 1.5),
        ([2, 2, 0], 0.5, 1.0),
        ([2, 2, 0], 0.75, 1.5),
        ([2, 0, 2], 0.99, 2.0),
        ([0, 0, 3], 0.5, 2.0),
        ([1, 0, 0], 1.0, 1.0),
        ([1, 1, 0], 0.0, 0.0),
    ],
)
def test_quantiles_are_interpolated(counts: list[int], share: float, value: float | None) -> None:
    assert _numbers.quantile((1.0, 2.0), counts, share) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0.0ms"), (0.0004, "0.4ms"), (0.00996, "10ms"), (0.0996, "100ms"), (0.42, "420ms"),
        (0.9996, "1.00s"), (9.996, "10.0s"), (99.96, "1m40s"), (3600, "60m00s"),
    ],
)  # fmt: skip
def test_a_duration_takes_six_characters(value: float | None, text: str) -> None:
    assert _numbers.seconds(value) == text
    assert len(text) <= 6


def test_a_row_is_about_streams_not_model_calls(seen: testing.Seen) -> None:
    from streamgauge.capture import read

    replay(read(CAPTURES / "shipit-two-iterations.ndjson"), seen.pipeline)
    (row,) = _numbers.rows(seen.pipeline)
    assert row.dialect == "shipit-agent"
    assert row.outcomes == {Outcome.COMPLETED: 1}
    assert sum(row.first_token.counts) == 1
    assert sum(row.first_byte.counts) == 1
    assert row.chunks == seen.value(semconv.CHUNKS.name)


@pytest.mark.parametrize(
    ("most", "shown"),
    [
        (9, ["a2a", "anthropic", "gemini", "jaf", "mcp", "mistral", "zag"]),
        (7, ["a2a", "anthropic", "gemini", "jaf", "mcp", "mistral", "zag"]),
        (6, ["a2a", "jaf", "mcp", "zag", "3 model APIs"]),
        (4, ["jaf", "zag", "3 model APIs", "2 protocols"]),
        (3, ["3 model APIs", "2 protocols", "2 agents"]),
        (0, ["3 model APIs", "2 protocols", "2 agents"]),
    ],
)
def test_rows_are_put_together_where_the_terminal_is_low(most: int, shown: list[str]) -> None:
    names = ("a2a", "anthropic", "gemini", "jaf", "mcp", "mistral", "zag")
    times = _numbers.Times((1.0, 2.0), [1, 0, 2])
    found = [_numbers.Row(name, {Outcome.FAILED: 2}, 1, times, chunks=3, retries=1) for name in names]
    fitted = _numbers.fitted(found, most)
    assert [row.dialect for row in fitted] == shown
    assert sum(row.ended for row in fitted) == 14
    assert sum(row.open for row in fitted) == 7
    assert sum(row.chunks + row.retries for row in fitted) == 28
    assert [sum(counts) for counts in zip(*(row.first_byte.counts for row in fitted), strict=True)] == [7, 0, 14]
    assert all(not row.first_token.counts for row in fitted)


def test_the_protocols_are_dialects() -> None:
    assert set(dialects.BUILT_IN) > _numbers._PROTOCOLS


def test_columns_break_their_last_column_where_the_terminal_ends() -> None:
    text = _text.columns(("A", "B"), [("one", "two words and more of them than fit")], limit=30)
    assert text.splitlines() == ["A    B", "one  two words and more of", "     them than fit"]
    assert _text.columns(None, [("a", "b " * 40)], limit=0).count("\n") == 0
