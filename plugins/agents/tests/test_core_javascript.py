"""Our core under Node with stand-ins for the agent's modules, and a check that it keeps to ECMAScript 5."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from meshcentral_agents.core_builder import build_core, own_modules

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")

SOURCES = sorted(Path(str(files("meshcentral_agents") / "js")).glob("*.js"))
HARNESS = Path(__file__).parent / "js" / "harness.js"
ALL_RIGHTS = {"rights": 0xFFFFFFFF, "reply": True, "sessionid": "user//a/1", "responseid": "r"}

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(steps, platform=..., modules=...)` returns what the core sent."""
    core = tmp_path / "core.js"
    core.write_bytes(build_core(own_modules(), "linux").data[4:])

    def play(*steps: dict[str, Any], **scenario: Any) -> list[dict[str, Any]]:
        script = tmp_path / "scenario.json"
        script.write_text(json.dumps({"steps": steps, **scenario}))
        assert NODE is not None
        ended = subprocess.run(
            [NODE, str(HARNESS), str(core), str(script)], capture_output=True, text=True, timeout=30, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]

    return play


def commands(text: str, **members: Any) -> dict[str, Any]:
    return {"command": {"action": "runcommands", "type": 0, "cmds": text, **ALL_RIGHTS, **members}}


def answers(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in sent if message.get("action") == "msg"]


def bare_code(source: str) -> str:
    """The source without comments, texts and regular expressions."""
    pattern = r"//[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|(?<=[(=,:]\s)/(?:\\.|[^/\\\n])+/[gimuy]*"
    return re.sub(pattern, "''", source, flags=re.DOTALL)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources_keep_to_ecmascript_5(path: Path) -> None:
    source = path.read_text("utf-8")
    assert source.isascii()
    later = (
        r"\b(let|const|class|async|await|yield|import|export|of)\b|=>|`|\.\.\.|\*\*|\?\?|\?\.|new (Map|Set|Promise)\b"
    )
    found = re.search(later, bare_code(source))
    assert found is None, found and found.group()


def test_connecting_reports_core_and_network(run: Run) -> None:
    sent = run({"connect": 1}, {"wait": 20})
    by_action = {message["action"]: message for message in sent}
    info = by_action["coreinfo"]
    assert re.fullmatch(r"mesh core \d+\.\d+\.\d+", info["value"])
    assert (info["osdesc"], info["root"], info["caps"]) == ("Test OS", True, 0)
    assert "users" not in info
    assert by_action["netinfo"]["netif2"] == {"lo": [{"mac": "00:00", "address": "127.0.0.1"}]}


def test_a_reconnect_reports_again(run: Run) -> None:
    sent = run({"connect": 1}, {"wait": 20}, {"connect": 0}, {"connect": 1}, {"wait": 20})
    assert [message["action"] for message in sent].count("coreinfo") == 2
    assert [message["action"] for message in sent].count("netinfo") == 2


def test_users_are_named_once_and_sorted(run: Run) -> None:
    sessions = [
        {"Username": "zoe", "State": "Active"},
        {"Username": "ann", "Domain": "CORP", "State": "Locked"},
        {"Username": "zoe", "State": "Active"},
        {"Username": "old", "State": "Disconnected"},
        {"Username": None},
    ]
    module = "{ on: function () {}, isRoot: function () { return false; }, enumerateUsers: function () { "
    module += f"return {{ then: function (done) {{ done({json.dumps(sessions)}); }} }}; }} }}"
    (info, *_) = run({"connect": 1}, {"wait": 20}, modules={"user-sessions": module})
    assert (info["users"], info["lusers"], info["root"]) == (["CORP\\ann", "zoe"], ["CORP\\ann"], False)


@pytest.mark.slow
def test_network_changes_are_reported_after_they_settle(run: Run) -> None:
    monitor = "{ on: function (name, listener) { if (name === 'change') { changed = listener; } } }"
    system = "{ Name: 'x', networkInterfaces: function () { return interfaces; } }"
    sent = run(
        {"eval": "interfaces = { a: [] }, 0"},
        {"connect": 1},
        {"eval": "changed(), changed(), 0"},
        {"wait": 2100},
        {"eval": "interfaces = { b: [] }, changed(), changed(), 0"},
        {"wait": 2100},
        modules={"NetworkMonitor": monitor, "os": system},
    )
    reports = [message["netif2"] for message in sent if message.get("action") == "netinfo"]
    assert reports == [{"a": []}, {"b": []}]


