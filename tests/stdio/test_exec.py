"""`streamgauge exec`: a real command, as its caller has it without us and with us."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import stat
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stdio.running import (
    BARE,
    EXEC,
    PATIENCE_S,
    asides,
    captured,
    children,
    commands,
    done,
    ending,
    environment,
    files,
    lines_of,
    python,
    running,
    state,
)  # fmt: skip

REAL_TIME = set(range(signal.SIGRTMIN + 1, signal.SIGRTMAX))
"""One is like the other."""
HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
SIGNALS = sorted(set(signal.valid_signals()) - HARMLESS - REAL_TIME)
DEADLY = [
    number for number in SIGNALS if number not in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
]
CORES = {signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP,
         signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ}  # fmt: skip

COUNTS = """
import os, signal, sys
number = int(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, {number, signal.SIGUSR2})
os.write(1, b"ready\\n")
got = 0
while (one := signal.sigwait({number, signal.SIGUSR2})) != signal.SIGUSR2:
    got += 1
    os.write(1, b"got %d\\n" % got)
os.write(1, b"over %d\\n" % got)
"""


def no_cores() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def line(process: subprocess.Popen[bytes]) -> bytes:
    """The next one. Fails where it does not come."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE_S)[0]
    return os.read(process.stdout.fileno(), 65_536)


