"""ComfyUI's clients on a server with --comfy: what they send and what they rely on, as recorded from their code."""

import asyncio
import io
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid

import aiohttp
import comfyui_packs
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from serving import Server, until

FORM = "application/x-www-form-urlencoded"  # what urllib says of a body that it was given


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("comfy") / "home", "--comfy")
    yield made.until_ready()
    assert made.stop() == 0, made.log()


def post(server, path, body, content_type=FORM, **headers):
    """(status, parsed JSON or bytes)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.address + path, data, {"Content-Type": content_type, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, _read(response)
    except urllib.error.HTTPError as error:
        return error.code, _read(error)


def get(server, path):
    with urllib.request.urlopen(server.address + path, timeout=60) as response:
        return _read(response)


def _read(response):
    data = response.read()
    return json.loads(data) if data and response.headers.get_content_type() == "application/json" else data


def node(type, /, **inputs):
    return {"class_type": type, "inputs": inputs}


def graph(colour=0xFF8000, prefix="ComfyUI", count=1):
    return {
        "1": node("EmptyImage", width=16, height=8, batch_size=count, color=colour),
        "2:7": node("ImageInvert", image=["1", 0]),
        "9": node("SaveImage", images=["2:7", 0], filename_prefix=prefix),
    }


def queued(server, prompt, **more):
    status, answer = post(server, "/prompt", {"prompt": prompt, **more})
    assert status == 200, answer
    return answer["prompt_id"]


def ended(server, id):
    return until(lambda: get(server, f"/history/{id}").get(id))


def followed(server, act, client=None, until_end_of=1):
    """What a socket tells from before `act(client)` until that many prompts have ended: texts parsed, and binaries."""
    client = client or str(uuid.uuid4())

    async def go():
        found = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{server.address}/ws?clientId={client}", max_msg_size=2**24) as socket,
        ):
            found.append(json.loads(await socket.receive_str()))
            ids = await asyncio.to_thread(act, client)
            ids, left = [ids] if isinstance(ids, str) else ids, until_end_of
            while left:
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    found.append(message.data)
                    continue
                assert message.type is aiohttp.WSMsgType.TEXT, message
                found.append(json.loads(message.data))
                data = found[-1]["data"]
                left -= found[-1]["type"] == "executing" and data["node"] is None and data["prompt_id"] in ids
        return found

    return asyncio.run(asyncio.wait_for(go(), 120))


def types(messages):
    return [message["type"] for message in messages if isinstance(message, dict)]


def test_the_example_of_the_documentation_gets_its_pictures(server):
    """A socket, a prompt as a form, messages until no node runs, the history, the files."""
    ids = []

    def act(client):
        ids.append(queued(server, graph(count=2), client_id=client))
        return ids[0]

    messages = followed(server, act)
    assert messages[0]["type"] == "status"
    assert set(messages[0]["data"]) == {"status", "sid"}
    assert messages[-1]["data"] == {"node": None, "prompt_id": ids[0]}
    mine = [message for message in messages if message["type"] not in ("status", "progress")]
    assert [message["type"] for message in mine[:2]] == ["execution_start", "executing"]
    assert types(mine)[-3:] == ["executed", "execution_success", "executing"]
    assert {message["data"].get("node") for message in mine} >= {"1", "2:7", "9", None}
    (executed,) = [message["data"] for message in mine if message["type"] == "executed"]
    history = get(server, f"/history/{ids[0]}")[ids[0]]
    assert history["outputs"] == {"9": executed["output"]}
    assert history["status"]["status_str"] == "success"
    assert history["prompt"][1:3] == [ids[0], graph(count=2)]
    pictures = history["outputs"]["9"]["images"]
    assert [item["filename"] for item in pictures] == ["ComfyUI_00001.png", "ComfyUI_00002.png"]
    data = get(server, f"/view?{urllib.parse.urlencode(pictures[0])}")
    assert np.asarray(Image.open(io.BytesIO(data)))[0, 0].tolist() == [0, 127, 255]


def test_a_job_is_in_the_gallery_as_any_other_and_outlives_the_server(own_server):
    server = own_server("--comfy").until_ready()
    id = queued(server, graph(prefix="kept/here"))
    ended(server, id)
    server.stop()
    server.start()
    server.until_ready()
    assert get(server, f"/api/history/{id}")[id]["outputs"]["9"]["images"][0]["subfolder"] == "kept"
    (output,) = server.get("outputs")["outputs"]
    assert output["path"] == "kept/here_00001.png"


def test_the_last_message_comes_when_all_was_cached_but_what_saves(server):
    act = lambda client: queued(server, graph(0x123456), client_id=client)  # noqa: E731
    followed(server, act)
    messages = followed(server, act)
    cached = [message["data"]["nodes"] for message in messages if message["type"] == "execution_cached"]
    assert ["2:7"] in cached
    assert messages[-1]["data"]["node"] is None


def test_a_client_is_told_of_its_own_jobs_only(server):
    other = str(uuid.uuid4())

    def act(client):
        foreign = queued(server, graph(1), client_id=other)
        ended(server, foreign)
        return queued(server, graph(2), client_id=client)

    messages = followed(server, act)
    prompts = {message["data"]["prompt_id"] for message in messages if "prompt_id" in message["data"]}
    assert len(prompts) == 1


def test_a_failed_job_is_told_with_its_node_and_ends_with_no_node(server):
    bad = {"1": node("EmptyImage", width=16, height=8, batch_size=1, color=0),
           "2": node("ImageCrop", image=["1", 0], width=512, height=512, x=0, y=0),
           "3": node("SaveImage", images=["2", 0], filename_prefix="x")}  # fmt: skip
    messages = followed(server, lambda client: queued(server, bad, client_id=client))
    error = next(message["data"] for message in messages if message["type"] == "execution_error")
    assert (error["node_id"], error["node_type"]) == ("2", "ImageCrop")
    assert "the rectangle lies outside of the picture" in error["exception_message"]
    assert messages[-1]["data"]["node"] is None
    status = ended(server, error["prompt_id"])["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert [name for name, _ in status["messages"]] == ["execution_start", "execution_error"]


def test_previews_are_files_that_can_be_fetched(server):
    prompt = {**graph(), "9": node("PreviewImage", images=["2:7", 0])}
    (picture,) = ended(server, queued(server, prompt))["outputs"]["9"]["images"]
    assert picture["subfolder"] == "previews"
    assert get(server, f"/view?{urllib.parse.urlencode(picture)}")[:4] == b"\x89PNG"


def test_only_some_outputs_are_made_if_asked(server):
    prompt = {**graph(), "10": node("SaveImage", images=["1", 0], filename_prefix="other")}
    id = queued(server, prompt, partial_execution_targets=["10"])
    assert list(ended(server, id)["outputs"]) == ["10"]


# Refusals


@pytest.mark.parametrize(
    ("body", "type"),
    [
        ({}, "no_prompt"),
        ({"prompt": []}, "no_prompt"),
        ({"prompt": graph(), "prompt_id": "7"}, "invalid_prompt_id"),
        ({"prompt": graph(), "prompt_id": uuid.uuid4().hex}, "invalid_prompt_id"),
        ({"prompt": {"1": node("EmptyImage", width=16, height=8, batch_size=1, color=0)}}, "prompt_no_outputs"),
    ],
)
def test_a_prompt_that_cannot_run_is_refused(server, body, type):
    status, answer = post(server, "/prompt", body)
    assert (status, answer["error"]["type"]) == (400, type)
    assert set(answer["error"]) == {"type", "message", "details", "extra_info"}


def test_a_class_that_does_not_run_here_is_named(server):
    prompt = {**graph(), "2:7": node("FancyUpscale", image=["1", 0])}
    status, answer = post(server, "/prompt", {"prompt": prompt})
    assert (status, answer["error"]["type"]) == (400, "missing_node_type")
    assert answer["error"]["message"] == "Nodes that do not run here: FancyUpscale"
    (error,) = answer["node_errors"]["2:7"]["errors"]
    assert error["details"] == "ComfyUI's FancyUpscale has no counterpart here"


def test_what_is_wrong_stands_at_its_node(server):
    prompt = {**graph(), "1": node("EmptyImage", width=-5, height=8, batch_size=1, color=0)}
    prompt["2:7"] = node("ImageInvert")
    status, answer = post(server, "/prompt", {"prompt": prompt})
    assert (status, answer["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    assert {id: entry["errors"][0]["type"] for id, entry in answer["node_errors"].items()} == {
        "1": "value_out_of_range",
        "2:7": "required_input_missing",
    }
    assert answer["node_errors"]["1"]["class_type"] == "EmptyImage"


def test_a_client_may_choose_the_id_once(server):
    id = str(uuid.uuid4())
    assert queued(server, graph(), prompt_id=id) == id
    status, answer = post(server, "/prompt", {"prompt": graph(), "prompt_id": id})
    assert (status, answer["error"]["type"]) == (400, "invalid_prompt_id")
    ended(server, id)


def test_a_body_that_is_no_json_is_refused(server):
    assert post(server, "/prompt", b"{")[0] == 400
    assert post(server, "/prompt", b"[1]")[0] == 400


# The queue


def held(server):
    """Whether the queue holds back what is in it, while a test looks at it."""
    return lambda paused: server.request("PATCH", "queue", {"paused": paused})


def test_the_queue_is_listed_cleared_and_interrupted(server):
    hold = held(server)
    hold(True)
    try:
        first, second, third = (queued(server, graph(n)) for n in (3, 4, 5))
        queue = get(server, "/queue")
        assert [item[1] for item in queue["queue_pending"]] == [first, second, third]
        assert queue["queue_running"] == []
        _, id, prompt, extra, outputs = queue["queue_pending"][0]
        assert (id, prompt, extra, outputs) == (first, graph(3), {}, ["9"])
        assert get(server, "/prompt") == {"exec_info": {"queue_remaining": 3}}
        front = queued(server, graph(6), front=True)
        assert get(server, "/queue")["queue_pending"][0][1] == front
        assert post(server, "/queue", {"delete": [second]}) == (200, b"")
        assert [item[1] for item in get(server, "/queue")["queue_pending"]] == [front, first, third]
        assert get(server, f"/history/{second}")[second]["status"]["messages"][-1][0] == "execution_interrupted"
        assert post(server, "/interrupt", {}) == (200, b"")  # nothing runs
        assert post(server, "/queue", {"clear": True}) == (200, b"")
        assert get(server, "/queue")["queue_pending"] == []
    finally:
        hold(False)


def test_a_job_that_is_cancelled_is_told_as_interrupted(server):
    hold = held(server)
    hold(True)
    try:

        def act(client):
            id = queued(server, graph(7), client_id=client)
            post(server, "/queue", {"delete": [id]})
            return id

        assert types(followed(server, act))[-3:-1].count("execution_interrupted") == 1
    finally:
        hold(False)


def test_jobs_are_listed_shown_and_cancelled(server):
    id = queued(server, graph(8))
    ended(server, id)
    page = get(server, "/api/jobs?limit=1")
    assert page["jobs"][0]["id"] == id
    assert page["jobs"][0]["status"] == "completed"
    assert page["jobs"][0]["outputs_count"] == 1
    assert page["pagination"]["has_more"] is True
    assert get(server, f"/api/jobs/{id}")["outputs"]["9"]["images"]
    assert post(server, f"/api/jobs/{id}/cancel", b"") == (200, {"cancelled": False})
    assert post(server, "/api/jobs/cancel", {"job_ids": [id]}) == (200, {"cancelled": []})
    assert post(server, f"/api/jobs/{uuid.uuid4()}/cancel", b"")[0] == 404


def test_a_history_forgets_what_it_is_told_to(server):
    id = queued(server, graph(9))
    ended(server, id)
    assert id in get(server, "/history?max_items=5")
    assert post(server, "/history", {"delete": [id]}) == (200, b"")
    assert get(server, f"/history/{id}") == {}
    assert id not in get(server, "/history")
    assert server.get(f"jobs/{uuid.UUID(id).hex}")["state"] == "done"


# Files


def png(colour=(255, 0, 0), size=(8, 8), mode="RGB"):
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "PNG")
    return out.getvalue()


def form(**fields):
    """A body and its media type; a value is a text, or a file's name and content."""
    parts = []
    for name, value in fields.items():
        filename, content = value if isinstance(value, tuple) else (None, value.encode())
        more = f'; filename="{filename}"' if filename else ""
        parts.append(
            f'--xYz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return b"".join(parts) + b"--xYz--\r\n", "multipart/form-data; boundary=xYz"


def upload(server, path="/upload/image", **fields):
    body, media = form(**fields)
    return post(server, path, body, media)


def test_an_upload_keeps_its_name_or_gets_a_number(server):
    red, blue = png(), png((0, 0, 255))
    first = {"name": "a.png", "subfolder": "", "type": "input"}
    assert upload(server, image=("a.png", red), type="input") == (200, first)
    assert upload(server, image=("a.png", red)) == (200, first)
    assert upload(server, image=("a.png", blue)) == (200, {**first, "name": "a (1).png"})
    assert get(server, "/view?filename=a.png&type=input") == red
    assert upload(server, "/api/upload/image", image=("a.png", blue), overwrite="true") == (200, first)
    assert get(server, "/api/view?filename=a.png&type=input&subfolder=") == blue
    prompt = {"1": node("LoadImage", image="a (1).png"), "2": node("SaveImage", images=["1", 0], filename_prefix="up")}
    assert ended(server, queued(server, prompt))["status"]["completed"]


def test_a_mask_becomes_the_transparency_of_its_original(server):
    upload(server, image=("original.png", png(size=(4, 4))), overwrite="true")
    mask = png((0, 0, 0, 64), (4, 4), "RGBA")
    reference = json.dumps({"filename": "original.png", "subfolder": "", "type": "input"})
    status, answer = upload(server, "/upload/mask", image=("masked.png", mask), original_ref=reference)
    assert (status, answer["name"]) == (200, "masked.png")
    made = np.asarray(Image.open(io.BytesIO(get(server, "/view?filename=masked.png&type=input"))))
    assert made[0, 0].tolist() == [255, 0, 0, 64]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"image": ("x.png", b"no picture")}, 422),
        ({"image": ("x.png", png()[:40])}, 422),
        ({"image": ("../../x.png", png()), "subfolder": "../.."}, 400),
        ({"image": ("", png())}, 400),
        ({"other": "x"}, 400),
    ],
)
def test_an_upload_that_cannot_be_stored_is_refused(server, fields, status):
    assert upload(server, **fields)[0] == status


