"""VAEPrecision: sets the dtype that a VAE computes in."""

from typing import Annotated, Literal

from pydantic import Field

from latentloom.engine import Patch, Vae, node


@node("VAEPrecision", category="vae")
def vae_precision(
    vae: Vae,
    dtype: Annotated[
        Literal["fp32", "bf16", "fp16"], Field(description="fp32 is exact and takes twice the memory of the others.")
    ] = "fp32",
) -> Vae:
    """Let a VAE compute in a type of its own, whatever the models compute in.

    fp32 gives the truest colours; SDXL's first VAE needs it (or bf16), because fp16 is too small for it.
    """
    return vae.patched(Patch("precision", {"dtype": dtype}))


NODES = (vae_precision,)