def test_ping_is_answered_and_nonsense_is_not(run: Run) -> None:
    nonsense: list[Any] = [None, "text", 5, [], {}, {"action": 7}, {"action": "unknown"}, {"action": "toString"}]
    sent = run(*({"command": message} for message in nonsense), {"command": {"action": "ping"}})
    assert sent == [{"action": "pong"}]


def test_sessions_are_counted(run: Run) -> None:
    sent = run(
        {"eval": "sessions = require('mesh-sessions'), sessions.opened('kvm', 'user//a'), 0"},
        {"eval": "sessions.opened('kvm', 'user//a'), sessions.closed('kvm', 'user//a'), 0"},
        {"connect": 1},
        {"wait": 20},
        {"eval": "sessions.closed('kvm', 'user//a'), 0"},
    )
    counts = [message["value"] for message in sent if message.get("action") == "sessions"]
    assert counts == [{"user//a": 1}, {"user//a": 2}, {"user//a": 1}, {"user//a": 1}, {}]


def test_output_is_in_order_and_the_exit_code_is_the_commands(run: Run) -> None:
    (answer,) = answers(run(commands("echo out; echo err >&2; cat; echo $0 é😀; exit 7"), {"wait": 300}))
    assert answer == {
        "action": "msg",
        "type": "runcommands",
        "result": "out\nerr\n/bin/sh é😀\n",
        "exitcode": 7,
        "sessionid": "user//a/1",
        "responseid": "r",
    }


@pytest.mark.parametrize(("text", "code"), [("true", 0), ("false", 1), ("kill -9 $$", 137), ("no-such-command", 127)])
def test_exit_codes(run: Run, text: str, code: int) -> None:
    (answer,) = answers(run(commands(text), {"wait": 300}))
    assert answer["exitcode"] == code


def test_bytes_that_are_no_text_are_replaced(run: Run) -> None:
    octal = "".join(f"\\{byte:03o}" for byte in b"a\xc3(\xff\xed\xa0\x80\xf0\x9f\x98\x80\xe2\x82")
    (answer,) = answers(run(commands(f"printf '{octal}'"), {"wait": 300}))
    assert answer["result"] == "a�(�" + "�" * 3 + "😀" + "�" * 2


def test_long_output_is_truncated_with_a_mark(run: Run) -> None:
    (answer,) = answers(run(commands("head -c 1500000 /dev/zero | tr '\\0' a; exit 3"), {"wait": 1500}))
    output, mark = answer["result"].split("\n", 1)
    assert (len(output), answer["exitcode"]) == (1024 * 1024, 3)
    assert mark == f"[output truncated: {1_500_000 - 1024 * 1024} more bytes]\n"


def test_commands_do_not_wait_for_each_other(run: Run) -> None:
    sent = run(commands("sleep 0.4; echo slow", responseid=1), commands("echo fast", responseid=2), {"wait": 900})
    assert [answer["responseid"] for answer in answers(sent)] == [2, 1]


def test_the_time_limit_stops_the_whole_command(run: Run) -> None:
    (answer,) = answers(run(commands("echo begin; sleep 5; echo end", timeout=1), {"wait": 1600}))
    assert answer["result"] == "begin\n\n[stopped: still running after 1 s]\n"
    assert answer["error"] == "stopped: still running after 1 s"
    assert answer["exitcode"] is None


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"rights": 8}, "Access denied"),
        ({"rights": None}, "Access denied"),
        ({"rights": "4294967295"}, "Access denied"),
        ({"type": 2}, "Invalid command type"),
        ({"type": 4}, "Invalid command type"),
        ({"cmds": ""}, "there are no commands"),
        ({"cmds": ["ls"]}, "there are no commands"),
        ({"timeout": 0}, "the time limit must be 1 to 86400 seconds"),
        ({"runAsUser": 3}, "runAsUser must be 0, 1 or 2"),
        ({"runAsUser": 2}, "no user is logged in at this device"),
        ({"cmds": "x" * 200_000}, "the commands are longer than 120000 bytes"),
    ],
)
def test_what_cannot_run_is_refused_with_a_reason(run: Run, members: dict[str, Any], text: str) -> None:
    (answer,) = answers(run(commands("echo never", **members), {"wait": 100}))
    assert (answer["result"], answer["error"], answer["exitcode"]) == (text, text, None)


