"""Nodes that turn text into conditioning."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from latentloom.engine import Advanced, Array, Clip, Cond, Conditioning, Context, Latent, Mentions, Text, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.textual_inversion.words import SOURCE, Embeddings, warn_unusable
from latentloom.nodes.text.entry import entry_of, name_of
from latentloom.nodes.text.prompt_editing import Variant, variants
from latentloom.nodes.text.prompt_times import ALWAYS
from latentloom.nodes.text.prompt_weights import Grammar, parse
from latentloom.nodes.text.vocabulary import unknown_words
from latentloom.nodes.text.webui_syntax import unread_syntax

PromptGrammar = Annotated[
    Literal["a1111", "comfyui", "plain"],
    Field(description="Prompt syntax: that of AUTOMATIC1111, that of ComfyUI, or plain text without any syntax."),
]


ClipSkip = Annotated[
    int,
    Field(
        ge=1,
        le=24,
        description="Layer of the text encoder to use, counted from the end: 1 is the last. Never later than the "
        "layer used in training.",
    ),
]
Prompt = Annotated[
    Text,
    Mentions(SOURCE),
    Field(max_length=20_000, description="Description of the image; in a negative prompt, what to avoid."),
]


def _without_steps(inputs: dict[str, Any], version: int) -> dict[str, Any]:  # noqa: ARG001
    """Migrate version 1, which had the sampler's steps as an input; now only the sampler has them."""
    return {name: value for name, value in inputs.items() if name != "steps"}


@node(
    "CLIPEncode",
    display_name="Prompt",
    aliases=("CLIPTextEncode", "text encode", "clip text", "positive", "negative", "prompt encode", "conditioning"),
    version=2,
    category="conditioning",
    device=True,
    migrate=_without_steps,
)
def clip_encode(
    ctx: Context,
    clip: Clip,
    text: Prompt = "",
    grammar: Annotated[PromptGrammar, Advanced()] = "a1111",
    clip_skip: Annotated[ClipSkip, Advanced()] = 1,
) -> Conditioning:
    """Encode a prompt with a text encoder.

    `(word:1.3)` and `[word]` set weights. `[a:b:0.4]`, `[a:b:8]` and `[a|b]` change the prompt during sampling, by the
    steps of the sampler. BREAK starts a new chunk. Prompts of any length are encoded in chunks of the encoder's length.
    `embedding:name` inserts the vectors of a file in models/embeddings.
    """
    return _encoded(ctx, clip, (text,), grammar, clip_skip)


@node(
    "CLIPEncodeSDXL",
    display_name="Prompt for SDXL",
    aliases=("CLIPTextEncodeSDXL", "two prompts", "refiner"),
    category="conditioning",
    device=True,
)
def clip_encode_sdxl(
    ctx: Context,
    clip: Clip,
    text_l: Prompt = "",
    text_g: Prompt = "",
    grammar: Annotated[PromptGrammar, Advanced()] = "a1111",
    clip_skip: Annotated[ClipSkip, Advanced()] = 1,
) -> Conditioning:
    """Encode a separate prompt for each text encoder of SDXL: `text_l` for ViT-L and `text_g` for ViT-bigG.

    The shorter prompt is padded with empty chunks. The prompt syntax is that of CLIPEncode.
    """
    if clip.info.get("encoders") != ["l", "g"]:
        raise BadValueError(
            f"'{name_of(clip)}' does not have the two text encoders of SDXL",
            expected="'l' and 'g'",
            got=" and ".join(f"'{name}'" for name in clip.info.get("encoders", ["one"])),
            hint="CLIPEncode encodes one prompt with any text encoder",
        )
    return _encoded(ctx, clip, (text_l, text_g), grammar, clip_skip)


@node(
    "EmbeddedGuidance",
    display_name="Guidance of distilled models",
    aliases=("FluxGuidance", "flux guidance", "distilled cfg"),
    category="conditioning",
)
def embedded_guidance(
    conditioning: Conditioning,
    guidance: Annotated[
        float,
        Field(ge=0, le=100, description="Guidance scale: how closely the image follows the prompt; 3.5 is usual."),
    ] = 3.5,
) -> Conditioning:
    """Set the guidance scale of a guidance-distilled model such as Flux.1 dev.

    It replaces the sampler's cfg, which stays at 1, and costs no time. Without this node the scale is 3.5 (Flux.2 dev:
    4). Models without a guidance input, such as Flux.1 schnell, ignore it with a warning.
    """
    entries = [replace(one, extra={**one.extra, "guidance": guidance}) for one in conditioning.entries]
    return Conditioning(entries)


@node(
    "ReferenceLatent",
    display_name="Reference image (latent)",
    aliases=("kontext", "edit", "reference"),
    category="conditioning",
)
def reference_latent(conditioning: Conditioning, latent: Latent) -> Conditioning:
    """Add a reference image for an editing model such as Flux.1 Kontext or Qwen-Image-Edit.

    Connect the latent of VAEEncode. The image keeps its own size. Several nodes in a row add several images, in that
    order. Other models refuse it.
    """

    def shown(entry: Cond) -> Cond:
        number = sum(name.startswith("reference.") for name in entry.arrays)
        return replace(entry, arrays={**entry.arrays, f"reference.{number:02}": Array(latent.numpy())})

    return Conditioning([shown(entry) for entry in conditioning.entries])


def _encoded(ctx: Context, clip: Clip, texts: tuple[str, ...], grammar: Grammar, clip_skip: int) -> Conditioning:
    """Encode each variant of the prompts as an entry; `texts` is one text for all encoders, or one for each."""
    for message in unread_syntax("\n".join(texts), grammar):
        ctx.warn("unread_syntax", message)
    found = variants(*texts) if grammar == "a1111" else (Variant(texts),)
    with ctx.load(clip) as (reader,):
        embeddings = Embeddings(ctx.mentioned, grammar, reader, name_of(clip))
        if reader.encoders:
            _warn(ctx, reader.encoders[0].tokenizer, _bare(found, grammar, embeddings))
        warn_unusable(ctx, embeddings)
        read = {
            one.texts: reader.read(one.texts if len(texts) > 1 else one.text, grammar, clip_skip, embeddings)
            for one in found
        }
    conds = {key: entry_of(clip, told) for key, told in read.items()}
    return Conditioning([replace(conds[one.texts], extra=_times(one)) for one in found])


def _bare(found: Sequence[Variant], grammar: Grammar, embeddings: Embeddings) -> str:
    """Return the words of a prompt's texts, without brackets, weights and embeddings."""
    texts = [text for one in found for text in one.texts]
    sections = [section for text in texts for section in embeddings(parse(text, grammar))]
    return "\n".join("".join(span.text for span in section if span.embedding is None) for section in sections)


def _times(variant: Variant) -> dict[str, Any]:
    """Return the times of an entry; {} for an entry that is always active."""
    said = {name: value for name, value in asdict(variant.times).items() if value != getattr(ALWAYS, name)}
    return {"times": said} if said else {}


def _warn(ctx: Context, tokenizer: Any, text: str) -> None:
    unknown = unknown_words(tokenizer, text)
    if unknown:
        words = ", ".join(f"'{word}'" for word in unknown[:8])
        ctx.warn(
            "unknown_words",
            f"the embedded model does not know {words}: it draws plain shapes in plain colours. "
            "For other pictures add a Stable Diffusion checkpoint: loom models add DIR",
        )


NODES = (clip_encode, clip_encode_sdxl, embedded_guidance, reference_latent)