@pytest.mark.parametrize("query", ["filename=../server.key", "filename=server.key&subfolder=..", "filename=", ""])
def test_nothing_outside_of_the_folders_is_shown(server, query):
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(server, f"/view?{query}")
    assert caught.value.code == 400


def test_a_preview_is_smaller_and_of_another_format(server):
    picture = png((200, 10, 10, 128), mode="RGBA")
    upload(server, image=("clear.png", picture), overwrite="true")

    def seen(more):
        made = Image.open(io.BytesIO(get(server, f"/view?filename=clear.png&type=input&{more}")))
        return made.format, made.mode

    assert seen("preview=webp;50") == ("WEBP", "RGBA")
    assert seen("preview=jpeg") == ("JPEG", "RGB")
    assert seen("preview=jpg;nonsense") == ("JPEG", "RGB")
    assert seen("preview=webp;90&channel=rgb") == ("WEBP", "RGB")
    assert seen("channel=rgb") == ("PNG", "RGB")
    alpha = np.asarray(Image.open(io.BytesIO(get(server, "/view?filename=clear.png&type=input&channel=a"))))
    assert alpha[0, 0].tolist() == [0, 0, 0, 128]
    assert get(server, "/view?filename=clear.png&type=input&channel=rgba") == picture


@pytest.mark.parametrize(
    ("query", "status"),
    [("filename=clear.png&type=input&channel=x", 400), ("filename=none.png&preview=webp", 404),
     ("filename=../server.key&preview=webp", 400)],
)  # fmt: skip
def test_a_preview_that_cannot_be_given_is_refused(server, query, status):
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(server, f"/view?{query}")
    assert caught.value.code == status


