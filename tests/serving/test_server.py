"""The real thing: TorchServe on unix sockets, asked over HTTP."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from handlers.engine.choice import open_model
from handlers.generator import Request
from serving.client import request
from serving.tryout import decode_receipt
from tests.conftest import ROOT, Tiny
from tests.serving.conftest import HIDDEN, JSON, STOP_SECONDS, Server, eventually, launcher, running

pytestmark = pytest.mark.server


def ask(server: Server, requests: list[dict[str, Any]]) -> list[bytes]:
    """All requests at once, each on a connection of its own; their bodies in order."""
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(server.post, requests))
    assert [answer.status for answer in answers] == [200] * len(requests)
    return [answer.body for answer in answers]


def test_an_image_comes_back_marked_and_with_a_receipt(server: Server, tiny: Tiny) -> None:
    answer = server.post({"seed": 7, "format": "webp"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/webp"
    picture = Image.open(io.BytesIO(answer.body))
    assert picture.size == (16, 16)
    assert picture.getxmp()["xmpmeta"]["RDF"]["Description"]["DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    receipt = decode_receipt(answer.headers["x-atelier-receipt"])
    assert receipt["version"] == tiny.version
    assert receipt["params"]["seed"] == 7


@pytest.mark.parametrize("count", [1, 7, 32])
def test_the_same_seed_gives_the_same_bytes(server: Server, tiny: Tiny, count: int) -> None:
    alone = open_model(tiny.bundle).generator
    wanted = alone.generate([alone.parse(Request({"seed": 1234}))])[0].body  # in this process, in a batch of its own
    for _ in range(5):
        assert set(ask(server, [{"seed": 1234}] * count)) == {wanted}


def test_other_seeds_in_the_batch_change_nothing(server: Server) -> None:
    seeds = [1234, *range(15), 1234, *range(100, 114), 1234]
    wanted = {seed: server.post({"seed": seed}).body for seed in set(seeds)}
    for _ in range(5):
        mixed: list[dict[str, Any]] = [{"seed": seed} for seed in seeds]
        bodies = ask(server, [*mixed, {"seed": 3, "n": 16}, {"seed": 8, "truncation": 0.5}])
        assert bodies[: len(seeds)] == [wanted[seed] for seed in seeds]


def test_image_i_of_n_is_its_own_request(server: Server) -> None:
    data = json.loads(server.post({"seed": 50, "n": 16}).body)["data"]
    assert [entry["seed"] for entry in data] == list(range(50, 66))
    singles = ask(server, [{"seed": entry["seed"]} for entry in data])
    assert [base64.b64decode(entry["b64_json"]) for entry in data] == singles


def test_a_contact_sheet(server: Server) -> None:
    answer = server.post({"seed": 1, "n": 9, "grid": True, "format": "jpeg", "quality": 70})
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.body)).size == (3 * (160 + 2) + 2,) * 2


MULTIPART = b'--b\r\nContent-Disposition: form-data; name="seed"\r\n\r\n7\r\n--b--\r\n'
BAD: list[tuple[str, Any, dict[str, str] | None, str, int, str]] = [
    ("wrong type", {"seed": "7"}, None, "", 400, 'seed is "7", wanted an integer'),
    ("out of range", {"n": 17}, None, "", 400, "n is 17, wanted an integer from 1 to 16"),
    ("bool for int", {"seed": True}, None, "", 400, "seed is a boolean (true)"),
    ("unknown field", {"prompt": "x"}, None, "", 400, "known fields: seed, n, truncation, format, quality, grid"),
    ("header injection", {"a\r\nX-Evil: 1": 1}, None, "", 400, 'unknown field "a??X-Evil: 1"'),
    ("empty body", b"", None, "", 400, "the body is empty; send at least {}"),
    ("invalid JSON", b'{"seed": 7', None, "", 400, "the body is not valid JSON"),
    ("invalid UTF-8", b'{"\xff\xfe": 7}', None, "", 400, "the body is not valid JSON"),
    ("NaN seed", b'{"seed": NaN}', None, "", 400, "the body holds NaN"),
    ("huge seed", {"seed": 10**400}, None, "", 400, "wanted an integer from 0 to 9007199254740991"),
    (
        "form body",
        b"seed=7",
        {"Content-Type": "application/x-www-form-urlencoded"},
        "",
        415,
        "use: curl -H 'Content-Type",
    ),
    ("bad percent sign", b"a=%zz", {"Content-Type": "text/plain"}, "", 415, "use: curl -H 'Content-Type"),
    ("query string", b"", {}, "?seed=7", 415, "a form or a query string would lose them"),
    ("query string with JSON type", b"", None, "?seed=7", 400, "the body is empty; send at least {}"),
    (
        "multipart",
        MULTIPART,
        {"Content-Type": "multipart/form-data; boundary=b"},
        "",
        415,
        "use: curl",
    ),
    (
        "over the model's body limit",
        b" " * 70_000 + b"{}",
        None,
        "",
        413,
        "the body has 70002 bytes, tiny takes at most 65536",
    ),
]


@pytest.mark.parametrize(
    ("params", "headers", "query", "status", "text"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_bad_requests(
    server: Server, params: Any, headers: dict[str, str] | None, query: str, status: int, text: str
) -> None:
    workers = {p.pid for p in server.processes()}
    answer = server.post(params, headers=headers, query=query)
    body = json.loads(answer.body)
    assert (answer.status, body["code"]) == (status, status)
    assert text in body["message"]
    assert "x-evil" not in answer.headers
    assert server.post({"seed": 1}).status == 200
    assert {p.pid for p in server.processes()} == workers  # nobody died


def test_a_body_of_ten_megabytes_is_refused_by_the_front_end(server: Server) -> None:
    assert server.post(b'{"x": "' + b"a" * 10_000_000 + b'"}').status == 413
    assert server.post({"seed": 1}).status == 200


def test_a_wrong_model_name_is_a_404(server: Server) -> None:
    answer = server.post({}, model="nobody")
    assert answer.status == 404
    assert "Model not found: nobody" in json.loads(answer.body)["message"]


def test_an_answer_over_the_response_limit_fails_alone(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        big = [pool.submit(server.post, {"seed": 1, "n": 16}, "tight") for _ in range(4)]
        small = [pool.submit(server.post, {"seed": 1}, "tight") for _ in range(4)]
    assert [f.result().status for f in big] == [413] * 4
    assert [f.result().status for f in small] == [200] * 4
    assert "the limit is 3000" in json.loads(big[0].result().body)["message"]


def test_ping_and_describe_need_no_engine(server: Server) -> None:
    ping = server.post({}, headers={**JSON, "X-Atelier": "ping"})
    assert json.loads(ping.body) == {"status": "ok"}
    document = json.loads(server.post({}, headers={**JSON, "X-Atelier": "describe"}).body)
    assert document["name"] == "tiny"
    assert document["serving"]["reason"].startswith("chosen for ")
    managed = json.loads(request(server.management, "GET", "/models/tiny?customized=true").body)
    assert managed[0]["customizedMetadata"]


def test_ready_names_every_model(server: Server) -> None:
    assert server.await_ready()["models"] == {"text": "ready", "tight": "ready", "tiny": "ready"}


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("POST", "/models?url=https://none.invalid/x.mar", (405,)),
        ("POST", "/models?url=/tmp", (405,)),
        ("DELETE", "/models/tiny", (405,)),
        ("POST", "/workflows?url=x.war", (404,)),
        ("POST", "/workflows?url=file:///tmp/x.war", (400, 403, 404)),
    ],
)
def test_nothing_can_be_registered_or_removed(
    server: Server, method: str, path: str, statuses: tuple[int, ...]
) -> None:
    assert request(server.management, method, path).status in statuses
    assert request(server.inference, method, path).status >= 400
    assert server.post({"seed": 1}).status == 200


def ports(server: Server) -> list[int]:
    """The TCP ports on which its processes listen, in whatever network; on loopback alone."""
    found = [c.laddr for p in server.processes() for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {address.ip.removeprefix("::ffff:") for address in found} <= {"127.0.0.1"}
    return [address.port for address in found]


def test_the_state_says_which_process_is_torchserve(server: Server) -> None:
    assert json.loads((server.run_dir / "state.json").read_text())["torchserve_pid"] == server.jvm().pid


def test_no_tcp_port_is_left_to_anybody(server: Server) -> None:
    assert len(server.processes()) > 3
    assert ports(server) == []
    assert "warnings" not in server.ready()[1]
    socket_folder = Path(server.inference.removeprefix("unix:")).parent
    assert socket_folder.stat().st_mode & 0o077 == 0  # nobody else can reach the sockets


def test_engines_go_first_when_memory_runs_out(server: Server) -> None:
    def figure(process: psutil.Process) -> int:
        return int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())

    assert {figure(engine) for engine in server.engines()} == {min(1000, figure(server.jvm()) + 500)}
    assert {figure(process) for process in server.workers()} == {figure(server.jvm())}


def test_workers_import_no_torch(server: Server) -> None:
    assert len(server.workers()) == len(server.engines()) == 3
    for process in (*server.workers(), *server.engines()):
        assert not [m.path for m in process.memory_maps() if "libtorch" in m.path]
    for worker in server.workers():  # a proxy is thin
        assert not [m.path for m in worker.memory_maps() if "numpy" in m.path or "onnxruntime" in m.path]


def test_what_a_command_cannot_do_is_one_line_and_exit_code_1(server: Server, store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving", "try", "--run-dir", str(server.run_dir), "--out", str(tmp_path)]
    other, port = launcher(store, tmp_path / "b"), server.status.rpartition(":")[2]
    for arguments, message in (
        ([*command, "nobody"], "the server has no model 'nobody'; it serves text, tight, tiny"),
        ([*command, "tiny", "--params", '{"x": 1}'], "tiny answered 400: "),
        ([*command, "tiny", "--params", "{"], "--params is not valid JSON"),
        (
            [*other, "--status-port", port],
            f"port {port} cannot be used (Address already in use); choose another with --status-port, or 0",
        ),
        ([*other, "--gateway-settings", "x.toml"], "--gateway-settings is of no use without a gateway"),
    ):
        wrong = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
        assert wrong.returncode == 1
        assert message in wrong.stderr


def test_try_without_a_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving", "try", "tiny", "--run-dir", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "no server is running here; start one with `python -m serving up`" in answer.stderr


def gone(server: Server) -> bool:
    return not server.processes()


CYCLES = ["SIGINT", "SIGTERM", "SIGHUP", "down", *(pytest.param("SIGTERM", marks=pytest.mark.long) for _ in range(16))]


@pytest.mark.parametrize("how", CYCLES)
def test_a_cycle_leaves_nothing(store: Path, tmp_path: Path, how: str) -> None:
    """Start, ready, one answer, stop: by every way of stopping, and 20 times in the long tier."""
    with running(store, tmp_path / "run") as server:
        assert server.post({"seed": 1}).status == 200
        assert len(server.processes()) == 7  # the JVM, and three workers with their engines
        if how == "down":
            command = [sys.executable, "-m", "serving", "down", "--run-dir", str(server.run_dir)]
            assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout == b"stopped\n"
        else:
            server.process.send_signal(getattr(signal, how))
        assert server.process.wait(STOP_SECONDS) == 0
        assert gone(server)
        assert not list(server.temporary.iterdir()), "files are left in TMPDIR"
        assert not (server.run_dir / "state.json").exists()


STARTER = """
import sys, time
from pathlib import Path
from tests.support.server import running
with running(Path(sys.argv[1]), Path(sys.argv[2])) as server:
    print(server.process.pid, server.temporary, flush=True)
    time.sleep(3600)
