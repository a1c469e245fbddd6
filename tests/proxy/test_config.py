"""The proxy's settings: a flag wins over the environment, that over the file, that over the default; every mistake is
told with its place, what was given and what is allowed."""

from __future__ import annotations

import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import trustme

from streamgauge import dialects
from streamgauge.errors import SettingsError, UsageError
from streamgauge.proxy import config
from streamgauge.proxy.config import Config, load
from streamgauge.settings import Settings
from streamgauge.settings import load as load_settings
from streamgauge.transports.http.limits import Limits
from streamgauge.transports.http.routes import Retries, Route

OPENAI = "https://api.openai.com"
LIMITS = ", ".join(sorted(each.name for each in fields(Limits)))
DIALECTS = ", ".join(sorted(dialects.BUILT_IN))
OPTIONS = "grace_s, host, limits, port, route, tls_certificate, tls_key, token_file, tokens, upstream, workers"
ROUTE_KEYS = (
    "ca_file, dialect, http2, limits, on_disconnect, prefix, replace_traceparent, retries, token_file, tokens, upstream"
)


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tokens").write_text("# of the shop\n\n  secret-1 \nsecret-2\n")
    Path("none").write_text("# nothing\n")
    ca = trustme.CA()
    ca.cert_pem.write_to_path("ca.pem")
    chain = ca.issue_cert("localhost")
    chain.private_key_and_cert_chain_pem.write_to_path("both.pem")
    chain.private_key_pem.write_to_path("key.pem")
    chain.cert_chain_pems[0].write_to_path("chain.pem")


def read(text: str, **options: Any) -> Config:
    Path("a.toml").write_text(text)
    return load(file="a.toml", environ=options.pop("environ", {}), **options)


def route(line: str, **options: Any) -> Route:
    (made,) = load(routes=[line], environ={}, **options).routes
    return made


# What is read -----------------------------------------------------------------------------------------------------

WHOLE = """\
service_name = "gateway"
metrics_port = 9000

[proxy]
host = "0.0.0.0"
port = 8443
workers = 4
grace_s = 90
token_file = "tokens"
tls_certificate = "chain.pem"
tls_key = "key.pem"
upstream = "http://localhost:11434"

[proxy.limits]
max_streams = 200
idle_timeout_s = 60

[[proxy.route]]
prefix = "/openai"
upstream = "https://api.openai.com"
dialect = "openai-chat"
on_disconnect = "drain"
replace_traceparent = true
http2 = true

[proxy.route.retries]
attempts = 3
methods = ["POST"]
statuses = [429, 503]
connect_errors = false
backoff_s = 1
max_retry_after_s = 5.5

[[proxy.route]]
prefix = "/own"
upstream = "https://models.example/api"
ca_file = "ca.pem"
tokens = ["mine"]
retries = 1
limits = { max_streams = 7, max_body_bytes = 1024 }

[[proxy.route]]
prefix = "/open"
upstream = "https://models.example"
tokens = []
"""


def test_a_whole_file() -> None:
    found = read(WHOLE)
    limits = Limits(max_streams=200, idle_timeout_s=60.0)
    tokens = ("secret-1", "secret-2")
    assert found.routes == (
        Route("/", "http://localhost:11434", tokens=tokens),
        Route(
            "/openai", OPENAI, "openai-chat", on_disconnect="drain", replace_traceparent=True, http2=True,
            tokens=tokens,
            retries=Retries(
                3, frozenset({"POST"}), frozenset({429, 503}), connect_errors=False, backoff_s=1.0,
                max_retry_after_s=5.5,
            ),
        ),
        Route(
            "/own", "https://models.example/api", ca_file="ca.pem", tokens=("mine",), retries=Retries(1),
            limits=Limits(max_streams=7, idle_timeout_s=60.0, max_body_bytes=1024),
        ),
        Route("/open", "https://models.example"),
    )  # fmt: skip
    assert found.limits == limits
    assert (found.host, found.port, found.workers, found.grace_s) == ("0.0.0.0", 8443, 4, 90.0)
    assert (found.settings.service_name, found.settings.metrics_port) == ("gateway", 9000)
    assert found.tls() is not None


