"""Uploads and large bodies through real servers: by reference, from the gateway's spool to the engine."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.__main__ import main
from serving.client import request
from serving.tryout import decode_receipt
from tests.conftest import Tiny
from tests.serving.conftest import JSON, Server, running
from tests.support.image_bundles import image_archive, with_image_to_image
from tests.support.image_to_image import SLOW, changed
from tests.support.pictures import decoded, encoded, gradient, png_bomb
from tests.support.sabotage import renamed
from training.data import reports

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not there: the launcher makes it."""
    return tmp_path_factory.mktemp("spools") / "spool"


@pytest.fixture(scope="module")
def server(tiny: Tiny, tiny_summary: Tiny, spool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`change`, which changes pictures, and `summary`, with the gateway before them."""
    home = with_image_to_image(tmp_path_factory.mktemp("home"))
    store = tmp_path_factory.mktemp("store")
    image_archive(tiny.bundle, "change", store, home)
    renamed(tiny_summary.bundle, "summary", store, home=home)
    options = ("--handlers", str(home), "--spool", str(spool), "--gateway")
    run = tmp_path_factory.mktemp("run")
    settings = {"ATELIER_GATEWAY_PORT": "0", "ATELIER_GATEWAY_DATABASE": f"sqlite:///{run}/gateway.db"}
    with running(store, run, *options, environment=settings) as started:
        yield started


def put(spool: Path, data: bytes) -> dict[str, Any]:
    """A file of the spool, as the gateway writes it; returns its reference."""
    digest = hashlib.sha256(data).hexdigest()
    path = spool / f"{'0' * 16}.{digest[:32]}"
    path.touch(mode=0o600)
    path.write_bytes(data)
    return {"spooled": {"name": path.name, "sha256": digest, "bytes": len(data)}}


def test_the_launcher_made_a_private_folder_and_says_where(server: Server, spool: Path) -> None:
    assert spool.stat().st_mode & 0o777 == 0o700
    state = json.loads((server.run_dir / "state.json").read_text())
    assert state["spool"] == str(spool)


def test_a_picture_is_changed_and_the_receipt_names_its_digest(server: Server, spool: Path) -> None:
    pixels = gradient(80, 60)
    data = encoded(pixels)
    answer = server.post({"image": put(spool, data), "seed": 7}, "change")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png"), answer.body
    assert np.array_equal(decoded(answer.body), changed(pixels, 7))
    params = decode_receipt(answer.headers["x-atelier-receipt"])["params"]
    assert params == {"image": {"sha256": hashlib.sha256(data).hexdigest()}, "seed": 7, "format": "png"}


def test_a_picture_comes_out_the_same_in_any_company(server: Server, spool: Path) -> None:
    """Of 24 requests at once, which are computed in groups of whatever came, each gives its own bytes."""
    sizes = [(60 + 3 * i, 90 - 2 * i) for i in range(8)]
    references = [
        put(spool, encoded(gradient(*size), "PNG" if i % 2 else "WEBP", lossless=True)) for i, size in enumerate(sizes)
    ]
    asked = [{"image": references[i % 8], "seed": 1000 + i} for i in range(24)]
    alone = [server.post(params, "change").body for params in asked]
    assert len(set(alone)) == 24
    with ThreadPoolExecutor(25) as pool:
        slow = pool.submit(server.post, {"image": references[0], "seed": SLOW}, "change")
        together = list(pool.map(lambda params: server.post(params, "change").body, asked))
        assert slow.result().status == 200
    assert together == alone


def test_what_is_wrong_with_one_upload_costs_nobody_else(server: Server, spool: Path) -> None:
    good = put(spool, encoded(gradient()))
    bomb = put(spool, png_bomb(3000, 3000))
    with ThreadPoolExecutor(12) as pool:
        beside = [pool.submit(server.post, {"image": good, "seed": seed}, "change") for seed in range(8)]
        refused = [
            server.post({"image": bomb}, "change"),
            server.post({"image": {"spooled": {**good["spooled"], "sha256": "0" * 64}}}, "change"),
            server.post({"image": {"spooled": {**good["spooled"], "name": "../passwd"}}}, "change"),
            server.post({"image": put(spool, b"\x89PNG\r\n\x1a\n")}, "change"),
        ]
        assert [future.result().status for future in beside] == [200] * 8
    assert [answer.status for answer in refused] == [413, 400, 400, 400]
    documents = [json.loads(answer.body) for answer in refused]
    assert [document["field"] for document in documents] == ["image"] * 4
    assert "3000 x 3000 = 9000000 pixels, at most 10000" in documents[0]["message"]


def test_the_describe_document_tells_type_and_limits(server: Server) -> None:
    answer = server.post({}, "change", {**JSON, "X-Atelier": "describe"})
    document = json.loads(answer.body)
    (spec,) = [spec for spec in document["params"] if spec["name"] == "image"]
    assert spec["type"] == "image"
    assert (document["limits"]["max_pixels"], document["limits"]["max_upload_bytes"]) == (10_000, 1 << 20)


def test_a_body_of_300_kib_is_read_from_the_spool_and_not_by_the_front_end(server: Server, spool: Path) -> None:
    """A long source is cut (`truncate`), so its answer is that of its beginning."""
    text = reports.report(3, 1).source[0]
    long = {"text": text + " x" * 160_000, "seed": 3, "truncate": True}
    body = json.dumps(long).encode()
    assert len(body) > 300 * 1024
    assert server.post(body, "summary").status == 413  # larger than the front end takes of anything
    found = server.post(put(spool, body), "summary")
    assert found.status == 200, found.body
    short = server.post({**long, "text": (text + " x" * 160_000)[:40_000]}, "summary")
    assert json.loads(found.body)["choices"] == json.loads(short.body)["choices"]
    over = server.post(put(spool, json.dumps({"text": "x" * (600 << 10)}).encode()), "summary")
    assert (over.status, json.loads(over.body)["message"].partition(",")[0]) == (413, "the body has 614412 bytes")
    bad = server.post(put(spool, b'{"text": "a", "text": "b"}'), "summary")
    assert (bad.status, json.loads(bad.body)["message"]) == (400, "the body names a field twice; name each once")


def test_an_engine_that_is_replaced_reads_the_upload_again(server: Server, spool: Path) -> None:
    """What waits in the proxy is a reference: nothing is lost with the engine that had not begun it."""
    reference = put(spool, encoded(gradient(33, 44)))
    wanted = server.post({"image": reference, "seed": 5}, "change").body
    server.engine_of("change").kill()
    assert server.post({"image": reference, "seed": 5}, "change", timeout=60).body == wanted


def test_a_server_whose_spool_others_can_enter_does_not_start(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(tiny.archive, tmp_path)
    (tmp_path / "open").mkdir(mode=0o755)
    options = ["--model-store", str(tmp_path), "--run-dir", str(tmp_path / "run"), "--spool", str(tmp_path / "open")]
    assert main(["up", *options]) == 1
    assert "nobody else can enter: `chmod 700` it, or name another with --spool" in capfd.readouterr().err


def test_a_picture_of_a_camera_is_turned_as_it_says(server: Server, spool: Path) -> None:
    pixels = gradient(40, 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees when it is shown
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    answer = server.post({"image": put(spool, buffer.getvalue()), "seed": 0}, "change")
    assert np.array_equal(decoded(answer.body), changed(np.rot90(pixels, -1), 0))


def form(data: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    """A form with an image, as clients write it: body and headers."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    head = (
        '--b\r\nContent-Disposition: form-data; name="image"; filename="../../x.gif"\r\nContent-Type: image/gif\r\n\r\n'
    )
    body = "".join(parts).encode() + head.encode() + data + b"\r\n--b--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=b", "Accept": "image/png"}


