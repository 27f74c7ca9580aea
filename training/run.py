"""A training run: its phases in order, each resumable, all in one folder.

<out>/ holds tokenizer/, vae.pt, text.pt, latents/, unet.pt, decoder.pt, and sheets of samples as PNG.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from latentloom.training.denoiser import Average, DenoiserSteps
from latentloom.training.export import load_model
from latentloom.training.latents import cache_latents
from latentloom.training.loop import Part, Phase, Writer
from latentloom.training.pictures import grid
from latentloom.training.sample import Model, sample
from latentloom.training.scenes import caption, test_scenes, words
from latentloom.training.settings import Settings
from latentloom.training.team import Team
from latentloom.training.text import Captions, MapHead, TextSteps, create_text_encoder, map_accuracy
from latentloom.training.tokenizer import load_tokenizer, write_tokenizer
from latentloom.training.unet import Epsilon, create_unet
from latentloom.training.vae import DecoderSteps, VaeSteps, create_colours, create_vae, measure_latents, show_round_trip

Weighted = TypeVar("Weighted", bound=torch.nn.Module)
PhaseName = Literal["vae", "text", "unet", "decoder"]
PHASES: tuple[PhaseName, ...] = ("vae", "text", "unet", "decoder")


@dataclass(frozen=True, slots=True)
class Run:
    """One training run in its own folder."""

    settings: Settings
    out: Path
    writer: Writer
    team: Team = field(default_factory=Team)
    base: Path | None = None
    """A model in diffusers' layout with the initial weights of the training; its text encoder may stay unchanged."""

    def train(self, phases: Sequence[PhaseName] = PHASES) -> None:
        """Run phases; phases that were interrupted are resumed."""
        if self.team.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            self.captions()
        self.team.wait()
        trainers = {
            "vae": self.train_vae,
            "text": self.train_text,
            "unet": self.train_unet,
            "decoder": self.train_decoder,
        }
        for phase in phases:
            trainers[phase]()

    def captions(self) -> Captions:
        """Return the tokenizer; it is written first if it does not exist."""
        folder = self.out / "tokenizer"
        if not folder.exists():
            write_tokenizer(folder, words())
        return Captions(load_tokenizer(folder))

    def train_vae(self) -> None:
        """Train the autoencoder."""
        vae, colours = self._vae(), create_colours()
        weights = [*vae.parameters(), *colours.parameters()]
        optimizer = torch.optim.AdamW(weights, self.settings.vae.rate, betas=(0.9, 0.99), weight_decay=1e-4)
        phase = self._phase("vae", optimizer, {"vae": vae, "colours": colours})

        def show() -> None:
            error = show_round_trip(vae, self.settings.seed, self.out / "vae.png")
            self.writer.line(f"vae: mean error {error:.4f}")

        phase.run(VaeSteps(vae, colours, self.settings, lambda: phase.share), show)

    def train_text(self) -> None:
        """Train the text encoder to predict the map of the scene."""
        captions, text = self.captions(), self.settings.text
        encoder = self._encoder(captions)
        head = MapHead(text.width, text.heads)
        weights = [*encoder.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(weights, text.rate, betas=(0.9, 0.99), weight_decay=1e-2)
        phase = self._phase("text", optimizer, {"encoder": encoder, "head": head})
        scenes = test_scenes(self.settings.seed, 1, 100) + test_scenes(self.settings.seed, 2, 100)

        def show() -> None:
            self.writer.line(f"text: {map_accuracy(encoder, head, captions, scenes):.1%} of held-out maps right")

        phase.run(TextSteps(encoder, head, captions, self.settings), show)

    def train_unet(self) -> None:
        """Encode the pictures, then train the denoiser on them."""
        captions, settings = self.captions(), self.settings
        vae = self._encoding_vae()
        if not self.team.leads:
            self.team.wait()
        data = cache_latents(vae, self.out / "latents", settings.seed, settings.unet.pictures, self.writer)
        if self.team.leads:
            self.team.wait()
        encoder, unet = self._trained_encoder(captions), self._unet()
        average = Average(unet, settings.unet.average)
        optimizer = torch.optim.AdamW(unet.parameters(), settings.unet.rate, betas=(0.9, 0.99), weight_decay=1e-2)
        phase = self._phase("unet", optimizer, {"unet": unet, "average": average})
        scenes = test_scenes(settings.seed, 1, 8) + test_scenes(settings.seed, 2, 24)
        said = [caption(scene) for scene in scenes]

        def show() -> None:
            model = Model(self._averaged(average), vae, encoder, captions)
            grid(sample(model, said, seed=0, cfg=5.0), 8).save(self.out / "samples.png")

        objective = Epsilon(settings.unet.gamma)
        phase.run(DenoiserSteps(unet, encoder, captions, data, average, objective, settings.unet, settings.seed), show)

    def train_decoder(self) -> None:
        """Train the decoder further. The encoder is frozen, because the UNet was trained on its latents."""
        vae = self._encoding_vae()
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
        weights = [weight for weight in vae.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, self.settings.vae.decoder_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        phase = self._phase("decoder", optimizer, {"vae": vae})

        def show() -> None:
            error = show_round_trip(vae, self.settings.seed, self.out / "decoder.png")
            self.writer.line(f"decoder: mean error {error:.4f}")

        phase.run(DecoderSteps(vae, self.settings), show)

    def trained_vae(self) -> AutoencoderKL:
        """Return the autoencoder of the checkpoints, with a measured scaling factor."""
        vae = self._encoding_vae()
        if (self.out / "decoder.pt").exists():
            vae.load_state_dict(self._state("decoder")["vae"])
        return vae

    def _encoding_vae(self) -> AutoencoderKL:
        vae = self._vae()
        vae.load_state_dict(self._state("vae")["vae"])
        vae.eval().register_to_config(scaling_factor=measure_latents(vae, self.settings.seed))
        return vae

    def model(self) -> Model:
        """Return the averaged model of the checkpoints, at any time during training."""
        captions = self.captions()
        average = Average(self._unet(), self.settings.unet.average)
        average.load_state_dict(self._state("unet")["average"])
        return Model(self._averaged(average), self.trained_vae(), self._trained_encoder(captions), captions)

    def progress(self, phase: PhaseName) -> dict[str, float]:
        """Return the seconds, steps and pictures of a phase so far."""
        return self._state(phase)["progress"]

    def _averaged(self, average: Average) -> UNet2DConditionModel:
        unet = self._unet()
        unet.load_state_dict(average.weights)
        return unet.eval()

    def _trained_encoder(self, captions: Captions) -> CLIPTextModel:
        encoder = self._encoder(captions)
        if self.base is None or (self.out / "text.pt").exists():
            encoder.load_state_dict(self._state("text")["encoder"])
        return encoder.eval()

    def _vae(self) -> AutoencoderKL:
        torch.manual_seed(self.settings.seed)
        return self._started(create_vae(self.settings.vae.channels), "vae")

    def _encoder(self, captions: Captions) -> CLIPTextModel:
        torch.manual_seed(self.settings.seed)
        return self._started(create_text_encoder(self.settings.text, captions.tokenizer), "encoder")

    def _unet(self) -> UNet2DConditionModel:
        torch.manual_seed(self.settings.seed)
        return self._started(create_unet(self.settings), "unet")

    def _started(self, module: Weighted, part: str) -> Weighted:
        if self.base is not None:
            module.load_state_dict(getattr(load_model(self.base), part).state_dict())
        return module

    def _phase(self, name: PhaseName, optimizer: torch.optim.Optimizer, parts: dict[str, Part]) -> Phase:
        settings = self.settings
        return Phase(
            name,
            self.out,
            settings.minutes * 60 * settings.shares[PHASES.index(name)],
            optimizer,
            parts,
            self.writer,
            settings.checkpoint_every,
            self.team,
        )

    def _state(self, phase: PhaseName) -> dict:
        return torch.load(self.out / f"{phase}.pt", weights_only=True)