def test_pictures_go_over_the_socket(server):
    """The example of the documentation takes each binary message while that node runs, without its first 8 bytes."""
    prompt = {**graph(0x0000FF, count=2), "9": node("SaveImageWebsocket", images=["2:7", 0])}
    ids = []

    def act(client):
        ids.append(queued(server, prompt, client_id=client))
        return ids[0]

    current, found = "", []
    for message in followed(server, act):
        if isinstance(message, bytes):
            assert (current, message[:8]) == ("9", b"\0\0\0\1\0\0\0\2")
            found.append(np.asarray(Image.open(io.BytesIO(message[8:]))))
        elif message["type"] == "executing":
            current = message["data"]["node"]
    assert [picture[0, 0].tolist() for picture in found] == [[255, 255, 0]] * 2
    assert get(server, f"/history/{ids[0]}")[ids[0]]["outputs"] == {}


def test_the_metadata_of_a_model_is_shown(server):
    folder = server.home / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.zeros(1, np.float32)}, folder / "told.safetensors", {"ss_tag": "fur"})
    save_file({"a": np.zeros(1, np.float32)}, folder / "bare.safetensors")
    (folder / "torn.safetensors").write_bytes(b"\xff" * 40)
    assert get(server, "/view_metadata/loras?filename=told.safetensors") == {"ss_tag": "fur"}
    refused = [f"loras?filename={name}.safetensors" for name in ("bare", "torn", "none", "../loras/told")]
    for path in (*refused, "nothing?filename=told.safetensors", "loras"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(server, f"/view_metadata/{path}")
        assert caught.value.code in (400, 404), path


# What is installed


def test_classes_are_described_in_the_form_that_all_clients_read(server):
    """SillyTavern takes the first element of these inputs for a list of names."""
    known = get(server, "/object_info")
    assert "euler" in known["KSampler"]["input"]["required"]["sampler_name"][0]
    assert "karras" in known["KSampler"]["input"]["required"]["scheduler"][0]
    assert "shapes" in known["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]
    assert isinstance(known["VAELoader"]["input"]["required"]["vae_name"][0], list)
    assert known["SaveImage"]["output_node"] is True
    assert get(server, "/api/object_info/KSampler") == {"KSampler": known["KSampler"]}
    assert get(server, "/object_info/Unknown") == {}


def test_the_small_routes_answer(server):
    stats = get(server, "/system_stats")
    assert {"name", "type", "vram_total", "vram_free"} <= stats["devices"][0].keys()
    assert stats["system"]["ram_total"] > 0
    assert get(server, "/embeddings") == []
    assert "checkpoints" in get(server, "/models")
    assert "shapes" in get(server, "/models/checkpoints")
    assert get(server, "/features")["max_upload_size"] > 0
    assert get(server, "/extensions") == []
    assert post(server, "/free", {"unload_models": True}) == (200, b"")
    assert get(server, "/history?max_items=nonsense") is not None


def test_sillytavern_draws_a_picture_by_polling(server):
    """It sends text/plain, asks for the whole history again and again, and takes the first picture."""
    prompt = {
        "4": node("CheckpointLoaderSimple", ckpt_name="shapes"),
        "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "6": node("CLIPTextEncode", clip=["4", 1], text="a red circle"),
        "7": node("CLIPTextEncode", clip=["4", 1], text=""),
        "3": node("KSampler", model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0], seed=5,
                  steps=2, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="SillyTavern"),
    }  # fmt: skip
    status, answer = post(server, "/prompt", {"prompt": prompt}, "text/plain;charset=UTF-8")
    assert status == 200
    item = until(lambda: get(server, "/history").get(answer["prompt_id"]))
    picture = next(image for output in item["outputs"].values() for image in output["images"])
    data = get(server, f"/view?filename={picture['filename']}&subfolder={picture['subfolder']}&type={picture['type']}")
    assert Image.open(io.BytesIO(data)).size == (64, 64)


def test_progress_and_previews_come_while_a_sampler_runs(server):
    prompt = {
        "4": node("CheckpointLoaderSimple", ckpt_name="shapes"),
        "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "6": node("CLIPTextEncode", clip=["4", 1], text="a blue square"),
        "3": node("KSampler", model=["4", 0], positive=["6", 0], negative=["6", 0], latent_image=["5", 0], seed=6,
                  steps=8, cfg=1.0, sampler_name="euler", scheduler="normal", denoise=1.0),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    }  # fmt: skip
    messages = followed(server, lambda client: queued(server, prompt, client_id=client))
    steps = [
        m["data"] for m in messages if isinstance(m, dict) and m["type"] == "progress" and m["data"]["node"] == "3"
    ]
    assert steps[-1]["value"] == steps[-1]["max"] == 8
    (first, *_) = [message for message in messages if isinstance(message, bytes)]
    assert first[:8] == b"\0\0\0\1\0\0\0\1"
    assert Image.open(io.BytesIO(first[8:])).format == "JPEG"


def test_a_client_that_tells_its_features_is_told_the_server_s(server):
    async def go():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.address}/api/ws") as socket:
            await socket.receive_str()
            await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
            while (message := json.loads(await socket.receive_str()))["type"] == "status":
                pass
            return message

    assert asyncio.run(asyncio.wait_for(go(), 60))["type"] == "feature_flags"