"""


def test_a_server_goes_with_the_process_that_started_it(store: Path, tmp_path: Path) -> None:
    """As a test's does when the tests are killed: nobody is there to stop it."""
    command = [sys.executable, "-c", STARTER, str(store), str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid, temporary = starter.stdout.readline().split()
        launcher = psutil.Process(int(pid))
        whole = [launcher, *launcher.children(recursive=True)]
        assert len(whole) == 8  # the launcher, the JVM, and three workers with their engines
        starter.kill()
    try:
        assert psutil.wait_procs(whole, STOP_SECONDS)[1] == []
        assert not list(Path(temporary).iterdir()), "files are left in TMPDIR"
        assert (tmp_path / "run" / "launcher.log").read_text().endswith("stopped; nothing is left running\n")
    finally:
        for process in whole:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(temporary)


def test_a_stop_during_start_up_is_heeded(store: Path, tmp_path: Path) -> None:
    command = [*launcher(store, tmp_path), "--stop-at-eof"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        eventually((tmp_path / "state.json").exists, STOP_SECONDS, "no state was written")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0
    assert "ready after" not in output  # it did not go on loading and warming first
    assert output.endswith("stopped; nothing is left running\n")


def test_two_launchers_do_not_share_a_run_directory(server: Server, store: Path) -> None:
    second = subprocess.run(launcher(store, server.run_dir), cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"already running as process {server.process.pid}; stop it with" in second.stderr
    assert server.post({"seed": 1}).status == 200


def test_unchecked_things_in_the_store_are_not_loaded(server: Server, store: Path) -> None:
    assert {path.name for path in store.iterdir() if path.suffix != ".mar"} == {"evil", "x.model"}  # put there first
    listed = json.loads(request(server.management, "GET", "/models").body)["models"]
    assert {model["modelName"] for model in listed} == {"text", "tight", "tiny"}


def test_workers_see_no_secrets(server: Server) -> None:
    assert psutil.Process(server.process.pid).environ()["MY_API_KEY"] == HIDDEN
    for process in server.processes():
        assert not [key for key, value in process.environ().items() if HIDDEN in value]


def test_a_killed_launcher_takes_everything_with_it(store: Path, tmp_path: Path) -> None:
    with running(store, tmp_path / "run") as server:
        server.process.kill()
        server.process.wait()
        eventually(lambda: gone(server), STOP_SECONDS, "processes are left behind")
        left = list(server.temporary.iterdir())
        assert len(left) == 1  # nobody was there to clear up
        # The next launcher does, even if it fails.
        subprocess.run(launcher(tmp_path, server.run_dir), cwd=ROOT, capture_output=True, check=False)
        assert not left[0].exists()
