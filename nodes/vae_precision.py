"""VAEPrecision: sets the dtype that a VAE computes in."""

from typing import Annotated, Literal

from pydantic import Field

from latentloom.engine import Patch, Vae, node


@node(
    "VAEPrecision", display_name="VAE precision", aliases=("fp32", "black images", "NaN", "no half vae"), category="vae"
)
def vae_precision(
    vae: Vae,
    dtype: Annotated[
        Literal["fp32", "bf16", "fp16"],
        Field(description="fp32 is the most accurate and needs twice the memory of the others."),
    ] = "fp32",
) -> Vae:
    """Set the precision that a VAE computes in, independent of the models.

    fp32 gives the most accurate colours. The original SDXL VAE overflows in fp16 and needs fp32 or bf16.
    """
    return vae.patched(Patch("precision", {"dtype": dtype}))


NODES = (vae_precision,)
