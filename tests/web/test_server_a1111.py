"""Clients of AUTOMATIC1111's web API on a server with --a1111: their requests, as recorded from their code."""

import base64
import io
import json
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from serving import Server, until

from latentloom.web.routes.a1111 import routes

SECRET = "0123456789abcdef0123"
SMALL = {"prompt": "a red circle", "steps": 1, "width": 64, "height": 64, "seed": 5}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("a1111") / "home", "--a1111")
    yield made.until_ready()
    assert made.stop() == 0, made.log()


def call(server, path, body=None, **headers):
    """(status, parsed JSON)."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{server.address}/sdapi/v1{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(server, path):
    status, answer = call(server, path)
    assert status == 200, answer
    return answer


def drawn(server, path="/txt2img", **body):
    """The pictures, and what is told of them."""
    status, answer = call(server, path, {**SMALL, **body})
    assert status == 200, answer
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in answer["images"]]
    return pictures, json.loads(answer["info"])


def png(colour=(255, 0, 0), size=(64, 64), mode="RGB", white=None, **texts):
    info, out, made = PngInfo(), io.BytesIO(), Image.new(mode, size, colour)
    for name, text in texts.items():
        info.add_text(name, text)
    if white:
        made.paste(255, white)
    made.save(out, "PNG", pnginfo=info)
    return base64.b64encode(out.getvalue()).decode()


def document(server, info, number=0):
    return server.get(f"jobs/{info['latentloom']['jobs'][number]}/workflow")


# What clients send


def test_sillytavern_draws_a_picture(server):
    """It pings options, lists, sets the model and waits until no job is left, then sends a long body."""
    assert get(server, "/options")["sd_model_checkpoint"] == "shapes"
    assert {"Euler a", "DPM++ 2M"} <= {item["name"] for item in get(server, "/samplers")}
    assert {"automatic", "karras"} <= {item["name"] for item in get(server, "/schedulers")}
    assert [item["name"] for item in get(server, "/latent-upscale-modes")] == ["Latent"]
    assert "Lanczos" in {item["name"] for item in get(server, "/upscalers")}
    assert get(server, "/sd-vae") == []
    assert {"title": "shapes", "model_name": "shapes"}.items() <= get(server, "/sd-models")[0].items()
    assert call(server, "/options", {"sd_model_checkpoint": "shapes"}) == (200, None)
    assert get(server, "/progress")["state"]["job_count"] == 0
    body = {
        "sampler_name": "Euler a", "scheduler": "Automatic", "cfg_scale": 7, "negative_prompt": "dark",
        "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
        "override_settings_restore_afterwards": True, "clip_skip": 1, "save_images": True, "send_images": True,
        "do_not_save_grid": False, "do_not_save_samples": False, "restore_faces": False, "enable_hr": False,
        "hr_upscaler": "Latent", "hr_scale": 1, "hr_additional_modules": [], "denoising_strength": 0.7,
        "hr_second_pass_steps": 0,
    }  # fmt: skip
    (picture,), info = drawn(server, **body)
    assert picture.shape == (64, 64, 3)
    assert info["latentloom"]["not_used"] == []
    assert info["infotexts"] == [
        "a red circle\nNegative prompt: dark\nSteps: 1, Sampler: Euler a, Schedule type: Normal, CFG scale: 7.0, "
        "Seed: 5, Size: 64x64, Model: shapes, Version: latentloom"
    ]
    job = server.get(f"jobs/{info['latentloom']['jobs'][0]}")
    assert (job["state"], job["tags"], job["name"]) == ("done", ["a1111"], "txt2img")
    sample = document(server, info)["nodes"]["sample"]["inputs"]
    assert (sample["sampler"], sample["schedule"]) == ("euler_ancestral", "normal")
    assert (sample["noise_rule"], sample["cfg"]) == ("comfyui_cuda", 7.0)


def test_open_webui_reads_what_it_asks_for(server):
    options = get(server, "/options")
    assert call(server, "/options", {**options, "sd_model_checkpoint": "shapes"})[0] == 200
    status, answer = call(
        server, "/txt2img", {"prompt": "a red circle", "batch_size": 1, "width": 64, "height": 64, "steps": 1}
    )
    assert (status, len(answer["images"])) == (200, 1)
    assert json.loads(answer["info"])["steps"] == 1


def test_a_batch_has_a_seed_for_each_picture(server):
    (first, second), info = drawn(server, batch_size=2)
    assert info["all_seeds"] == [5, 6]
    assert (drawn(server, seed=6)[0][0] == second).all()
    assert (first != second).any()


def test_a_seed_of_minus_one_is_drawn(server):
    _, info = drawn(server, seed=-1)
    assert info["seed"] >= 0
    assert document(server, info)["nodes"]["sample"]["inputs"]["seed"] == info["seed"]


@pytest.mark.parametrize(
    ("names", "sampler", "schedule"),
    [
        ({"sampler_name": "DPM++ 2M Karras"}, "dpmpp_2m", "karras"),
        ({"sampler_index": "DPM++ 2M", "scheduler": "sgm uniform"}, "dpmpp_2m", "sgm_uniform"),
        ({"sampler_name": "k_euler_ancestral", "scheduler": "Beta"}, "euler_ancestral", "beta"),
        ({"sampler_name": "res_multistep", "scheduler": "kl_optimal"}, "res_multistep", "kl_optimal"),
        ({}, "euler", "normal"),
    ],
)
def test_methods_have_many_names(server, names, sampler, schedule):
    _, info = drawn(server, **names)
    sample = document(server, info)["nodes"]["sample"]["inputs"]
    assert (sample["sampler"], sample["schedule"]) == (sampler, schedule)


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_a_second_pass_enlarges(server, upscaler):
    (picture,), info = drawn(server, enable_hr=True, hr_scale=2, hr_upscaler=upscaler, denoising_strength=0.5)
    assert picture.shape == (128, 128, 3)
    assert "Hires upscale: 2" in info["infotexts"][0]
    assert f"Hires steps: {info['steps']}" in info["infotexts"][0]  # all run, as in that program


def test_a_picture_is_changed(server):
    (picture,), info = drawn(
        server, "/img2img", init_images=["data:image/png;base64," + png()], denoising_strength=0.5, steps=4
    )
    assert picture.shape == (64, 64, 3)
    sample = document(server, info)["nodes"]["sample"]["inputs"]
    assert (sample["denoise"], sample["steps"]) == (0.5, 3), "that program runs the last steps of 4"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("invert", [0, 1])
def test_outside_of_a_mask_nothing_changes(server, whole, invert):
    mask = png(0, mode="L", white=(0, 0, 32, 64))
    more = {"inpaint_full_res": not whole, "inpainting_mask_invert": invert, "mask_blur": 0, "inpainting_fill": 1}
    (picture,), _ = drawn(server, "/img2img", init_images=[png()], mask=mask, denoising_strength=0.9, **more)
    left, right = picture[:, :32], picture[:, 32:]
    kept, painted = (left, right) if invert else (right, left)
    assert (kept == [255, 0, 0]).all()
    assert (painted != [255, 0, 0]).any()


def test_a_saved_workflow_counts_as_a_model(server):
    saved = server.get("workflows/txt2img")["workflow"]
    saved["inputs"] = [item for item in saved["inputs"] if item["name"] not in ("width", "height", "cfg")]
    assert server.request("PUT", "workflows/mine", {"workflow": saved}, If_None_Match="*")[0] == 201
    assert "mine" in {item["title"] for item in get(server, "/sd-models")}
    (picture,), info = drawn(server, override_settings={"sd_model_checkpoint": "mine"}, cfg_scale=2)
    assert picture.shape == (128, 128, 3)
    assert info["latentloom"]["not_used"] == ["cfg", "height", "width"]
    made = document(server, info)
    assert made["nodes"]["sample"]["inputs"]["steps"] == 1
    assert made["nodes"]["positive"]["inputs"]["text"] == "a red circle"


def test_the_parameters_of_a_picture_are_told(server):
    _, answer = call(server, "/txt2img", {**SMALL, "prompt": "a, b"})
    told = call(server, "/png-info", {"image": answer["images"][0]})[1]
    assert told["info"] == json.loads(answer["info"])["infotexts"][0]
    assert (told["parameters"]["Prompt"], told["parameters"]["Seed"]) == ("a, b", "5")
    text = "x\nSteps: 3, Sampler: Euler, Seed: 9"
    told = call(server, "/png-info", {"image": png(parameters=text)})[1]
    assert (told["info"], told["items"], told["parameters"]["Steps"]) == (text, {"parameters": text}, "3")
    assert call(server, "/png-info", {"image": png()})[1] == {"info": "", "items": {}, "parameters": {}}


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"upscaling_resize": 2}, (128, 128)),
        ({"upscaling_resize": 1.5, "upscaler_1": "Nearest"}, (96, 96)),
        ({"resize_mode": 1, "upscaling_resize_w": 80, "upscaling_resize_h": 40}, (80, 40)),
    ],
)
def test_a_picture_is_enlarged(server, body, size):
    status, answer = call(server, "/extra-single-image", {"image": png(), "upscaler_1": "Lanczos", **body})
    assert status == 200, answer
    assert Image.open(io.BytesIO(base64.b64decode(answer["image"]))).size == size


def test_a_second_seed_varies_a_picture(server):
    plain = drawn(server)[0][0]
    (one, two), info = drawn(server, subseed=9, subseed_strength=0.5, batch_size=2)
    assert (info["all_seeds"], info["all_subseeds"], info["subseed_strength"]) == ([5, 5], [9, 10], 0.5)
    assert "Variation seed: 10, Variation seed strength: 0.5" in info["infotexts"][1]
    assert (one != plain).any()
    assert (one != two).any()
    nodes = document(server, info, 1)["nodes"]
    assert (nodes["noise-1"]["inputs"]["seed"], nodes["noise-2"]["inputs"]["seed"]) == (5, 10)
    (same,), info = drawn(server, subseed=9, subseed_strength=0)
    assert (same == plain).all()


def test_the_denoising_strength_of_the_last_pass_is_told(server):
    assert drawn(server, enable_hr=True, hr_scale=1.5, denoising_strength=0.4)[1]["denoising_strength"] == 0.4
    assert drawn(server, denoising_strength=0.4)[1]["denoising_strength"] == 0


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"module": "openpose", "image": png()}, "there is no preprocessor 'openpose' (expected none, canny or invert"),
        ({"image": png()}, "there is no file 'net'"),
        ({}, "a ControlNet unit has no image"),
        ({"image": "x"}, "alwayson_scripts"),
    ],
)
def test_a_controlnet_unit_that_cannot_be_taken_is_named(server, unit, words):
    scripts = {"ControlNet": {"args": [{"enabled": False, "model": "other"}, {"model": "net", **unit}]}}
    status, answer = call(server, "/txt2img", {**SMALL, "alwayson_scripts": scripts})
    assert status == 400
    assert words in answer["errors"]


def test_what_has_no_effect_is_listed(server):
    more = {"tiling": True, "styles": ["x"], "alwayson_scripts": {"other": {"args": [1]}}, "restore_faces": False}
    _, info = drawn(server, **more, override_settings={"eta_noise_seed_delta": 31337})
    used = ["alwayson_scripts.other", "override_settings.eta_noise_seed_delta", "styles", "tiling"]
    assert info["latentloom"]["not_used"] == used
    assert call(server, "/options", {"samples_format": "jpg"}) == (200, {"not_used": ["samples_format"]})


def test_pictures_may_stay_away(server):
    assert drawn(server, send_images=False)[0] == []


# What cannot be done


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"sampler_name": "Eulr a"}, "there is no sampler 'Eulr a'"),
        ({"scheduler": "quick"}, "there is no schedule 'quick'"),
        ({"prompt": "x <lora:none:1>"}, "there is no file 'none'"),
        ({"override_settings": {"sd_model_checkpoint": "none"}}, "there is no file 'none'"),
        ({"override_settings": {"sd_vae": "none.pt"}}, "there is no file 'none.pt'"),
        ({"override_settings": [1]}, "expected an object"),
        ({"steps": 0}, "'steps'"),
        ({"steps": "many"}, "'steps'"),
        ({"steps": True}, "'steps'"),
        ({"width": 10**9}, "'width'"),
        ({"batch_size": 100, "n_iter": 100}, "too many pictures"),
        ({"n_iter": 10**12}, "'n_iter'"),
        ({"seed": 2**64}, "'seed'"),
        ({"cfg_scale": -1}, "'cfg_scale'"),
        ({"prompt": 5}, "'prompt'"),
        ({"prompt": "x" * 20_001}, "'text'"),
        ({"enable_hr": True, "hr_upscaler": "R-ESRGAN 4x+"}, "there is no file 'R-ESRGAN 4x+'"),
    ],
)
def test_what_cannot_be_taken_is_named(server, body, words):
    status, answer = call(server, "/txt2img", {**SMALL, **body})
    assert (400 <= status < 500, set(answer)) == (True, {"error", "detail", "body", "errors"})
    assert words in answer["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"init_images": []},
        {"init_images": [png(), png()]},
        {"init_images": ["not base64!"]},
        {"init_images": ["aGVsbG8="]},
        {"init_images": [png()[:80]]},
        {"init_images": "x"},
        {"init_images": ["http://localhost/x.png"]},
        {"init_images": [png()], "mask": "aGVsbG8="},
        {"init_images": [png()], "denoising_strength": 2},
        {"init_images": [png()], "resize_mode": 7},
    ],
)
def test_a_picture_that_cannot_be_taken_is_refused(server, body):
    status, answer = call(server, "/img2img", {**SMALL, **body})
    assert 400 <= status < 500, answer


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"cfg_scale": NaN}', b'{"cfg_scale": 1e999}', b"\xff"])
def test_a_body_that_is_no_json_is_refused(server, body):
    assert call(server, "/txt2img", body)[0] in (400, 422)
    assert call(server, "/options", body)[0] in (400, 422)


def test_an_interrupted_request_gives_what_is_finished(server):
    server.request("PATCH", "queue", {"paused": True})
    found = {}
    thread = threading.Thread(target=lambda: found.update(answer=drawn(server, seed=77, batch_size=2)))
    try:
        thread.start()
        until(lambda: get(server, "/progress")["state"]["job_count"] == 2)
        assert call(server, "/interrupt", b"") == (200, {})
        thread.join()
    finally:
        server.request("PATCH", "queue", {"paused": False})
    pictures, info = found["answer"]
    assert (pictures, info["all_seeds"]) == ([], [])
    assert {server.get(f"jobs/{id}")["state"] for id in info["latentloom"]["jobs"]} == {"cancelled"}


# Who may


def test_a_password_is_a_token(own_server):
    server = own_server("--a1111", LATENTLOOM_TOKENS=f"me:{SECRET}")

    def basic(text):
        return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    for route in routes():
        body = b"{}" if route.method == "POST" else None
        assert call(server, route.path.removeprefix("/sdapi/v1"), body)[0] == 401, route.path
    assert call(server, "/options", **basic("me:wrong"))[0] == 401
    assert call(server, "/options", Authorization="Basic ???")[0] == 401
    until(lambda: call(server, "/options", **basic(f"any:{SECRET}"))[0] == 200)
    assert call(server, "/options", Authorization=f"Bearer {SECRET}")[0] == 200
    assert call(server, "/options", **basic(f"any:{SECRET}"), Origin="https://evil.example")[0] == 403
    request = urllib.request.Request(f"{server.address}/api/v1/jobs", headers=basic(f"any:{SECRET}"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 401, "only these routes take a password"