def left(spool: Path) -> list[str]:
    """Names of the files that the gateway wrote; those of `put` have no run of its."""
    return [path.name for path in spool.iterdir() if path.is_file() and not path.name.startswith("0" * 16)]


def test_an_upload_goes_from_a_form_to_the_engine_and_is_gone_afterwards(server: Server, spool: Path) -> None:
    assert server.gateway is not None
    pixels = gradient(90, 50)
    data = encoded(pixels, "WEBP", lossless=True)
    body, headers = form(data, model="change", prompt="", seed="11")
    answer = request(server.gateway, "POST", "/v1/images/edits", body, headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png"), answer.body
    assert np.array_equal(decoded(answer.body), changed(pixels, 11))
    assert [name.rpartition(".")[2] for name in left(spool)] == ["lock"]
    bomb, headers = form(png_bomb(3000, 3000), model="change", prompt="")
    refused = request(server.gateway, "POST", "/v1/images/edits", bomb, headers)
    assert (refused.status, json.loads(refused.body)["error"]["param"]) == (413, "image")
    assert [name.rpartition(".")[2] for name in left(spool)] == ["lock"]


def test_a_long_text_goes_through_the_gateway_and_is_gone_afterwards(server: Server, spool: Path) -> None:
    assert server.gateway is not None
    params = {"text": reports.report(3, 1).source[0] + " x" * 160_000, "seed": 3, "truncate": True}
    body = json.dumps(params).encode()
    answer = request(server.gateway, "POST", "/api/generate/summary", body, JSON)
    assert answer.status == 200, answer.body
    direct = server.post(put(spool, body), "summary")
    assert json.loads(answer.body)["choices"] == json.loads(direct.body)["choices"]
    assert [name.rpartition(".")[2] for name in left(spool)] == ["lock"]


def test_no_caller_of_the_gateway_names_a_file_of_the_spool(server: Server, spool: Path) -> None:
    """A reference is the gateway's word: those who know a name and its digest get nothing by it, either."""
    assert server.gateway is not None
    reference = put(spool, encoded(gradient()))
    for path, document in (
        ("/api/generate/change", {"image": reference}),
        ("/api/generate/change", reference),
        ("/api/generate/summary", reference),
        ("/v1/images/generations", {"model": "change", "prompt": "", "image": reference}),
    ):
        answer = request(server.gateway, "POST", path, json.dumps(document).encode(), JSON)
        assert answer.status == 400, (path, answer.body)
