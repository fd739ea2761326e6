"""Images that are sent through the gateway, and changed by a real engine."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import openai
import pytest

from gateway.settings import Settings
from tests.conftest import Tiny
from tests.gateway.conftest import Gateway
from tests.gateway.conftest import running as gateway_running
from tests.gateway.media import official, receipt
from tests.serving.conftest import eventually, running
from tests.support.image_bundles import image_archive, with_image_to_image
from tests.support.image_to_image import changed
from tests.support.pictures import decoded, encoded, gradient

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def gateway(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Before `change`, a model that inverts a picture and draws the seed into it."""
    folder, store = tmp_path_factory.mktemp("edits"), tmp_path_factory.mktemp("store")
    home = with_image_to_image(folder / "home")
    image_archive(tiny.bundle, "change", store, home)
    spool = folder / "spool"
    with running(store, folder / "run", "--handlers", str(home), "--spool", str(spool)) as server:
        settings = Settings(
            port=0,
            run_dir=server.run_dir,
            spool=spool,
            database=f"sqlite:///{folder}/gateway.db",
            log_level="error",
        )
        with gateway_running(settings) as found:
            yield found


def test_an_upload_is_changed_and_nothing_of_it_stays(gateway: Gateway) -> None:
    pixels = gradient(80, 60)
    upload = io.BytesIO(encoded(pixels))
    upload.name = "upload.png"
    with official(gateway.url) as client:
        found = client.images.edit(model="change", image=upload, prompt="", extra_body={"seed": 7})
    assert found.data is not None
    assert np.array_equal(decoded(base64.b64decode(found.data[0].b64_json or "")), changed(pixels, 7))
    assert found.size in ("80x60", "60x80")
    inline = {"image": {"b64_json": base64.b64encode(encoded(pixels)).decode()}, "seed": 7}
    job = gateway.post("/api/jobs/change", inline).json
    assert '"status": "done"' in gateway.get(f"/api/jobs/{job['id']}/events").body.decode().split("\n\n")[-2]
    result = gateway.get(f"/api/jobs/{job['id']}/result")
    assert np.array_equal(decoded(result.body), changed(pixels, 7))
    assert set(receipt(result)["params"]["image"]) == {"sha256"}
    eventually(lambda: gateway.state.spool.files == 0, 20, "an upload is still there")


def test_the_example_of_the_model_works_as_it_is(gateway: Gateway) -> None:
    example = gateway.get("/api/models/change").json["example"]
    assert gateway.post("/api/generate/change", example).status == 200


def test_what_is_no_picture_to_the_engine_is_its_refusal(gateway: Gateway) -> None:
    cut = io.BytesIO(encoded(gradient(80, 60))[:-40])
    cut.name = "upload.png"
    with official(gateway.url) as client, pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(model="change", image=cut, prompt="")
    body: object = refused.value.body
    assert isinstance(body, dict)
    assert body["param"] == "image"