def test_the_right_to_run_commands_is_enough(run: Run) -> None:
    (answer,) = answers(run(commands("echo yes", rights=131072), {"wait": 300}))
    assert answer["result"] == "yes\n"


def test_without_reply_nothing_is_sent(run: Run) -> None:
    assert answers(run(commands("echo quiet", reply=False), {"wait": 300})) == []


def test_a_user_is_run_through_su(run: Run) -> None:
    users = "{ on: function () {}, consoleUid: function () { return 1; }, getUsername: function () { return 'zoe'; } }"
    child = "{ execFile: function (path, words) { emit({ path: path, words: words }); throw new Error('x'); } }"
    (started, *_) = run(
        commands("id", runAsUser=2), modules={"user-sessions": users, "child_process": child}, platform="linux"
    )
    wrapper = started["words"].index("-c")
    assert started["words"][wrapper + 1] == 'su -s /bin/sh "$2" -c "$1" </dev/null 2>&1; exit $?'
    assert started["words"][wrapper + 3 :] == ["id", "zoe"]


WINDOWS_FILES = (
    "{ writeFileSync: function (path, data) { emit({ file: path, text: data.toString() }); },"
    " unlinkSync: function (path) { emit({ removed: path }); } }"
)
WINDOWS_CHILD = (
    "{ SpawnTypes: { USER: 1 }, execFile: function (path, words, options) {"
    " emit({ path: path, words: words, type: options.type });"
    " return { pid: 1, stdout: { on: function () {} }, stderr: { on: function () {} },"
    " on: function (event, ended) { if (event === 'exit') { setTimeout(function () { ended(3); }, 10); } } }; } }"
)
WINDOWS = {
    "platform": "win32",
    "env": {"windir": "C:\\Windows", "ProgramData": "C:\\ProgramData"},
    "modules": {"fs": WINDOWS_FILES, "child_process": WINDOWS_CHILD},
}


@pytest.mark.parametrize(
    ("kind", "run_as", "folder", "suffix", "call"),
    [
        (0, 0, "C:\\Windows\\Temp\\", ".cmd", "call "),
        (1, 1, "C:\\ProgramData\\", ".cmd", "call "),
        (2, 0, "C:\\Windows\\Temp\\", ".ps1", "powershell.exe "),
    ],
)
def test_windows_runs_a_script_file_and_removes_it(
    run: Run, kind: int, run_as: int, folder: str, suffix: str, call: str
) -> None:
    sent = run(commands("echo 1\necho 2", type=kind, runAsUser=run_as), {"wait": 100}, **WINDOWS)
    written, started, removed, answer = sent
    assert written["file"].startswith(folder)
    assert written["file"].endswith(suffix)
    assert written["text"].endswith("echo 1\r\necho 2\r\n")
    assert started["path"] == "C:\\Windows\\system32\\cmd.exe"
    line = started["words"][-1]
    assert line.startswith(f"chcp 65001 >nul & {call}")
    assert line.endswith(f"{written['file']} <nul 2>&1")
    assert started.get("type") == (1 if run_as else None)
    assert removed == {"removed": written["file"]}
    assert answer["exitcode"] == 3


def test_windows_refuses_sh(run: Run) -> None:
    (answer,) = answers(run(commands("ls", type=3), **WINDOWS))
    assert answer["error"] == "Invalid command type"


def test_a_module_that_fails_does_not_stop_the_others(run: Run) -> None:
    sent = run({"connect": 1}, {"wait": 20}, {"command": {"action": "ping"}}, modules={"os": "null"})
    assert sent[-1] == {"action": "pong"}
    assert any(message.get("action") == "log" and "failed" in message["msg"] for message in sent)