# Packs


def test_a_class_of_a_pack_runs_for_a_client(own_server, tmp_path):
    comfyui_packs.write(tmp_path / "packs", "plain", comfyui_packs.PLAIN, helpers=comfyui_packs.HELPERS)
    comfyui_packs.write(tmp_path / "packs", "broken", "import comfy.sd\ncomfy.sd.load()\n")
    server = own_server("--comfy", LATENTLOOM_COMFY_PACKS=str(tmp_path / "packs")).until_ready()
    assert get(server, "/object_info/Brighten")["Brighten"]["output"] == ["IMAGE", "MASK"]
    prompt = {**graph(0x404040), "2:7": node("Brighten", image=["1", 0], by=0.5, mode="add")}
    (picture,) = ended(server, queued(server, prompt))["outputs"]["9"]["images"]
    data = get(server, f"/view?{urllib.parse.urlencode(picture)}")
    assert np.asarray(Image.open(io.BytesIO(data)))[0, 0].tolist() == [192, 192, 192]


# Who may


def test_a_token_goes_for_these_routes_too(own_server):
    server = own_server("--comfy", LATENTLOOM_TOKENS="me:0123456789abcdef0123")
    assert post(server, "/prompt", {"prompt": graph()})[0] == 401
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(server, "/object_info")
    assert caught.value.code == 401
    bearer = {"Authorization": "Bearer 0123456789abcdef0123"}
    until(lambda: post(server, "/prompt", {"prompt": graph()}, **bearer)[0] == 200)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_pages_of_other_sites_may_not(server, headers):
    assert post(server, "/prompt", {"prompt": graph()}, **headers)[0] == 403


def test_without_the_flag_there_are_no_such_routes(own_server):
    assert post(own_server(), "/prompt", {"prompt": graph()})[0] == 404


def test_many_sockets_and_jobs_at_once_each_get_their_own(server):
    found = {}

    def one(n):
        found[n] = followed(server, lambda client: queued(server, graph(100 + n), client_id=client))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [messages[-1]["data"]["node"] for messages in found.values()] == [None] * 4