def test_the_file_and_the_mistake_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "proxy.md").read_text("utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    text = text.replace("/etc/streamgauge/", "")
    found = read(text)
    assert [each.prefix for each in found.routes] == ["/openai", "/own"]
    assert {each.tokens for each in found.routes} == {("secret-1", "secret-2")}
    with pytest.raises(SettingsError) as raised:
        read(text.replace('"drain"', '"stop"'))
    assert f"streamgauge: {raised.value}\n".replace("a.toml", "streamgauge.toml") in page


def test_one_upstream_is_enough() -> None:
    found = load(upstream=OPENAI, environ={})
    assert found == Config((Route("/", OPENAI),), Limits(), Settings())
    assert (found.host, found.port, found.workers, found.grace_s) == ("127.0.0.1", 8080, 1, 20.0)
    assert found.tls() is None


def test_a_route_in_one_line() -> None:
    line = (
        "/a=https://h/x,y=,dialect=ollama, on_disconnect=drain,http2=1,replace_traceparent=true,retries=2,"
        "ca_file=ca.pem,token_file=tokens,max_streams=3,idle_timeout_s=1.5"
    )
    with pytest.raises(SettingsError, match="there is no key 'y'"):
        route(line)
    assert route(line.replace(",y=", "")) == Route(
        "/a", "https://h/x", "ollama", on_disconnect="drain", http2=True, replace_traceparent=True,
        retries=Retries(2), ca_file="ca.pem", tokens=("secret-1", "secret-2"),
        limits=Limits(max_streams=3, idle_timeout_s=1.5),
    )  # fmt: skip
    assert route("/a=https://h/x,y").upstream == "https://h/x,y", "a comma in a URL"
    assert route("/a=https://h/x,retries=0").retries is None


def test_where_the_file_is(tmp_path: Path) -> None:
    Path("streamgauge.toml").write_text('[proxy]\nupstream = "http://here"\n')
    Path("other.toml").write_text('[proxy]\nupstream = "http://other"\n')
    Path("third.toml").write_text('[proxy]\nupstream = "http://third"\n')
    assert load(environ={}).routes[0].upstream == "http://here"
    assert load(environ={"STREAMGAUGE_CONFIG": "other.toml"}).routes[0].upstream == "http://other"
    found = load(environ={"STREAMGAUGE_CONFIG": "other.toml"}, file="third.toml")
    assert found.routes[0].upstream == "http://third"


def test_the_general_settings_pass_over_the_proxys() -> None:
    Path("streamgauge.toml").write_text(f"stall_after_s = 4\n{WHOLE.partition('[proxy]')[1]}\nport = 1\n")
    assert load_settings(environ={}).stall_after_s == 4


# flag > environment > file > default
SOURCES = {
    "host": ('"b.example"', "c.example", "d.example", ("127.0.0.1", "b.example", "c.example", "d.example")),
    "port": ("1", "2", "3", (8080, 1, 2, 3)),
    "workers": ("2", "3", "4", (1, 2, 3, 4)),
    "grace_s": ("1", "2", "3.5", (20.0, 1.0, 2.0, 3.5)),
    "token_file": ('"b"', "c", "d", ("", "b", "c", "d")),
    "tls_certificate": ('"b"', "c", "d", ("", "b", "c", "d")),
    "tls_key": ('"b"', "c", "d", ("", "b", "c", "d")),
}


def test_the_table_has_every_option() -> None:
    assert set(SOURCES) == {option.name for option in config.OPTIONS}
    for option in config.OPTIONS:
        assert option.metadata["help"].endswith(".")
        assert option.metadata["allowed"]


@pytest.mark.parametrize("name", SOURCES)
def test_which_source_counts(name: str) -> None:
    in_file, in_environ, flag, values = SOURCES[name]
    for each in "bcd":
        Path(each).write_text("token\n")
    table = f'upstream = "{OPENAI}"\n' + ('tls_certificate = "x"\n' if name == "tls_key" else "")
    variable = f"STREAMGAUGE_PROXY_{name.upper()}"
    text = f"[proxy]\n{table}{name} = {in_file}\n"
    found = [
        read(f"[proxy]\n{table}", environ={variable: " "}),
        read(text),
        read(text, environ={variable: in_environ}),
        read(text, environ={variable: in_environ}, flags={name: flag}),
    ]
    assert tuple(getattr(each, name) for each in found) == values
    assert [type(getattr(each, name)) for each in found] == [type(value) for value in values]


def test_which_limit_counts() -> None:
    text = f'[proxy]\nupstream = "{OPENAI}"\n[proxy.limits]\nmax_streams = 2\n'
    environ = {"STREAMGAUGE_PROXY_MAX_STREAMS": "3"}
    found = [read("[proxy]\n", need_routes=False), read(text), read(text, environ=environ)]
    found.append(read(text, environ=environ, limits={"max_streams": "4"}))
    assert [each.limits.max_streams for each in found] == [1_000, 2, 3, 4]


def test_variables_of_options_and_limits_are_not_the_same() -> None:
    names = [each.name for each in (*config.OPTIONS, *fields(Limits))]
    variables = [config.variable(name) for name in names]
    assert len({*variables, config.UPSTREAM, config.ROUTES, config.TOKENS}) == len(names) + 3


def test_routes_of_a_stronger_source_replace_those_of_their_prefix() -> None:
    text = '[proxy]\nupstream = "http://f0"\n[[proxy.route]]\nprefix = "/a"\nupstream = "http://f1"\n'
    text += '[[proxy.route]]\nprefix = "/b"\nupstream = "http://f2"\n'
    environ = {"STREAMGAUGE_PROXY_ROUTES": "/a=http://e1 /c=http://e3,dialect=ollama"}
    found = read(text, environ=environ, routes=["/b/=http://x2"], upstream="http://x0")
    assert {each.prefix: each.upstream for each in found.routes} == {
        "/": "http://x0", "/a": "http://e1", "/b": "http://x2", "/c": "http://e3",
    }  # fmt: skip
    assert read(text, environ={"STREAMGAUGE_PROXY_UPSTREAM": "http://e0"}).routes[0].upstream == "http://e0"


def test_which_tokens_count() -> None:
    text = f'[proxy]\nupstream = "{OPENAI}"\ntokens = ["in-file"]\n'
    assert read(text).routes[0].tokens == ("in-file",)
    assert read(text, environ={config.TOKENS: "a, b"}).routes[0].tokens == ("a", "b")
    assert read(text, flags={"token_file": "tokens"}).routes[0].tokens == ("secret-1", "secret-2")


def test_it_can_be_handed_to_a_worker() -> None:
    found = read(WHOLE)
    assert pickle.loads(pickle.dumps(found)) == found


# Mistakes ---------------------------------------------------------------------------------------------------------

R = '[[proxy.route]]\nprefix = "/a"\n'
U = f'upstream = "{OPENAI}"\n'
BAD_FILES: dict[str, tuple[str, str]] = {
    "not TOML": (
        "[proxy]\nport 80\n", "a.toml: is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 6)",
    ),
    "an unknown table": (
        f"# routes\n[prxoy]\n{U}",
        "a.toml, line 2, prxoy: there is no key 'prxoy'; did you mean 'proxy'? known are "
        + ", ".join(sorted([*(each.name for each in fields(Settings)), "proxy"])),
    ),
    "an unknown key": (
        f"[proxy]\n{U}\nprot = 80\n",
        f"a.toml, line 4, proxy.prot: there is no key 'prot'; did you mean 'port'? known are {OPTIONS}",
    ),
    "a key like no other": (
        "[proxy]\nzzz = 1\n", f"a.toml, line 2, proxy.zzz: there is no key 'zzz'; known are {OPTIONS}",
    ),
    "a port beyond all": (
        f"[proxy]\n{U}port = 65_536\n", "a.toml, line 3, proxy.port: 65536 is not allowed; it takes 0 to 65535",
    ),
    "a port of another type": (
        f"[proxy]\n{U}port = true\n", "a.toml, line 3, proxy.port: True is not allowed; it takes 0 to 65535",
    ),
    "a host of another type": (
        f"[proxy]\n{U}host = 5\n", "a.toml, line 3, proxy.host: 5 is not allowed; it takes a host name or an address",
    ),
    "no workers": (
        f"[proxy]\n{U}workers = 0\n",
        "a.toml, line 3, proxy.workers: 0 is not allowed; it takes a whole number from 1 to 256",
    ),
    "half a worker": (
        f"[proxy]\n{U}workers = 1.5\n",
        "a.toml, line 3, proxy.workers: 1.5 is not allowed; it takes a whole number from 1 to 256",
    ),
    "an endless grace": (
        f"[proxy]\n{U}grace_s = inf\n", "a.toml, line 3, proxy.grace_s: inf is not allowed; it takes a number from 0",
    ),
    "the proxy as a list": (
        "proxy = [1]\n", "a.toml, line 1, proxy: [1] is not allowed; it takes a table: [proxy]",
    ),
    "a route that is one table": (
        f"[proxy.route]\n{U}",
        f"a.toml, line 1, proxy.route: {{'upstream': '{OPENAI}'}} is not allowed; it takes tables, each under a line "
        "[[proxy.route]]",
    ),
    "no route": ("[proxy]\nport = 80\n", "no route: give --upstream URL, --route PREFIX=URL, or [[proxy.route]] in "
                 "a.toml"),
    "no upstream": (
        f"{R}\n[[proxy.route]]\n{U}",
        'a.toml, line 1, proxy.route[1]: a route needs an upstream: upstream = "https://..."',
    ),
    "an upstream of another kind": (
        f'{R}upstream = "ftp://x"\n',
        "a.toml, line 3, proxy.route[1].upstream: a route's upstream is http://host[:port][/path] or https://..., not "
        "'ftp://x'",
    ),
    "an upstream with a password": (
        f'{R}upstream = "https://me:hidden@x"\n',
        "a.toml, line 3, proxy.route[1].upstream: a route's upstream is http://host[:port][/path] or https://...: no "
        "user, query or fragment",
    ),
    "a prefix that is no path": (
        f'[[proxy.route]]\n{U}prefix = "a"\n',
        "a.toml, line 3, proxy.route[1].prefix: a route's prefix is a path like /openai, not 'a'",
    ),
    "two of one prefix": (
        f'{R}{U}\n[[proxy.route]]\n{U}prefix = "/a/"\n',
        "a.toml, line 7, proxy.route[2].prefix: a second route with the prefix '/a'; the first is a.toml, line 2, "
        "proxy.route[1].prefix",
    ),
    "two for all": (
        f"[proxy]\n{U}\n[[proxy.route]]\n{U}",
        "a.toml, line 4, proxy.route[1]: a second route with the prefix '/'; the first is a.toml, line 2, "
        "proxy.upstream",
    ),
    "an unknown key of a route": (
        f'{R}{U}on_disconect = "drain"\n',
        "a.toml, line 4, proxy.route[1].on_disconect: there is no key 'on_disconect'; did you mean 'on_disconnect'? "
        f"known are {ROUTE_KEYS}",
    ),
    "another policy": (
        f'{R}{U}\n\non_disconnect = "stop"\n',
        "a.toml, line 6, proxy.route[1].on_disconnect: 'stop' is not allowed; it takes cancel or drain",
    ),
    "another dialect": (
        f'{R}{U}dialect = "openai_chat"\n',
        "a.toml, line 4, proxy.route[1].dialect: there is no dialect 'openai_chat'; did you mean 'openai-chat'? known "
        f"are {DIALECTS}",
    ),
    "half a truth": (
        f'{R}{U}http2 = "yes"\n', "a.toml, line 4, proxy.route[1].http2: 'yes' is not allowed; it takes true or false",
    ),
    "a file that is not there": (
        f'{R}{U}ca_file = "nowhere.pem"\n',
        "a.toml, line 4, proxy.route[1].ca_file: 'nowhere.pem' cannot be used: No such file or directory; it takes PEM",
    ),
    "a file without certificates": (
        f'{R}{U}ca_file = "tokens"\n',
        "a.toml, line 4, proxy.route[1].ca_file: 'tokens' cannot be used: it has no certificates; it takes PEM",
    ),
    "retries below none": (
        f"{R}{U}retries = -1\n",
        "a.toml, line 4, proxy.route[1].retries: -1 is not allowed; it takes how many after the first attempt, or a "
        "table [proxy.route.retries]",
    ),
    "a status of success": (
        f"{R}{U}[proxy.route.retries]\nstatuses = [\n  200,\n]\n",
        "a.toml, line 5, proxy.route[1].retries.statuses: [200] is not allowed; it takes statuses from 400 to 599, as "
        "[429, 503]",
    ),
    "no status": (
        f"{R}{U}[proxy.route.retries]\nstatuses = 503\n",
        "a.toml, line 5, proxy.route[1].retries.statuses: 503 is not allowed; it takes statuses from 400 to 599, as "
        "[429, 503]",
    ),
    "a small method": (
        f'{R}{U}retries = {{ methods = ["post"] }}\n',
        "a.toml, line 4, proxy.route[1].retries.methods: ['post'] is not allowed; it takes methods of HTTP, as "
        '["GET", "POST"]',
    ),
    "an unknown limit": (
        f"[proxy]\n{U}[proxy.limits]\nmax_stream = 5\n",
        "a.toml, line 4, proxy.limits.max_stream: there is no key 'max_stream'; did you mean 'max_streams'? known are "
        f"{LIMITS}",
    ),
    "a limit below its least": (
        f"[proxy]\n{U}limits.max_streams = 0\n",
        "a.toml, line 3, proxy.limits.max_streams: max_streams is at least 1, not 0",
    ),
    "a limit in words": (
        f'[proxy]\n{U}limits.max_streams = "many"\n',
        "a.toml, line 3, proxy.limits.max_streams: 'many' is not allowed; it takes a whole number",
    ),
    "a limit of bytes that is broken": (
        f"[proxy]\n{U}limits.max_body_bytes = 1.5\n",
        "a.toml, line 3, proxy.limits.max_body_bytes: 1.5 is not allowed; it takes a whole number",
    ),
    "an infinite time": (
        f"[proxy]\n{U}limits.idle_timeout_s = inf\n",
        "a.toml, line 3, proxy.limits.idle_timeout_s: inf is not allowed; it takes a number",
    ),
    "a limit of all, for one route": (
        f"{R}{U}[proxy.route.limits]\nmax_connections = 5\n",
        "a.toml, line 5, proxy.route[1].limits.max_connections: max_connections holds for all routes: put it into "
        "[proxy.limits]",
    ),
    "tokens that are no list": (
        f"{R}{U}tokens = 5\n", "a.toml, line 4, proxy.route[1].tokens: it takes a list of texts",
    ),
    "a token that is none": (
        f'{R}{U}tokens = ["ä-secret"]\n',
        "a.toml, line 4, proxy.route[1].tokens: a route's token is printable ASCII, and not empty",
    ),
    "a token file that is not there": (
        f'[proxy]\n{U}token_file = "nowhere"\n',
        "a.toml, line 3, proxy.token_file: 'nowhere' cannot be read: No such file or directory",
    ),
    "a token file without one": (
        f'{R}{U}token_file = "none"\n',
        "a.toml, line 4, proxy.route[1].token_file: 'none' has no token; it takes one in each line",
    ),
    "a bad general setting": (
        f'profile = "new"\n[proxy]\n{U}',
        "a.toml, line 1, profile: 'new' is not allowed; it takes released or dev",
    ),
    "a key without its certificate": (
        f'[proxy]\n{U}tls_key = "key.pem"\n', "tls_key: is of no use without tls_certificate",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_mistake_in_the_file(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flags": {"port": "http"}}, "--port: 'http' is not allowed; it takes 0 to 65535"),
        ({"flags": {"grace_s": "-1"}}, "--grace: '-1' is not allowed; it takes a number from 0"),
        ({"flags": {"host": " "}}, "--host: ' ' is not allowed; it takes a host name or an address"),
        (
            {"environ": {"STREAMGAUGE_PROXY_WORKERS": "all"}},
            "STREAMGAUGE_PROXY_WORKERS: 'all' is not allowed; it takes a whole number from 1 to 256",
        ),
        (
            {"environ": {"STREAMGAUGE_PROXY_MAX_STREAMS": "0"}},
            "STREAMGAUGE_PROXY_MAX_STREAMS: max_streams is at least 1, not 0",
        ),
        (
            {"environ": {"STREAMGAUGE_PROXY_ROUTES": "/a=http://x /b=ftp://x"}},
            "STREAMGAUGE_PROXY_ROUTES /b: a route's upstream is http://host[:port][/path] or https://..., not 'ftp://x'",
        ),
        (
            {"upstream": "x"},
            "--upstream: a route's upstream is http://host[:port][/path] or https://..., not 'x'",
        ),
        ({"routes": ["/a"]}, "--route: '/a' is not PREFIX=URL, as in /openai=https://api.openai.com"),
        ({"routes": ["a=http://x"]}, "--route: 'a' is not PREFIX=URL, as in /openai=https://api.openai.com"),
        (
            {"routes": ["/a=http://x,on_disconnect=stop"]},
            "--route /a, on_disconnect: 'stop' is not allowed; it takes cancel or drain",
        ),
        ({"routes": ["/a=http://x,http2=1,http2=0"]}, "--route /a: http2 is given twice"),
        (
            {"routes": ["/a=http://x,max_headers=5"]},
            "--route /a: max_headers holds for all routes: give it with --limit max_headers=...",
        ),
        (
            {"routes": ["/a=http://x", "/a/=http://y"]},
            "--route /a/: a second route with the prefix '/a'; the first is --route /a",
        ),
        (
            {"limits": {"max_steams": "1"}},
            f"--limit max_steams: there is no limit 'max_steams'; did you mean 'max_streams'? known are {LIMITS}",
        ),
        ({"limits": {"max_streams": "0"}}, "--limit max_streams: max_streams is at least 1, not 0"),
        ({"general_flags": {"metrics_port": "x"}}, "--admin-port: 'x' is not allowed; it takes 0 to 65535"),
        (
            {"general_flags": {"stall_after_s": "0"}},
            "--set stall_after_s: '0' is not allowed; it takes a number above 0",
        ),
        ({"file": "nowhere.toml"}, "nowhere.toml: cannot be read: No such file or directory"),
        (
            {"file": "latin.toml"},
            "latin.toml: is not UTF-8: 'utf-8' codec can't decode byte 0xe4 in position 5: invalid",
        ),
        ({}, "no route: give --upstream URL, --route PREFIX=URL, or [[proxy.route]] in streamgauge.toml"),
    ],
)
def test_a_mistake_elsewhere(arguments: dict[str, Any], message: str) -> None:
    Path("latin.toml").write_bytes(b"a = '\xe4'\n")
    with pytest.raises(SettingsError) as raised:
        load(**{"environ": {}, **arguments})
    assert str(raised.value).startswith(message)
    assert isinstance(raised.value, UsageError)


def test_no_message_has_a_token() -> None:
    for text in (f'{R}{U}tokens = ["ge\\u0001heim"]\n', f'[proxy]\n{U}tokens = [5, "geheim"]\n'):
        with pytest.raises(SettingsError) as raised:
            read(text)
        assert "heim" not in str(raised.value)


def test_where_certificates_cannot_be_used() -> None:
    cases = {
        ("nowhere", ""): r"nowhere cannot be used: No such file or directory",
        ("chain.pem", ""): r"chain\.pem cannot be used: .*",
        ("chain.pem", "tokens"): r"chain\.pem with tokens cannot be used: .*",
    }
    for (chain, key), problem in cases.items():
        flags = {"tls_certificate": chain, "tls_key": key or None}
        with pytest.raises(SettingsError) as raised:
            load(flags, upstream=OPENAI, environ={}).tls()
        assert re.fullmatch(rf"tls_certificate: {problem}; it takes PEM, without a password", str(raised.value))
    assert load({"tls_certificate": "both.pem"}, upstream=OPENAI, environ={}).tls() is not None
