from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral_protocol.errors import ProtocolError, SettingsError
from meshcentral_protocol.identifiers import encode_base64
from meshcentral_protocol.msh import AgentSettings, parse_lines

RAW = bytes(range(48))
GROUP = f"mesh//{encode_base64(RAW)}"
SERVER = bytes(reversed(range(48)))
URL = "wss://mesh.example.com:443/agent.ashx"
BASE = (
    "\r\nMeshName=Lab\r\nMeshType=2\r\n"
    f"MeshID=0x{RAW.hex().upper()}\r\nServerID={SERVER.hex().upper()}\r\nMeshServer={URL}\r\n"
)


def test_the_five_needed_lines():
    assert AgentSettings("Lab", GROUP, SERVER, URL).to_text() == BASE


def test_the_order_of_all_lines():
    settings = AgentSettings(
        "Lab",
        GROUP,
        SERVER,
        URL,
        discovery_key="secret",
        tag="desk",
        install_flags=2,
        ignore_proxy_file=True,
        extra={"controlChannelDebug": "1", "disableUpdate": "1"},
        branding={"translation": "{}", "displayName": "Helper"},
    )
    assert settings.to_text() == BASE + (
        "DiscoveryKey=secret\r\nTag=desk\r\nInstallFlags=2\r\nignoreProxyFile=1\r\n"
        "controlChannelDebug=1\r\ndisableUpdate=1\r\ndisplayName=Helper\r\ntranslation={}\r\n"
    )
    assert AgentSettings.from_text(settings.to_text()) == settings


lines = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1).map(str.strip)
one_line = lines.filter(bool)


@given(name=one_line, tag=st.none() | one_line, flags=st.integers(0, 3), domain=st.sampled_from(["", "tenant"]))
def test_settings_round_trip(name, tag, flags, domain):
    group = f"mesh/{domain}/{encode_base64(RAW)}"
    settings = AgentSettings(name, group, SERVER, URL, tag=tag, install_flags=flags)
    assert AgentSettings.from_text(settings.to_text(), domain) == settings


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize("field", ["group_name", "server_url", "tag", "discovery_key"])
def test_no_value_can_add_a_line(field, end):
    values = {"group_name": "Lab", "group_id": GROUP, "server_id": SERVER, "server_url": URL}
    values[field] = f"x{end}MeshServer=wss://evil.example/"
    with pytest.raises(SettingsError, match="one line"):
        AgentSettings(**values).to_text()


@pytest.mark.parametrize(
    "options",
    [
        {"extra": {"CoreModule": "x"}},
        {"extra": {"a=b": "x"}},
        {"extra": {"#a": "x"}},
        {"extra": {"": "x"}},
        {"extra": {"a\nb": "x"}},
        {"extra": {"MeshID": "x"}},
        {"branding": {"other": "x"}},
        {"branding": {"image": "a\nb"}},
        {"server_id": b"short"},
        {"group_id": "mesh//short"},
    ],
    ids=repr,
)
def test_what_cannot_be_written(options):
    values = {"group_name": "Lab", "group_id": GROUP, "server_id": SERVER, "server_url": URL, **options}
    with pytest.raises(ProtocolError):
        AgentSettings(**values).to_text()


def test_lines_are_read_as_the_agent_reads_them():
    text = "\n# comment\n a = b=c \nempty=\nno equals sign\ntwice=1\r\ntwice=2\ngone=1\ngone=\n=x\n"
    assert parse_lines(text) == {"a": "b=c", "twice": "2"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        BASE.replace("MeshID", "Mesh"),
        BASE.replace("0x", ""),
        BASE.replace("ServerID=", "ServerID=zz"),
        BASE.replace("ServerID=", "ServerID=00"),
        BASE.replace("MeshType=2", "MeshType=two"),
        BASE.replace("MeshType=2", "MeshType=²"),
        BASE + "CoreModule=x\r\n",
        "x" * (1024 * 1024 + 1),
    ],
    ids=range(9),
)
def test_files_that_are_no_settings(text):
    with pytest.raises(ProtocolError):
        AgentSettings.from_text(text)


@given(st.text())
def test_any_text(text):
    for candidate in (text, BASE + text):
        try:
            AgentSettings.from_text(candidate)
        except ProtocolError:
            pass


def test_old_server_ids_have_32_bytes():
    settings = AgentSettings("Lab", GROUP, bytes(range(32)), "local")
    assert AgentSettings.from_text(settings.to_text()) == settings
