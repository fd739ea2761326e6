"""The rendered config.properties: private, complete, a reason for every line."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from serving import config


def test_every_setting_has_a_reason_on_a_line_of_its_own() -> None:
    lines = config.FIXED.read_text().splitlines()
    settings = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    assert len(settings) > 15
    for i in settings:
        key, _, value = lines[i].partition("=")
        assert " #" not in value, f"{key}: a trailing comment would be part of the value"
        above = i - 1
        while above >= 0 and lines[above] and not lines[above].startswith("#"):
            above -= 1  # settings that share a reason stand together
        assert lines[above].startswith("# "), f"{key} has no reason above it"


def test_the_hardening_is_there() -> None:
    settings = config.properties()
    assert settings["enable_model_api"] == "false"
    assert settings["install_py_dep_per_model"] == "false"
    assert settings["enable_envvars_config"] == "false"
    assert settings["allowed_urls"] == "https://none[.]invalid/.*"
    assert settings["grpc_inference_address"] == settings["grpc_management_address"] == "127.0.0.1"
    assert "-Xmx256m" in settings["vmargs"]


def test_a_run_listens_on_unix_sockets(tmp_path: Path) -> None:
    where = config.addresses(tmp_path)
    models = [Path("a"), Path("x/b")]
    text = config.render(where, tmp_path / "store", models, tmp_path / "workflows")
    (tmp_path / "rendered").write_text(text)
    settings = config.properties(tmp_path / "rendered")
    assert settings["inference_address"] == f"unix:{tmp_path}/starting.sock"  # nobody is let in before it is ready
    assert where.inference == f"unix:{tmp_path}/inference.sock"
    assert settings["management_address"] == f"unix:{tmp_path}/management.sock"
    assert settings["model_store"] == str(tmp_path / "store")
    assert settings["load_models"] == "a,b"  # checked models by name, never "all"
    assert settings["max_request_size"] == "131072"  # room above for the handler to say how much it takes
    assert settings["metrics_address"] == f"unix:{tmp_path}/metrics.sock"
    assert settings["grpc_inference_port"] != settings["grpc_management_port"]


def test_a_socket_path_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has \d+ bytes, the kernel takes 107: set TMPDIR to a shorter directory"):
        config.addresses(tmp_path / ("x" * 100))


def test_a_taken_port_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(config.PortTaken, match=rf"port {port} cannot be used .*; choose another with --x, or 0"):
            config.check_port(port, "--x")
    config.check_port(port, "--x")
    with pytest.raises(config.PortTaken, match="port 70000 cannot be used"):
        config.check_port(70000, "--x")


def test_free_ports_are_different() -> None:
    assert len(set(config.free_ports(20))) == 20


def test_a_path_of_any_characters_is_read_by_java_as_it_is(tmp_path: Path) -> None:
    """A properties file is Latin-1 with escapes: UTF-8 would be other letters, a line break another setting."""
    store = tmp_path / "jürgen 名 𝄞 100%#'=:\\!\nload_models=all"
    where = config.addresses(tmp_path)
    text = config.render(where, store, [store / "a"], tmp_path / "workflows")
    assert text.isascii()
    (line,) = (line for line in text.splitlines() if line.startswith("model_store="))
    value = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), line.removeprefix("model_store="))
    assert value.encode("utf-16", "surrogatepass").decode("utf-16") == str(store)
    assert text.count("load_models=a\n") == 1 and "load_models=all" not in text.splitlines()
