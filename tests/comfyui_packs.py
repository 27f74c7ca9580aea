"""Packs of ComfyUI's node classes, written for the tests."""

from pathlib import Path

PLAIN = """
from . import helpers


class Brighten:
    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "mine", "act", ("IMAGE", "MASK"), ("picture", "where")
    DESCRIPTION = "Makes pictures brighter."

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",),
                             "by": ("FLOAT", {"default": 0.25, "min": 0, "max": 1.0, "step": 0.01, "tooltip": "How."}),
                             "mode": (["add", "take off"],)},
                "optional": {"mask": ("MASK",)}, "hidden": {"id": "UNIQUE_ID", "prompt": "PROMPT"}}

    def act(self, image, by, mode, mask=None, id=None, prompt=None):
        assert prompt == {} and id
        print("a pack may print")
        return helpers.changed(image, by if mode == "add" else -by), image[..., 0] if mask is None else 1 - mask


class Words:
    FUNCTION, RETURN_TYPES, OUTPUT_IS_LIST = "act", ("STRING", "INT"), (True, False)
    CATEGORY = "mine"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True}), "many": ("INT", {"default": 2, "min": 1})}}

    def act(self, text, many):
        import torch

        return [text] * many, torch.tensor(many)


class Joined:
    FUNCTION, RETURN_TYPES, INPUT_IS_LIST, CATEGORY = "act", ("IMAGE",), True, "mine"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "times": ("INT", {"default": 1})}}

    def act(self, images, times):
        import torch

        return (torch.cat(images * times[0]),)


class Split:
    FUNCTION, RETURN_TYPES, OUTPUT_IS_LIST, CATEGORY = "act", ("IMAGE",), (True,), "mine"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}}

    def act(self, images):
        return ([image for image in images],)


class Half:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("LATENT",), "mine"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",)}}

    def act(self, latent):
        return ({**latent, "samples": latent["samples"] / 2},)


class Pair:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("MY_PAIR",), "mine"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("STRING",), "b": ("STRING", {"default": "x"})}}

    def act(self, a, b):
        return ({"pair": (a, b)},)


class Second:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("STRING",), "mine"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"pair": ("MY_PAIR",)}}

    def act(self, pair):
        return (pair["pair"][1],)


class Told:
    FUNCTION, RETURN_TYPES, OUTPUT_NODE, CATEGORY = "act", ("STRING",), True, "mine"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"forceInput": True})}}

    def act(self, text):
        return {"ui": {"text": [text]}, "result": (text,)}


NODE_CLASS_MAPPINGS = {cls.__name__: cls for cls in (Brighten, Words, Joined, Split, Half, Pair, Second, Told)}
NODE_DISPLAY_NAME_MAPPINGS = {"Brighten": "Brighten a picture"}
"""
HELPERS = """
def changed(image, by):
    return image + by
"""
HOST = """
import os
import folder_paths
import comfy.samplers
import comfy.utils
import comfy.model_management as mm
import nodes
from comfy.comfy_types import IO
from comfy_execution.graph import ExecutionBlocker
from server import PromptServer

COUNT = 0


@PromptServer.instance.routes.get("/mine")
async def route(request):
    return None


class Bars:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("IMAGE", "STRING"), "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "side": ("INT", {"default": 16, "max": nodes.MAX_RESOLUTION})}}

    def act(self, image, side):
        bar = comfy.utils.ProgressBar(3)
        for _ in range(3):
            bar.update(1)
        mm.throw_exception_if_processing_interrupted()
        PromptServer.instance.send_sync("mine", {})
        samples = image.movedim(-1, 1).to(mm.get_torch_device())
        made = comfy.utils.common_upscale(samples, side, side, "bilinear", "center").movedim(1, -1)
        return made, str(mm.get_torch_device())


class Saved:
    FUNCTION, RETURN_TYPES, OUTPUT_NODE, CATEGORY = "act", (), True, "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING",), "name": ("STRING", {"default": "note"})}}

    def act(self, text, name):
        folder, name, count, sub, _ = folder_paths.get_save_image_path(name, folder_paths.get_output_directory())
        with open(os.path.join(folder, f"{name}_{count:05}.txt"), "w") as file:
            file.write(text)
        return {"ui": {"images": []}}


class Named:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("STRING",), "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"lora": (folder_paths.get_filename_list("loras"),)}}

    def act(self, lora):
        with open(folder_paths.get_full_path_or_raise("loras", lora)) as file:
            return (file.read(),)


class Counted:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("INT",), "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING",)}}

    @classmethod
    def IS_CHANGED(cls, text):
        return float("nan") if text == "always" else text

    def act(self, text):
        global COUNT
        COUNT += 1
        return (COUNT,)


class Strict:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("INT",), "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"n": ("INT", {"default": 1})}}

    @classmethod
    def VALIDATE_INPUTS(cls, n):
        return True if n < 5 else "n is too large"

    def act(self, n):
        return (n,)


class Remembers(Strict):
    def __init__(self):
        self.seen = 0

    def act(self, n):
        self.seen += n
        return (self.seen,)


class Model:
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("MODEL",), "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def act(self, model):
        return (model,)


def deeper(x):
    return comfy.samplers.KSampler(x)


class Deep(Strict):
    def act(self, n):
        return (deeper(n),)


class Choices(Strict):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"sampler": (comfy.samplers.KSampler.SAMPLERS,)}}


class Inner(Strict):
    def act(self, n):
        from comfy_extras.nodes_mask import GrowMask

        return (GrowMask(),)


class Shown(nodes.PreviewImage):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": (IO.IMAGE,)}}

    FUNCTION = "act"

    def act(self, image):
        return self.save_images(image, "shown")


class Chosen:
    FUNCTION, RETURN_TYPES, RETURN_NAMES, CATEGORY = "act", (IO.ANY,), "any", "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"first": ("BOOLEAN", {"default": True}), "a": (IO.ANY, {"lazy": True}),
                             "b": (IO.ANY, {"lazy": True})},
                "optional": {"c": (IO.ANY, {"lazy": True})}}

    def check_lazy_status(self, first, a, b, c=None):
        if a == "more":
            return ["c"]
        return ["a"] if first else ["b"]

    def act(self, first, a, b, c=None):
        return (a if first else b,)


class Stops(Strict):
    RETURN_TYPES = ("INT", "INT")

    @classmethod
    def VALIDATE_INPUTS(cls, n, input_types):
        return input_types == {"n": "INT"}

    def act(self, n):
        return (n, ExecutionBlocker("not today") if n > 1 else n)


class Loads(nodes.LoadImage):
    FUNCTION, RETURN_TYPES, CATEGORY = "act", ("IMAGE",), "host"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def act(self):
        return super().load_image("x.png")


class Core(Strict):
    def act(self, n):
        return (nodes.NODE_CLASS_MAPPINGS["KSampler"](),)


NODE_CLASS_MAPPINGS = {
    cls.__name__: cls for cls in (Bars, Saved, Named, Counted, Strict, Remembers, Model, Deep, Choices, Inner, Shown,
                                  Chosen, Stops, Loads, Core)
}
"""
THIRD = """
from enum import Enum

from comfy_api.latest import ComfyAPI, ComfyExtension, io, ui


class Doubled(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Doubled", display_name="Doubled text", category="third", hidden=[io.Hidden.unique_id],
            inputs=[io.String.Input("text", default="a"), io.Int.Input("times", default=2, min=1, max=9),
                    io.Combo.Input("case", options=["same", "upper"]), io.Image.Input("image", optional=True)],
            outputs=[io.String.Output(display_name="words"), io.Image.Output()],
        )

    @classmethod
    async def execute(cls, text, times, case, image=None):
        assert cls.hidden.unique_id
        found = text * times
        return io.NodeOutput(found.upper() if case == "upper" else found, image)


class Same(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        kinds = io.MatchType.Template("kind", [io.Image, io.Mask])
        return io.Schema(
            node_id="Same", category="third", inputs=[io.MatchType.Input("image", kinds)],
            outputs=[io.MatchType.Output(kinds, display_name="output")],
        )

    @classmethod
    def execute(cls, image):
        return io.NodeOutput(image)


class WithModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="WithModel", inputs=[io.Model.Input("model")], outputs=[io.Model.Output()])


class Growing(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        several = io.Autogrow.TemplatePrefix(io.String.Input("one"), prefix="one", min=1, max=3)
        return io.Schema(
            node_id="Growing", outputs=[io.String.Output(), io.String.Output()],
            inputs=[io.Autogrow.Input("many", template=several), io.MultiCombo.Input("of", options=["a", "b", "c"])],
        )

    @classmethod
    def execute(cls, many, of):
        return io.NodeOutput(" ".join(f"{name}={value}" for name, value in many.items()), ",".join(of))


class Way(str, Enum):
    up = "upwards"
    down = "downwards"


class Resized(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Resized", is_output_node=True, outputs=[io.AnyType.Output()],
            inputs=[io.DynamicCombo.Input("mode", options=[
                io.DynamicCombo.Option("by size", [io.Int.Input("value"), io.Combo.Input("way", options=Way)]),
                io.DynamicCombo.Option("by name", [io.String.Input("value"), io.Image.Input("image")]),
                io.DynamicCombo.Option("never", []),
            ])],
        )

    @classmethod
    async def execute(cls, mode):
        await ComfyAPI().execution.set_progress(1, 2)
        if mode["mode"] == "never":
            return io.NodeOutput(block_execution="never")
        picture = mode.get("image")
        shown = ui.PreviewText(str(sorted(mode))) if picture is None else ui.PreviewImage(picture, cls=cls)
        return io.NodeOutput(mode["value"], ui=shown)


class Told(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Seeing", inputs=[io.ClipVision.Input("seen")], outputs=[io.Int.Output()])


class Mine(ComfyExtension):
    async def get_node_list(self):
        return [Doubled, Same, WithModel, Growing, Resized, Told]


async def comfy_entrypoint():
    return Mine()
"""
BAD = """
import os
import time
import sys


def kind(name, act):
    return type(name, (), {
        "FUNCTION": "act", "RETURN_TYPES": ("INT",), "CATEGORY": "bad", "act": act,
        "INPUT_TYPES": classmethod(lambda cls: {"required": {"n": ("INT", {"default": 1})}}),
    })


def fails(self, n):
    raise RuntimeError("it does not work")


def dies(self, n):
    print("the last words", file=sys.stderr, flush=True)
    os._exit(3)


def sleeps(self, n):
    time.sleep(600)


def gives(self, n):
    return (object(),)


def few(self, n):
    return ()


def quits(self, n):
    raise SystemExit(0)


NODE_CLASS_MAPPINGS = {
    "Fails": kind("Fails", fails), "Dies": kind("Dies", dies), "Sleeps": kind("Sleeps", sleeps),
    "Gives": kind("Gives", gives), "Few": kind("Few", few), "Quits": kind("Quits", quits),
    "Fine": kind("Fine", lambda self, n: (n + 1,)), "No class": 5,
}
"""


def write(folder: Path, name: str, text: str, **more: str) -> Path:
    """Write a pack with an __init__.py and further modules."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "__init__.py").write_text(text)
    for module, content in more.items():
        (place / f"{module}.py").write_text(content)
    return place