def until(what: Any) -> None:
    """For the state of another process, which nothing tells us."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


# Ends -------------------------------------------------------------------------------------------------------------


def test_every_exit_code_is_kept(tmp_path: Path) -> None:
    """In one shell that runs them all, as 256 starts would take a minute."""
    watched = python("import os, sys; os._exit(int(sys.argv[1]))")
    run = " ".join([*(f"'{part}'" if " " in part else part for part in (*EXEC, "--", *watched)), "$code"])
    script = f"for code in $(seq {{}} {{}}); do {run}; [ $? = $code ] || exit 1; done; exit 0"
    loops = [
        subprocess.Popen(["/bin/sh", "-c", script.format(first, first + 31)], cwd=tmp_path, env=environment())
        for first in (0, 224)
    ]
    assert [loop.wait(50) for loop in loops] == [0, 0]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 64, 126, 127, 128, 130, 137, 143, 200, 255])
def test_an_exit_code_is_told(code: int, tmp_path: Path) -> None:
    assert done("sh", "-c", f"echo a; exit {code}", cwd=tmp_path) == (code, b"a\n", b"")
    assert asides(tmp_path) == [("exited", {"code": code})]
    assert (ending(tmp_path)["error"], ending(tmp_path)["outcome"]) == (
        (f"exit_{code}", "failed") if code else (None, "completed")
    )


@pytest.mark.parametrize("number", DEADLY)
def test_death_by_a_signal_is_our_own(number: int, tmp_path: Path) -> None:
    program = python(
        "import os, signal, sys; n = int(sys.argv[1])\n"
        "try: signal.signal(n, signal.SIG_DFL)\nexcept OSError: pass\nos.kill(os.getpid(), n)",
        str(number),
    )
    bare = done(*program, cwd=tmp_path, before=BARE, preexec_fn=no_cores)
    assert bare == (-number, b"", b"")
    assert done(*program, cwd=tmp_path, preexec_fn=no_cores) == bare
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"SIG{number}"
    assert asides(tmp_path) == [("exited", {"signal": name})]
    assert ending(tmp_path)["error"] == name


def test_a_core_is_the_commands_own(tmp_path: Path) -> None:
    """Where it dumps one, we do not write another over it."""
    program = python("import os; os.abort()")
    assert done(*program, cwd=tmp_path)[0] == -signal.SIGABRT
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    cores = [file for file in tmp_path.iterdir() if "core" in file.name]
    assert len(cores) <= 1, pattern


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    code, out, err = done("no-such-command", cwd=tmp_path)
    assert (code, out, err) == (127, b"", b"streamgauge: no-such-command: no such file or directory\n")


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    assert done("./data", cwd=tmp_path)[0] == 126
    assert done("./data", cwd=tmp_path, before=EXEC[:4])[0] == 126


def test_a_script_that_does_not_say_what_runs_it(tmp_path: Path) -> None:
    (tmp_path / "script").write_text('echo "$0 $1"\n')
    (tmp_path / "script").chmod(0o755)
    for before in (EXEC, EXEC[:4]):
        assert done("./script", "a", cwd=tmp_path, before=before) == (0, b"./script a\n", b"")


# Signals ----------------------------------------------------------------------------------------------------------

PASSED = [n for n in DEADLY if n not in {signal.SIGKILL, signal.SIGPIPE, signal.SIGUSR2, *CORES - {signal.SIGQUIT}}]
PASSED += [signal.SIGWINCH, signal.SIGURG, signal.SIGTSTP, signal.SIGCONT]


@pytest.mark.parametrize("number", sorted(PASSED))
def test_a_signal_is_passed_on_once(number: int, tmp_path: Path) -> None:
    """Also one that is sent to the whole group, which the command is in."""
    with running(*python(COUNTS, str(number)), cwd=tmp_path, start_new_session=True) as process:
        assert line(process) == b"ready\n"
        process.send_signal(number)
        assert line(process) == b"got 1\n"
        os.killpg(process.pid, number)
        assert line(process) == b"got 2\n"
        until(lambda: not pending(process.pid) >> (number - 1) & 1)  # else the kernel makes one of the two
        process.send_signal(number)
        assert line(process) == b"got 3\n"
        process.send_signal(signal.SIGUSR2)
        assert line(process) == b"over 3\n"
        assert process.wait(PATIENCE_S) == 0


def pending(pid: int) -> int:
    """The signals that it has got, and not taken yet."""
    (found,) = re.findall(r"ShdPnd:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return int(found, 16)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_who_is_told_to_end_is_cancelled(number: int, tmp_path: Path) -> None:
    """And where a handler ends it with a code, likewise."""
    program = "echo ready; exec cat" if number != signal.SIGHUP else "trap 'exit 9' HUP; echo ready; read x"
    with running("sh", "-c", program, cwd=tmp_path, stdin=subprocess.PIPE, preexec_fn=no_cores) as process:
        assert line(process) == b"ready\n"
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == (9 if number == signal.SIGHUP else -number)
    assert asides(tmp_path)[0] == ("signalled", {"signal": signal.Signals(number).name})
    assert (ending(tmp_path)["outcome"], ending(tmp_path)["how"]) == ("cancelled", "cancelled")


def test_what_is_ignored_by_the_caller_is_ignored_by_the_command(tmp_path: Path) -> None:
    """And what is blocked is blocked."""
    show = python("import signal; print([signal.getsignal(n) == signal.SIG_IGN for n in (1, 2, 3, 13, 25)],"
                  " sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), flush=True)")  # fmt: skip

    def as_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    bare = done(*show, cwd=tmp_path, before=BARE, preexec_fn=as_nohup)
    assert bare[1].startswith(b"[True, True, False")
    assert done(*show, cwd=tmp_path, preexec_fn=as_nohup) == bare
    assert done(*show, cwd=tmp_path, before=EXEC[:4], preexec_fn=as_nohup) == bare


def test_killed_ourselves_the_command_is_killed(tmp_path: Path) -> None:
    """And what it had written is not lost."""
    with running("sh", "-c", "echo before; exec cat", cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert line(process) == b"before\n"
        (command,) = commands(process.pid)
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
        until(lambda: state(command) in ("", "Z"))
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_a_stopped_command_is_seen_as_stopped(tmp_path: Path) -> None:
    with running("sh", "-c", "echo ready; read x; echo $x", cwd=tmp_path, stdin=subprocess.PIPE,
                 start_new_session=False) as process:  # fmt: skip
        assert line(process) == b"ready\n"
        (command,) = commands(process.pid)
        for _ in range(2):
            os.kill(command, signal.SIGSTOP)
            found, status = os.waitpid(process.pid, os.WUNTRACED)
            assert (found, os.WIFSTOPPED(status), os.WSTOPSIG(status)) == (process.pid, True, signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
            until(lambda: state(command) == "S" and state(process.pid) == "S")
        assert process.stdin is not None
        process.stdin.write(b"again\n")
        process.stdin.flush()
        assert line(process) == b"again\n"
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "alone"])
def test_continued_and_stopped_again_at_once(whole_group: bool, tmp_path: Path) -> None:
    """A stop takes back a SIGCONT that was not seen yet: whoever got there first, the command and we are stopped."""
    tell = os.killpg if whole_group else os.kill
    with ExitStack() as stack:
        started = [  # several: each is to be late now and then
            stack.enter_context(running("sleep", "1000", cwd=tmp_path, preexec_fn=os.setpgrp)).pid for _ in range(4)
        ]
        until(lambda: all(map(commands, started)))
        pairs = [(pid, command) for pid in started for command in commands(pid)]
        for pid in started:
            stack.callback(os.killpg, pid, signal.SIGKILL)
            tell(pid, signal.SIGTSTP)
        for turn in range(50):
            for pid, command in pairs:
                end = time.monotonic() + PATIENCE_S
                while os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is None:
                    assert time.monotonic() < end, (turn, state(pid), state(command))
                assert state(pid) == "T"
                until(lambda command=command: state(command) == "T")
            for pid, _ in pairs:
                tell(pid, signal.SIGCONT)
            if turn % 2:
                for _, command in pairs:
                    until(lambda command=command: state(command) != "T")
            for pid, _ in pairs:
                tell(pid, signal.SIGTSTP)


# Data -------------------------------------------------------------------------------------------------------------


def test_every_byte_passes_and_noise_is_harmless(tmp_path: Path) -> None:
    noise = bytes(range(256)) * 40 + b"\n" + os.urandom(300_000) + b'\n\xff\xfe{"a\n\r\n  \n' + b'{"last": 1}'
    assert done("cat", cwd=tmp_path, said=noise) == (0, noise, b"")
    assert lines_of(tmp_path)[-1] == '{"last": 1}'
    assert ending(tmp_path)["outcome"] == "completed"


def test_a_line_of_64_mib_passes_in_bounded_memory_and_the_next_is_read(tmp_path: Path) -> None:
    program = python(
        "import os, sys\nos.write(1, b'first\\n'); os.read(0, 1)\n"
        "for _ in range(1024): os.write(1, b'x' * 65536)\nos.write(1, b'\\nnext\\n'); sys.stdin.read()"
    )
    with running(*program, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert line(process) == b"first\n"
        until(lambda: "first" in (tmp_path / "capture.ndjson").read_text())
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        got, wanted = 0, 67_108_864 + len(b"\nnext\n")
        while got < wanted:
            got += len(line(process))
        assert got == wanted
        assert resident_kib(process.pid) < 120_000
        assert process.communicate(timeout=PATIENCE_S) == (b"", b"")
    assert lines_of(tmp_path) == ["first", "next"]


def resident_kib(pid: int) -> int:
    (found,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found)


def test_a_reader_that_stops_blocks_the_command_and_costs_no_memory(tmp_path: Path) -> None:
    program = python(
        "import os\nn = 0\nwhile True:\n    n += os.write(1, b'y' * 1023 + b'\\n')\n    os.write(2, b'%d\\n' % n)"
    )
    with running(*program, cwd=tmp_path) as process:
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), True)
        written, quiet = 0, 0
        while quiet < 3:  # three looks, each half a second, at which nothing more was written
            if select.select([process.stderr], [], [], 0.5)[0]:
                written, quiet = int(os.read(process.stderr.fileno(), 1 << 20).split()[-1]), 0
            else:
                quiet += 1
        # The reader's pipe, ours, and what is on the way between them.
        assert 65_536 <= written <= 4 * 65_536
        assert resident_kib(process.pid) < 120_000


def test_a_flood_on_standard_error_is_the_callers_alone(tmp_path: Path) -> None:
    program = python("import os\nfor _ in range(4096): os.write(2, b'e' * 1024)\nos.write(1, b'done\\n')")
    assert done(*program, cwd=tmp_path) == (0, b"done\n", b"e" * 4_194_304)
    assert lines_of(tmp_path) == ["done"]


def test_each_piece_passes_before_the_next_is_made(tmp_path: Path) -> None:
    """Not held for a line's end, nor for anything else."""
    program = python("import os\nfor _ in range(20): os.write(1, b'.'); assert os.read(0, 1) == b'!'")
    with running(*program, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for _ in range(20):
            assert line(process) == b"."
            process.stdin.write(b"!")
            process.stdin.flush()
        assert process.wait(PATIENCE_S) == 0


def test_what_the_caller_says_begins_a_turn(tmp_path: Path) -> None:
    with running("cat", cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for said in (b'{"ask": 1}\n', b'{"ask": 2}\n'):
            process.stdin.write(said)
            process.stdin.flush()
            assert line(process) == said
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    told = [entry.get("aside") or entry["data"] for entry in captured(tmp_path)[1:-1]]
    assert told == ["started", "sent", '{"ask": 1}', "sent", '{"ask": 2}', "exited"]


def test_standard_input_can_be_the_commands_alone(tmp_path: Path) -> None:
    before = (*EXEC, "--no-stdin")
    script = "while read x; do {} head -c 0; echo $x; done".format(" ".join((*before, "--")))
    assert done("sh", "-c", script, cwd=tmp_path, before=BARE, said=b"a\nb\nc\n")[:2] == (0, b"a\nb\nc\n")


def test_output_and_error_that_are_one_keep_their_order(tmp_path: Path) -> None:
    program = python("import os\nfor n in range(200): os.write(1 + n % 2, b'%d\\n' % n)")
    code, out, err = done(*program, cwd=tmp_path, stderr=subprocess.STDOUT)
    assert (code, err) == (0, None)
    assert out.split() == [b"%d" % n for n in range(200)]


# Ends of pipes ----------------------------------------------------------------------------------------------------


def test_the_end_of_input_is_passed_on(tmp_path: Path) -> None:
    assert done("cat", cwd=tmp_path, said=b"") == (0, b"", b"")


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_command_that_closes_its_output_and_lives_on(before: Any, tmp_path: Path) -> None:
    program = "echo last; exec >&-; read x; exit 7"
    with running("sh", "-c", program, cwd=tmp_path, before=before, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"last\n"
        assert process.poll() is None
        process.communicate(b"go on\n", timeout=PATIENCE_S)
        assert process.returncode == 7


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_command_that_closes_its_input_and_lives_on(before: Any, tmp_path: Path) -> None:
    program = "exec <&-; echo closed; sleep 60"
    with running("sh", "-c", program, cwd=tmp_path, before=before, stdin=subprocess.PIPE) as process:
        assert line(process) == b"closed\n"
        assert process.stdin is not None
        poller = select.poll()
        poller.register(process.stdin, 0)
        assert poller.poll(PATIENCE_S * 1000) == [(process.stdin.fileno(), select.POLLERR)]


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_command_that_closes_its_error_and_lives_on(before: Any, tmp_path: Path) -> None:
    program = "exec 2>&-; read x; exit 0"
    with running("sh", "-c", program, cwd=tmp_path, before=before, stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.poll() is None
        process.communicate(b"x\n", timeout=PATIENCE_S)


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_grandchild_that_keeps_the_output(before: Any, tmp_path: Path) -> None:
    """The command's end is ours; the reader sees the end when the grandchild has ended, and what that wrote."""
    for name in ("go", "end"):
        os.mkfifo(tmp_path / name)
    script = "echo own; (read x < go; echo late; read y < end) & exit 5"
    with running("sh", "-c", script, cwd=tmp_path, before=before) as process:
        assert process.wait(PATIENCE_S) == 5
        assert line(process) == b"own\n"
        assert process.stdout is not None
        assert not select.select([process.stdout], [], [], 0)[0], "it is open, and nothing comes"
        (tmp_path / "go").write_text("x\n")
        assert line(process) == b"late\n"
        (tmp_path / "end").write_text("y\n")
        assert line(process) == b""
    if before:
        assert lines_of(tmp_path) == ["own"]


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_grandchild_that_floods_does_not_hold_up_the_end(before: Any, tmp_path: Path) -> None:
    with running("sh", "-c", "yes & exit 6", cwd=tmp_path, before=before) as process:
        assert process.stdout is not None
        while process.poll() is None:
            os.read(process.stdout.fileno(), 65_536)
        assert process.returncode == 6
        assert line(process)
        process.stdout.close()  # it ends by SIGPIPE


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_reader_that_leaves(before: Any, tmp_path: Path) -> None:
    with running("yes", cwd=tmp_path, before=before) as process:
        assert line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(PATIENCE_S) == -signal.SIGPIPE
    if before:
        assert ending(tmp_path)["outcome"] == "abandoned"


@pytest.mark.parametrize("before", [BARE, EXEC], ids=["bare", "exec"])
def test_a_reader_that_leaves_before_anything_is_written(before: Any, tmp_path: Path) -> None:
    program = "read x; echo one; echo two; exit 0"
    with running("bash", "-c", program, cwd=tmp_path, before=before, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        output = ""
        if before:
            until(lambda: commands(process.pid))
            output = os.readlink(f"/proc/{commands(process.pid)[0]}/fd/1")
        process.stdout.close()
        if before:
            ours = {process.pid, *children(process.pid)} - {*commands(process.pid)}
            until(lambda: not any(output in files(pid) for pid in ours))
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.wait(PATIENCE_S) == -signal.SIGPIPE


def test_a_hung_command_hangs_and_ends_when_told(tmp_path: Path) -> None:
    with running(
        "sh", "-c", "trap '' INT; echo up; sleep 1000 & wait", cwd=tmp_path, start_new_session=True
    ) as process:
        assert line(process) == b"up\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == -signal.SIGTERM
        os.killpg(process.pid, signal.SIGKILL)


# What it is given -------------------------------------------------------------------------------------------------


def test_environment_arguments_and_files_are_as_without_us(tmp_path: Path) -> None:
    program = python("import os, sys; print(sys.argv[1:], sorted(os.environ.items()), os.getcwd(), os.umask(0),"
                     " sorted(os.listdir('/proc/self/fd'))[:-1], os.getpgid(0) == os.getpgid(os.getppid()))",
                     "--", "-x", "a b", "", "\udcff")  # fmt: skip
    kept, other = os.pipe()
    try:
        for env in (environment(), environment(LC_ALL="", LANG="", A="\udcff")):
            env.pop("LC_CTYPE", None)
            options: dict[str, Any] = {"env": env, "pass_fds": (kept,), "umask": 0o027}
            bare = done(*program, cwd=tmp_path, before=BARE, **options)
            assert done(*program, cwd=tmp_path, **options) == bare
            assert done(*program, cwd=tmp_path, before=EXEC[:4], **options) == bare
    finally:
        os.close(kept)
        os.close(other)


def test_an_inherited_file_is_held_by_the_command_alone(tmp_path: Path) -> None:
    kept, other = os.pipe()
    with running("bash", "-c", f"exec {other}>&-; echo closed; read x", cwd=tmp_path, pass_fds=(other,),
                 stdin=subprocess.PIPE) as process:  # fmt: skip
        os.close(other)
        assert line(process) == b"closed\n"
        assert os.read(kept, 1) == b""
        os.close(kept)
        process.communicate(b"\n", timeout=PATIENCE_S)


@pytest.mark.parametrize("before", [BARE, EXEC, EXEC[:4]], ids=["bare", "exec", "in place"])
def test_streams_that_are_closed_stay_closed(before: Any, tmp_path: Path) -> None:
    show = "for fd in 0 1 2; do [ -e /proc/$$/fd/$fd ] && echo $fd >> found; done; true"
    command = (*before, "--", "bash", "-c", show) if before else ("bash", "-c", show)
    closing = ("bash", "-c", 'exec "$@" <&- 2>&-', "bash", *command)
    assert done(*closing, cwd=tmp_path, before=BARE)[0] == 0
    assert (tmp_path / "found").read_text() == "1\n"


def test_where_there_is_nothing_to_tell_the_command_takes_our_place(tmp_path: Path) -> None:
    with running("sh", "-c", "echo $$; read x", cwd=tmp_path, before=EXEC[:4], stdin=subprocess.PIPE) as process:
        assert line(process) == b"%d\n" % process.pid
        process.communicate(b"\n", timeout=PATIENCE_S)


def test_non_blocking_streams_of_the_callers_stay_so_and_work(tmp_path: Path) -> None:
    with running("sh", "-c", "head -c 300000 /dev/zero; cat", cwd=tmp_path, stdin=subprocess.PIPE,
                 preexec_fn=lambda: (os.set_blocking(0, False), os.set_blocking(1, False))) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert (len(out), process.returncode) == (300_000, 0)


def test_a_summary_is_on_standard_error_only_where_it_is_asked_for(tmp_path: Path) -> None:
    assert done("echo", "a", cwd=tmp_path)[2] == b""
    code, out, err = done("sh", "-c", "echo a; exit 4", cwd=tmp_path, before=(*EXEC[:4], "--summary"))
    assert (code, out) == (4, b"a\n")
    assert re.match(
        rb"streamgauge: sh exited with 4 after \d.*, failed\ndialect  .*\ngeneric-messages  1 completed", err
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "there is no command to run"),
        (("--",), "there is no command to run"),
        (("--dialect", "nobodys", "--", "true"), "there is no dialect 'nobodys'"),
        (("--dialect", "vercel-ai", "--", "true"), "the dialect 'vercel-ai' reads sse, and a process prints lines"),
        (("--capture", "/nowhere/x", "--", "true"), "--capture /nowhere/x: no such file or directory"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    found = subprocess.run([*EXEC[:4], *arguments], capture_output=True, cwd=tmp_path, env=environment(), timeout=40)
    assert found.returncode == 2
    (told,) = found.stderr.decode().splitlines()
    assert told.startswith("streamgauge: ")
    assert says in told


def test_options_after_the_command_are_the_commands(tmp_path: Path) -> None:
    found = subprocess.run([*EXEC, "echo", "--dialect", "-x", "--"], capture_output=True, cwd=tmp_path,
                           env=environment(), timeout=40)  # fmt: skip
    assert found.stdout == b"--dialect -x --\n"


def test_the_capture_is_its_owners_alone(tmp_path: Path) -> None:
    done("true", cwd=tmp_path)
    assert stat.S_IMODE((tmp_path / "capture.ndjson").stat().st_mode) == 0o600
