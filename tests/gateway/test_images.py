"""Images as OpenAI's clients ask for them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from gateway.v1.images import INLINE
from gateway.v1.raw import IMAGES, wanted
from handlers.params import ParamSpec
from tests.gateway.conftest import eventually
from tests.gateway.media import ALIASES, Media, answering, error, media, picture, receipt
from tests.gateway.raw import connected, request
from tests.support.fake_documents import IMAGE_TYPES, document
from tests.support.fake_documents import IMAGES as IMAGE_PARAMS
from tests.support.fake_replies import image as drawn_image

PATH = "/v1/images/generations"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    with media(tmp_path_factory.mktemp("images"), aliases=ALIASES, ignore_fields=("backend",)) as made:
        yield made


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_the_official_client_gets_an_image_that_opens_with_its_seed_and_usage(served: Media) -> None:
    found = served.client.images.generate(model="drawn", prompt="", extra_body={"seed": 513})
    data = base64.b64decode(found.data[0].b64_json or "")  # type: ignore[index]
    assert opened(data).getpixel((0, 0)) == (1, 2, 90)
    assert found.data[0].seed == 513  # type: ignore[index,union-attr]
    assert (found.size, found.output_format, found.background) == ("64x64", "png", "opaque")
    assert found.usage is not None
    assert (found.usage.output_tokens, found.usage.total_tokens) == (1, 1)
    assert abs(found.created - time.time()) < 3600
    assert served.asked == {"seed": 513}


def test_several_images_each_have_their_seed(served: Media) -> None:
    found = served.client.images.generate(model="drawn", prompt="", n=3, extra_body={"seed": 40})
    assert [item.seed for item in found.data or []] == [40, 41, 42]  # type: ignore[attr-defined]
    colours = [opened(base64.b64decode(item.b64_json or "")).getpixel((0, 0)) for item in found.data or []]
    assert colours == [(40, 0, 90), (41, 0, 90), (42, 0, 90)]
    assert found.usage is not None
    assert found.usage.output_tokens == 3


def test_the_receipt_is_handed_on_and_an_alias_names_a_model(served: Media) -> None:
    reply = served.gateway.post(PATH, {"model": "gpt-image-1", "prompt": "", "seed": 5})
    assert receipt(reply) == {"model": "drawn", "version": "fd3a063f3f36", "params": {"seed": 5}}


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_output_format_is_honoured(served: Media, kind: Any, magic: bytes) -> None:
    found = served.client.images.generate(model="drawn", prompt="", output_format=kind)
    assert base64.b64decode((found.data or [])[0].b64_json or "").startswith(magic)
    assert found.output_format == kind


def test_compression_is_quality_of_formats_that_lose_something(served: Media) -> None:
    served.client.images.generate(model="drawn", prompt="", output_format="webp", output_compression=40)
    assert served.asked == {"format": "webp", "quality": 40}
    served.client.images.generate(model="drawn", prompt="", output_compression=100)
    assert served.asked == {}
    refused = served.gateway.post(PATH, {"model": "drawn", "prompt": "", "output_compression": 40})
    status, param, message = error(refused)
    assert (status, param) == (400, "output_compression")
    assert "png loses nothing" in message
    refused = served.gateway.post(
        PATH, {"model": "drawn", "prompt": "", "output_format": "webp", "output_compression": 0}
    )
    assert error(refused)[:2] == (400, "output_compression")
    assert "from 1 to 100" in error(refused)[2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quality", "auto"),
        ("quality", "standard"),
        ("background", "auto"),
        ("background", "opaque"),
        ("moderation", "auto"),
        ("size", "auto"),
        ("size", "64x64"),
        ("style", None),
        ("seed", None),
        ("partial_images", 3),
        ("n", 1),
        ("n", 1.0),
        ("backend", "anything: the operator overlooks it"),
        ("user", "somebody"),
    ],
)
def test_neutral_values_are_taken(served: Media, field: str, value: Any) -> None:
    served.gateway.post(PATH, {"model": "drawn", "prompt": ""})  # from now on its size is known
    assert served.gateway.post(PATH, {"model": "drawn", "prompt": "", field: value}).status == 200
    assert served.asked == {}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("quality", "hd", "takes 'auto' or 'standard' alone"),
        ("quality", 80, "takes 'auto' or 'standard' alone"),
        ("background", "transparent", "takes 'auto' or 'opaque' alone"),
        ("moderation", "low", "takes 'auto' alone"),
        ("style", "vivid", "leave it out"),
        ("complexity", "low", "leave it out"),
        ("frame_count", 4, "leave it out"),
        ("frame_duration_ms", 40, "leave it out"),
        ("svg", {}, "leave it out"),
        ("n", 0, "from 1 to 16"),
        ("n", 17, "from 1 to 16"),
        ("n", True, "from 1 to 16"),
        ("n", "2", "from 1 to 16"),
        ("size", "512x512", 'makes 64x64: send that or "auto"'),
        ("size", "large", "WIDTHxHEIGHT"),
        ("size", 64, "wanted a string"),
        ("response_format", "file", "b64_json, url"),
        ("output_format", "svg", "png, jpeg, webp"),
        ("output_format", "gif", "png, jpeg, webp"),
        ("stream", "yes", "true or false"),
        ("partial_images", 4, "from 0 to 3"),
        ("prompt", "a cat", "reads no prompt"),
        ("prompt", 7, "wanted a string"),
        ("prompt", "x" * 32_001, "at most 32000"),
        ("seed", -1, "seed"),
        ("seed", "", "seed"),
        ("steps", 20, "known are model, n, size"),
        ("image", {"spooled": {"name": "x", "sha256": "y", "bytes": 1}}, "known are model"),
        ("spooled", {"name": "x", "sha256": "y", "bytes": 1}, "known are model"),
    ],
)
def test_every_other_value_is_a_400_that_names_the_field(served: Media, field: str, value: Any, told: str) -> None:
    served.gateway.post(PATH, {"model": "drawn", "prompt": ""})
    status, param, message = error(served.gateway.post(PATH, {"model": "drawn", "prompt": "", field: value}))
    assert (status, param) == (400, field)
    assert told in message


def test_what_the_operator_has_overlooked_has_no_effect(tmp_path: Path) -> None:
    """Applications that describe every image, and send a style with it, can use a model that draws by itself."""
    with media(tmp_path, ignore_fields=("prompt", "style", "quality")) as served:
        body = {"model": "drawn", "prompt": "a cat", "style": "vivid", "quality": "hd", "seed": 3}
        assert served.gateway.post(PATH, body).status == 200
        assert served.asked == {"seed": 3}
        assert error(served.gateway.post(PATH, {**body, "background": "transparent"}))[1] == "background"


def test_a_size_is_refused_before_anything_was_drawn_as_well_as_after(tmp_path: Path) -> None:
    with media(tmp_path) as served:
        for _ in range(2):
            status, param, message = error(
                served.gateway.post(PATH, {"model": "drawn", "prompt": "", "size": "1024x1024"})
            )
            assert (status, param) == (400, "size")
            assert message == 'size is 1024x1024; model drawn makes 64x64: send that or "auto"'
        assert len(served.fake.asked) == 1  # the second was known to be in vain


def test_models_that_read_a_prompt_are_given_it_and_named_to_who_asks_another(tmp_path: Path) -> None:
    prompt = ParamSpec("prompt", "string", "what is drawn")
    painted = document("painted", "text_to_image", (prompt, *IMAGE_PARAMS), IMAGE_TYPES, {"prompt": "a"})
    with media(tmp_path, painted) as served:
        served.client.images.generate(model="painted", prompt="a cat")
        assert served.asked == {"prompt": "a cat"}
        assert "prompt is missing" in error(served.gateway.post(PATH, {"model": "painted"}))[2]
        _, param, message = error(served.gateway.post(PATH, {"model": "drawn", "prompt": "a cat"}))
        assert param == "prompt"
        assert message.endswith("(models that read one: painted)")


def test_models_of_other_media_and_unknown_ones_are_refused(served: Media) -> None:
    status, param, message = error(served.gateway.post(PATH, {"model": "digits", "prompt": ""}))
    assert (status, param) == (400, "model")
    assert "makes audio, not images" in message
    with pytest.raises(openai.NotFoundError, match="there is altered, chat, digits, drawn, gpt-image-1"):
        served.client.images.generate(model="dall-e-3", prompt="")
    status, param, message = error(served.gateway.post(PATH, {"prompt": ""}))
    assert (status, param) == (400, "model")
    assert "missing" in message
    assert error(served.gateway.post(PATH, {"model": "altered", "prompt": ""}))[1] == "image"


def test_a_stream_completes_for_every_image(served: Media) -> None:
    events = list(served.client.images.generate(model="drawn", prompt="", n=2, stream=True, partial_images=2, user="u"))
    assert [event.type for event in events] == ["image_generation.completed"] * 2
    for event in events:
        assert opened(base64.b64decode(event.b64_json)).size == (64, 64)
        assert event.usage.total_tokens == 1  # type: ignore[union-attr]
        assert (event.size, event.quality, event.output_format) == ("64x64", "auto", "png")
        assert event.safety_identifier == "u"  # type: ignore[union-attr]
    reply = served.gateway.post(PATH, {"model": "drawn", "prompt": "", "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.body.startswith(b"event: image_generation.completed\ndata: {")


def test_a_stream_that_is_refused_is_an_ordinary_error(served: Media) -> None:
    with pytest.raises(openai.BadRequestError, match="seed"):
        served.client.images.generate(model="drawn", prompt="", stream=True, extra_body={"seed": -1})


def test_the_identifier_is_echoed_and_goes_before_the_user(served: Media) -> None:
    found = served.client.images.generate(model="drawn", prompt="", user="u", safety_identifier="s")
    assert found.safety_identifier == "s"
    assert served.client.images.generate(model="drawn", prompt="", user="u").safety_identifier == "u"
    assert served.asked == {}


def test_links_are_fetched_without_a_key_under_names_that_nobody_guesses(served: Media) -> None:
    found = served.client.images.generate(model="drawn", prompt="", n=2, response_format="url", extra_body={"seed": 3})
    urls = [item.url or "" for item in found.data or []]
    assert [item.b64_json for item in found.data or []] == [None, None]
    assert len(set(urls)) == 2
    for number, url in enumerate(urls):
        assert url.startswith(f"{served.gateway.url}/v1/results/")
        reply = served.gateway.get(url.removeprefix(served.gateway.url))
        assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
        assert reply.headers["cross-origin-resource-policy"] == "cross-origin"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert opened(reply.body).getpixel((0, 0)) == (3 + number, 0, 90)
        assert receipt(reply)["model"] == "drawn"
        assert len(url.rpartition("/")[2].partition(".")[0]) == 32  # 24 bytes of randomness
    for wrong in ("x" * 32 + ".png", urls[0].rpartition("/")[2].replace(".png", ".webp"), "..%2f..%2fetc%2fpasswd"):
        status, _, message = error(served.gateway.get(f"/v1/results/{wrong}"))
        assert status == 404
        assert "there is no" in message or "nothing at this path" in message


def test_large_images_come_whole_by_every_way(tmp_path: Path) -> None:
    """They are worked on in threads, so that nobody else waits for them."""
    out = io.BytesIO()
    Image.frombytes("RGB", (512, 512), random.Random(7).randbytes(512 * 512 * 3)).save(out, "png")
    data = out.getvalue()
    assert len(data) > INLINE
    with media(tmp_path) as served:
        served.fake.models["drawn"].reply = answering([data], "image/png", seed=7)
        known = served.client.images.generate(model="drawn", prompt="", size="512x512")
        assert base64.b64decode((known.data or [])[0].b64_json or "") == data
        link = served.client.images.generate(model="drawn", prompt="", response_format="url")
        assert served.gateway.get(((link.data or [])[0].url or "").removeprefix(served.gateway.url)).body == data
        (event,) = served.client.images.generate(model="drawn", prompt="", stream=True)
        assert base64.b64decode(event.b64_json) == data
        raw = served.gateway.post(PATH, {"model": "drawn", "prompt": ""}, headers={"Accept": "image/png"})
        assert raw.body == data


def test_links_begin_with_the_public_address_where_one_is_set(tmp_path: Path) -> None:
    with media(tmp_path, public_url="https://images.example/atelier/") as served:
        found = served.client.images.generate(model="drawn", prompt="", response_format="url")
        assert (found.data or [])[0].url.startswith("https://images.example/atelier/v1/results/")  # type: ignore[union-attr]


def test_results_are_gone_after_their_time(tmp_path: Path) -> None:
    with media(tmp_path, results_seconds=0.2) as served:
        found = served.client.images.generate(model="drawn", prompt="", response_format="url")
        path = ((found.data or [])[0].url or "").removeprefix(served.gateway.url)
        eventually(lambda: served.gateway.get(path).status == 404, 20, "the result is still there")
        folder = tmp_path / "spool" / "results"
        eventually(lambda: {file.suffix for file in folder.iterdir()} == {".lock"}, 20, "its file is still there")


@pytest.mark.parametrize(("accept", "kind"), [("image/png", "png"), ("image/webp", "webp"), ("image/*", "png")])
def test_the_bytes_of_one_image_by_accept(served: Media, accept: str, kind: str) -> None:
    reply = served.gateway.post(PATH, {"model": "drawn", "prompt": "", "seed": 9}, headers={"Accept": accept})
    assert (reply.status, reply.headers["content-type"]) == (200, f"image/{kind}")
    assert opened(reply.body).format == kind.upper()
    assert receipt(reply)["params"]["seed"] == 9


def test_accept_and_several_images_contradict_each_other(served: Media) -> None:
    refused = served.gateway.post(PATH, {"model": "drawn", "prompt": "", "n": 2}, headers={"Accept": "image/png"})
    assert error(refused)[:2] == (400, "n")
    assert "send n = 1" in error(refused)[2]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, None),
        ("*/*", None),
        ("application/json", None),
        ("image/png, application/json", None),
        ("image/png;q=0.4, application/json;q=0.5", None),
        ("application/json;q=0.4, IMAGE/PNG;q=0.5", "png"),
        ("image/webp;q=0.9, image/png", "png"),
        ("image/png;q=0", None),
        ("image/png;q=many", None),
        ("image/gif, image/jpeg", "jpeg"),
    ],
)
def test_what_is_preferred_to_json(accept: str | None, kind: str | None) -> None:
    assert wanted(accept, IMAGES) == kind


def test_a_caller_who_leaves_ends_the_drawing(served: Media) -> None:
    served.fake.hold()
    try:
        with connected(served.gateway.port) as caller:
            caller.sendall(request("/v1/images/generations", {"model": "drawn", "prompt": ""}))
            eventually(lambda: served.fake.running == 1, 20, "the model was not asked")
        eventually(lambda: len(served.fake.cancelled) > 0, 20, "nobody told the model")
    finally:
        served.fake.release()


def test_an_answer_that_holds_no_images_is_a_502(tmp_path: Path) -> None:
    with media(tmp_path) as served:
        served.fake.models["drawn"].reply = answering([b'{"data": []}'], "application/json")
        reply = served.gateway.post(PATH, {"model": "drawn", "prompt": ""})
        assert error(reply) == (502, None, "the model answered with what holds no images")
        assert reply.headers["x-should-retry"] == "false"


def test_edits_send_the_image_by_reference_and_leave_nothing_behind(served: Media) -> None:
    seen: list[tuple[bytes, dict[str, Any]]] = []

    def reply(asked: Any) -> Any:
        reference = asked.params["image"]["spooled"]
        folder = served.gateway.settings.spool
        assert folder is not None
        seen.append(((folder / reference["name"]).read_bytes(), reference))
        return answering([drawn_image({"seed": 4})], "image/png", seed=4)(asked)

    model = served.fake.models["altered"]
    model.reply = reply
    try:
        upload = picture()
        found = served.client.images.edit(
            model="altered", image=upload, prompt="", n=1, output_format="webp", extra_body={"seed": 4}
        )
        data, reference = seen[-1]
        assert data == upload.getvalue()
        assert reference["bytes"] == len(data)
        assert served.asked == {"seed": 4, "format": "webp", "image": {"spooled": reference}}
        assert found.data is not None
        assert found.data[0].seed == 4  # type: ignore[attr-defined]
        events = list(served.client.images.edit(model="altered", image=[picture()], prompt="", stream=True))
        assert [event.type for event in events] == ["image_edit.completed"]
        with pytest.warns(DeprecationWarning, match="deprecated"):
            variation = served.client.images.create_variation(model="altered", image=picture(), size="auto")  # type: ignore[arg-type]
        assert variation.data is not None
        raw = served.client.with_raw_response.images.edit(
            model="altered", image=picture(), prompt="", extra_headers={"Accept": "image/png"}
        )
        assert opened(raw.content).size == (64, 64)
    finally:
        model.reply = None
    assert len(seen) == 4
    eventually(lambda: served.gateway.state.spool.files == 0, 20, "an upload is still there")


@pytest.mark.parametrize(
    ("options", "field", "told"),
    [
        ({"prompt": "make it blue"}, "prompt", "reads no prompt"),
        ({"mask": picture()}, "mask", "takes no mask"),
        ({"image": [picture(), picture()]}, "image", "2 images"),
        ({"n": 2}, "n", "from 1 to 1"),
        ({"input_fidelity": "high"}, "input_fidelity", "leave it out"),
        ({"quality": "high"}, "quality", "alone"),
        ({"model": "drawn"}, "model", "changes no images"),
        ({"size": "1024x1024"}, "size", "makes 64x64"),
        ({"extra_body": {"seed": "blue"}}, "seed", "wanted integer"),
        ({"image": ("x.png", b"<svg></svg> padded", "image/png")}, "image", "send a PNG, JPEG or WebP"),
        ({"image": picture(2000)}, "image", "at most 1048576"),
    ],
)
def test_edits_name_what_they_do_not_take(served: Media, options: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        served.client.images.edit(**{"model": "altered", "image": picture(), "prompt": "", **options})
    body: Any = refused.value.body
    assert body["param"] == field
    assert told in body["message"]
    assert served.gateway.state.spool.files == 0


def test_edits_are_forms(served: Media) -> None:
    status, _, message = error(served.gateway.post("/v1/images/edits", {"model": "altered"}))
    assert status == 415
    assert "multipart/form-data" in message


def test_a_day_of_images_is_counted_and_used_up(tmp_path: Path) -> None:
    with media(tmp_path, limits={"images_a_day": 3}) as served:
        served.client.images.generate(model="drawn", prompt="", n=2)
        served.fake.models["drawn"].reply = answering([drawn_image({})], "image/png", n=1)
        with pytest.raises(openai.RateLimitError) as refused:
            served.client.images.generate(model="drawn", prompt="", n=2)
        assert refused.value.code == "insufficient_quota"
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert served.client.images.generate(model="drawn", prompt="").data


def test_bodies_that_are_no_json_objects_are_refused(served: Media) -> None:
    json_type = {"Content-Type": "application/json"}
    for body, status, told in (
        (b"", 400, "empty"),
        (b"{", 400, "no JSON"),
        (b"[]", 400, "is a JSON list, wanted an object"),
        (b'{"model": NaN}', 400, "NaN"),
        (b'{"n": 1, "n": 2}', 400, "n is in the body twice"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b'{"model": ' + b"[" * 40 + b"]" * 40 + b"}", 400, "nested"),
        (b'{"prompt": "' + b"x" * 300_000 + b'"}', 413, "over 262144 bytes"),
    ):
        found, _, message = error(served.gateway.post(PATH, body=body, headers=json_type))
        assert found == status
        assert told in message
    assert error(served.gateway.post(PATH, body=b"{}", headers={"Content-Type": "text/plain"}))[0] == 415


def test_packed_bodies_are_unpacked_within_the_same_bound(served: Media) -> None:
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"model": "drawn", "prompt": ""}).encode())
    assert served.gateway.post(PATH, body=body, headers=packed).status == 200
    bomb = gzip.compress(b" " * (8 << 20))
    assert error(served.gateway.post(PATH, body=bomb, headers=packed))[0] == 413
    assert "not packed as" in error(served.gateway.post(PATH, body=b"{}", headers=packed))[2]
    assert "one whole stream" in error(served.gateway.post(PATH, body=body[:-4], headers=packed))[2]
    assert error(served.gateway.post(PATH, body=body, headers={**packed, "Content-Encoding": "br"}))[0] == 415
