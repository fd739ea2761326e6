"""The learner of `music`: two phases with one state.

Phase 1 learns encoder and decoder: the L1 between the levels of semitones that the encoder sees and those that the
decoder plays, and, for a part of the batch, since it costs most, a multi-resolution STFT loss of the sound itself.
Phase 2 keeps them (their averages) and learns generator, reader and critic over latents, by the losses of Zhu 2017
("BicycleGAN", arXiv:1711.11586, section 3.2): what the reader finds in real latents should give them back (L1) and tell
little more than noise does, and the critic should take what noise gives for real, in which the ears should hear the
key (Odena 2017, arXiv:1610.09585). The critic comes late, has little weight and a penalty on its gradient (R1, every
`LAZY` steps as in Karras 2020, arXiv:1912.04958, appendix B): it did win otherwise (docs/log.md).

Dimensions: B windows, F latent frames, C latent channels, T samples.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import ema, mel
from training.gan import r1
from training.loop import Figures
from training.models.music import ANALYSIS, CONTEXT, HOP, STRIDE, Encoder, ModelConfig, level, turns_at
from training.models.music_components import begin_with
from training.models.music_gan import PHRASE, REACH, UNITS, Critic, Ears, Music, Reader, held, places
from training.music_config import Config
from training.optimization import Optimization
from training.precision import pick
from training.seeding import seeded, step_seed
from training.state import load_networks, network_tensors

COMPARED = 8  # one window in so many has its sound compared, one at least
LEVELS_WEIGHT = 10.0
LAZY = 8  # steps between two penalties
CRITIC_RATE = 0.5  # of the generator's
EARS_RATE = 0.03  # of Adam: they have a dozen numbers for each key
SYNTHESIS_RATE = 0.02  # of the learning rate: the waves begin as they should be, and are made softer before purer


class MusicLearner:
    """All networks, their averages, which are served, and their optimizers."""

    def __init__(self, config: Config, model: ModelConfig, device: str) -> None:
        self.config, self.model, self.device = config, model, torch.device(device)
        with seeded(config.seed):
            self.music, self.encoder = Music(model), Encoder(model)
            self.critic, self.reader, self.ears = Critic(model), Reader(model), Ears(model)
        for network in self._networks().values():
            network.to(device)
        self.average, self.encoder_average = copy.deepcopy(self.music).eval(), copy.deepcopy(self.encoder).eval()
        self.average.requires_grad_(False)
        slow, betas = config.gan_learning_rate, (0.5, 0.99)
        waves = list(self.music.decoder.synthesis.parameters())
        others = [*self.encoder.parameters(), *self.music.decoder.strengths_parameters()]
        auto: list[dict[str, Any]] = [
            {"params": others},
            {"params": waves, "lr": config.learning_rate * SYNTHESIS_RATE},
        ]
        self.optimization = Optimization(
            pick(config.precision, device),
            {
                "autoencoder": torch.optim.Adam(auto, config.learning_rate, fused=True),
                "generator": torch.optim.Adam(
                    [*self.music.generator.parameters(), *self.reader.parameters()], slow, betas, fused=True
                ),
                "critic": torch.optim.Adam(self.critic.parameters(), slow, betas, fused=True),
                "ears": torch.optim.Adam(self.ears.parameters(), EARS_RATE, fused=True),
            },
        )

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "music": self.music,
            "encoder": self.encoder,
            "critic": self.critic,
            "reader": self.reader,
            "ears": self.ears,
        }

    def served(self) -> dict[str, Tensor]:
        """The weights of the averaged generator and decoder."""
        return dict(self.average.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Everything else as named tensors."""
        networks = network_tensors(**self._networks(), encoder_average=self.encoder_average)
        return networks | self.optimization.state()

    def load(self, served: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore the outputs of `served` and `state`; strict."""
        self.average.load_state_dict(served)
        load_networks(state, **self._networks(), encoder_average=self.encoder_average)
        self.optimization.load(state)

    def begin(self, pieces: Tensor, key: Tensor) -> None:
        """Set the autoencoder to the principal components of pieces (B, T) in keys (B,), before the first step."""
        begin_with(self.encoder, self.music.decoder, pieces.to(self.device), key.to(self.device))
        self.average.decoder.load_state_dict(self.music.decoder.state_dict())
        self.encoder_average.load_state_dict(self.encoder.state_dict())

    def learn_sound(self, sound: Tensor, key: Tensor, first: Tensor, step: int) -> Figures:
        """A step of phase 1: windows (B, T) of pieces in keys (B,), which begin at samples `first` (B,).

        Returns the losses.
        """
        sound, key, turns = sound.to(self.device), key.to(self.device), turns_at(first, self.model).to(self.device)
        compared = max(1, len(sound) // COMPARED)
        wanted = sound[:compared, CONTEXT * HOP : -CONTEXT * HOP]
        with self.optimization.cast():
            seen = self.encoder.see(sound, key)
            audio, strengths = self.music.decoder.played(self.encoder.squeeze(seen), key, turns)
        played = F.avg_pool1d(level(strengths.float()), ANALYSIS // STRIDE)
        levels = ((played - seen).abs() * (0.2 + seen.clamp(min=0.0))).mean()  # what is loud counts more
        stft = mel.multi_resolution_stft(audio[:compared], wanted)
        self.optimization.minimize("autoencoder", stft + LEVELS_WEIGHT * levels)
        self.optimization.end_step()
        decay = self.config.ema_decay(step)
        ema.update(self.average.decoder, self.music.decoder, decay)
        ema.update(self.encoder_average, self.encoder, decay)
        return {"stft": float(stft.detach()), "levels": float(levels.detach())}

    def learn_music(self, latents: Tensor, key: Tensor, beats: Tensor, step: int) -> Figures:
        """A step of phase 2: latents (B, C, F) of windows in keys (B,), places (B, F) in beats. Returns the losses."""
        config = self.config
        rate, judged = config.gan_rate(step), step > config.autoencoder_steps + config.reading_steps
        for name, share in (("generator", 1.0), ("critic", CRITIC_RATE)):
            self.optimization.set_rate(name, rate * share)
        latents, key, told = latents.to(self.device), key.to(self.device), (beats % PHRASE).float().to(self.device)
        real, inner = latents[:, :, REACH:-REACH], told[:, REACH:-REACH]
        numbers = self._numbers(2, beats, step_seed(config.seed, step))
        with self.optimization.cast():
            read, information = self.reader(latents, key, beats, numbers[1].to(self.device))
            again = self.music.generator(read, key, told).float()
        back = (again - real).abs().mean()
        loss, figures = back + config.information_weight * information, {}
        self.optimization.minimize("ears", self._wrong_key(real, key))
        if judged:
            noise = held(numbers[0], beats).to(self.device)
            with self.optimization.cast():
                fake = self.music.generator(noise, key, told).float()
            wrong_key = self._wrong_key(fake, key)
            figures["critic"] = self._learn_critic(real, fake.detach(), key, inner, step)
            self.critic.requires_grad_(False)
            with self.optimization.cast():
                taken = F.softplus(-self.critic(fake, key, inner).float()).mean()
            loss = loss + config.critic_weight * taken + config.key_weight * wrong_key
            figures |= {"generator": float(taken.detach()), "wrong_key": float(wrong_key.detach())}
        self.optimization.minimize("generator", loss)
        self.critic.requires_grad_(True)
        self.optimization.end_step()
        decay = config.ema_decay(step - config.autoencoder_steps)
        ema.update(self.average.generator, self.music.generator, decay)
        return {"back": float(back.detach()), "information": float(information.detach()), **figures}

    def _wrong_key(self, latents: Tensor, key: Tensor) -> Tensor:
        """The cross-entropy of the keys (B,) that the ears hear in latents (B, C, F)."""
        heard = self.ears(self.average.decoder.levels(latents), key)
        return F.cross_entropy(heard, torch.zeros_like(key))

    def _learn_critic(self, real: Tensor, fake: Tensor, key: Tensor, inner: Tensor, step: int) -> float:
        """A step of the critic by latents (B, C, F) of both kinds; its loss."""
        with self.optimization.cast():
            logits = self.critic(real, key, inner), self.critic(fake, key, inner)
        loss = F.softplus(-logits[0].float()).mean() + F.softplus(logits[1].float()).mean()
        penalized = loss
        if step % LAZY == 0:
            gradient = r1(lambda seen: self.critic(seen, key, inner).mean(dim=1), real)
            penalized = loss + LAZY * self.config.penalty * gradient
        self.optimization.minimize("critic", penalized)
        return float(loss.detach())

    @torch.no_grad()
    def latents(self, sound: Tensor, key: Tensor) -> Tensor:
        """Latents (B, C, F) of whole pieces (B, T) in keys (B,), by the averaged encoder."""
        latents: Tensor = self.encoder_average(sound.to(self.device), key.to(self.device))
        return latents.cpu()

    @torch.no_grad()
    def back(self, sound: Tensor, key: Tensor) -> Tensor:
        """Pieces (B, T) in keys (B,) through the averaged autoencoder -> (B, T - 2 CONTEXT HOP)."""
        key = key.to(self.device)
        begin = turns_at(torch.zeros(len(sound), dtype=torch.int64), self.model).to(self.device)
        audio: Tensor = self.average.decoder(self.encoder_average(sound.to(self.device), key), key, begin)
        return audio.cpu()

    @torch.no_grad()
    def compose(self, keys: Tensor, tempos: Tensor, frames: int, seed: int) -> Tensor:
        """Pieces (B, frames * HOP) of the averaged networks, for keys (B,), tempos (B,) in beats a minute."""
        parts = []
        for at in range(0, len(keys), 16):
            key, tempo = keys[at : at + 16], tempos[at : at + 16]
            begin = torch.full((len(key),), -(CONTEXT + REACH))
            beats = places(tempo, begin, frames + 2 * (CONTEXT + REACH), self.model.rate) + PHRASE
            noise = held(self._numbers(1, beats, step_seed(seed, at))[0], beats).to(self.device)
            told = (beats % PHRASE).float().to(self.device)
            key = key.to(self.device)
            latents = self.average.compose(noise, key, told)
            turns = turns_at(torch.full((len(key),), -CONTEXT * HOP), self.model).to(self.device)
            parts.append(self.average.decoder(latents, key, turns).cpu())
        return torch.cat(parts)

    def _numbers(self, sets: int, beats: Tensor, seed: int) -> Tensor:
        """Normal random numbers (sets, B, phrases, UNITS, Z / 4) for the units that places (B, F) lie in."""
        phrases = int(beats.max() // PHRASE) + 1
        random = torch.Generator().manual_seed(seed)
        return torch.randn(sets, len(beats), phrases, UNITS, self.model.noise, generator=random)
