"""The learner of `music`: two phases with one state.

Phase 1 learns encoder and decoder: the L1 between the levels of semitones that the encoder sees and those that the
decoder plays, and, for a part of the batch, since it costs most, a multi-resolution STFT loss of the sound itself.
Phase 2 keeps them (their averages) and learns generator, critic and ears over latents: hinge losses (Lim 2017,
"Geometric GAN", arXiv:1705.02894) with spectral normalisation (Miyato 2018, arXiv:1802.05957), and what the ears hear
of key and beats (the auxiliary classifier of Odena 2017, arXiv:1610.09585, which here learns from real music alone):
the key once in the latents, and once in the pitch classes that the decoder plays of them.

Dimensions: B windows, F latent frames, C latent channels, T samples.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import ema, mel
from training.loop import Figures
from training.models.music import ANALYSIS, CONTEXT, HOP, STRIDE, Encoder, ModelConfig, level, turns_at
from training.models.music_gan import EARS_REACH, PHRASE, REACH, UNITS, Critic, Ears, Music, held, places, waves
from training.music_config import Config
from training.optimization import Optimization
from training.precision import pick
from training.seeding import seeded, step_seed
from training.state import load_networks, network_tensors

COMPARED = 8  # one window in so many has its sound compared, one at least
LEVELS_WEIGHT = 10.0


class MusicLearner:
    """All networks, their averages, which are served, and their optimizers."""

    def __init__(self, config: Config, model: ModelConfig, device: str) -> None:
        self.config, self.model, self.device = config, model, torch.device(device)
        with seeded(config.seed):
            self.music, self.encoder = Music(model), Encoder(model)
            self.critic, self.ears = Critic(model), Ears(model)
        for network in self._networks().values():
            network.to(device)
        self.average, self.encoder_average = copy.deepcopy(self.music).eval(), copy.deepcopy(self.encoder).eval()
        self.average.requires_grad_(False)
        slow, betas = config.gan_learning_rate, (0.5, 0.99)
        auto = [*self.encoder.parameters(), *self.music.decoder.parameters()]
        self.optimization = Optimization(
            pick(config.precision, device),
            {
                "autoencoder": torch.optim.Adam(auto, config.learning_rate, fused=True),
                "generator": torch.optim.Adam(self.music.generator.parameters(), slow, betas, fused=True),
                "critic": torch.optim.Adam(self.critic.parameters(), slow, betas, fused=True),
                "ears": torch.optim.Adam(self.ears.parameters(), config.learning_rate, fused=True),
            },
        )

    def _networks(self) -> dict[str, nn.Module]:
        return {"music": self.music, "encoder": self.encoder, "critic": self.critic, "ears": self.ears}

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

    def learn_sound(self, sound: Tensor, first: Tensor, step: int) -> Figures:
        """A step of phase 1: windows (B, T) of pieces, which begin at samples `first` (B,). Returns the losses."""
        sound, turns = sound.to(self.device), turns_at(first, self.model).to(self.device)
        compared = max(1, len(sound) // COMPARED)
        wanted = sound[:compared, CONTEXT * HOP : -CONTEXT * HOP]
        with self.optimization.cast():
            seen = self.encoder.see(sound)
            audio, strengths = self.music.decoder.played(self.encoder.squeeze(seen), turns)
        played = F.avg_pool1d(level(strengths.float()), ANALYSIS // STRIDE)
        levels = ((played - seen).abs() * (0.2 + seen.clamp(min=0.0))).mean()  # what is loud counts more
        stft = mel.multi_resolution_stft(audio[:compared], wanted)
        self.optimization.minimize("autoencoder", stft + LEVELS_WEIGHT * levels)
        self.optimization.end_step()
        decay = self.config.ema_decay(step)
        ema.update(self.average.decoder, self.music.decoder, decay)
        ema.update(self.encoder_average, self.encoder, decay)
        return {"stft": float(stft.detach()), "levels": float(levels.detach())}

    def learn_music(self, real: Tensor, key: Tensor, beats: Tensor, step: int) -> Figures:
        """A step of phase 2: latents (B, C, F) of windows, keys (B,), places (B, F + 2 REACH). Returns the losses."""
        noise = self._noise(beats, step_seed(self.config.seed, step)).to(self.device)
        real, key = real.to(self.device), key.to(self.device)
        told = (beats % PHRASE).float().to(self.device)
        inner = told[:, REACH:-REACH]
        place = waves(inner)[:, :, EARS_REACH:-EARS_REACH]
        with self.optimization.cast():
            fake = self.music.generator(noise, key, told).float()
            real_logits, fake_logits = self.critic(real, key, inner), self.critic(fake.detach(), key, inner)
            named, placed = self.ears(real)
        critic = F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()
        self.optimization.minimize("critic", critic)
        heard = F.cross_entropy(named.float(), key) + F.mse_loss(placed.float(), place)
        heard = heard + F.cross_entropy(self.ears.named(self.average.decoder.strengths(real)[0]), key)
        self.optimization.minimize("ears", heard)
        with self.optimization.cast():
            logits = self.critic(fake, key, inner).float()
            named, placed = self.ears(fake)
        played = self.ears.named(self.average.decoder.strengths(fake)[0])
        wrong_key = F.cross_entropy(named.float(), key) + F.cross_entropy(played, key)
        wrong_beats = F.mse_loss(placed.float(), place)
        loss = -logits.mean() + self.config.key_weight * wrong_key + self.config.beat_weight * wrong_beats
        self.optimization.minimize("generator", loss)
        self.optimization.end_step()
        decay = self.config.ema_decay(step - self.config.autoencoder_steps)
        ema.update(self.average.generator, self.music.generator, decay)
        return {
            "generator": float(-logits.detach().mean()),
            "critic": float(critic.detach()),
            "wrong_key": float(wrong_key.detach()),
            "wrong_beats": float(wrong_beats.detach()),
        }

    @torch.no_grad()
    def latents(self, sound: Tensor) -> Tensor:
        """Latents (B, C, F) of whole pieces (B, T), by the averaged encoder."""
        latents: Tensor = self.encoder_average(sound.to(self.device))
        return latents.cpu()

    @torch.no_grad()
    def back(self, sound: Tensor) -> Tensor:
        """Pieces (B, T) through the averaged autoencoder -> (B, T - 2 CONTEXT HOP)."""
        begin = turns_at(torch.zeros(len(sound), dtype=torch.int64), self.model).to(self.device)
        audio: Tensor = self.average.decoder(self.encoder_average(sound.to(self.device)), begin)
        return audio.cpu()

    @torch.no_grad()
    def compose(self, keys: Tensor, tempos: Tensor, frames: int, seed: int) -> Tensor:
        """Pieces (B, frames * HOP) of the averaged networks, for keys (B,), tempos (B,) in beats a minute."""
        parts = []
        for at in range(0, len(keys), 16):
            key, tempo = keys[at : at + 16], tempos[at : at + 16]
            begin = torch.full((len(key),), -(CONTEXT + REACH))
            beats = places(tempo, begin, frames + 2 * (CONTEXT + REACH), self.model.rate) + PHRASE
            noise = self._noise(beats, step_seed(seed, at)).to(self.device)
            told = (beats % PHRASE).float().to(self.device)
            latents = self.average.generator(noise, key.to(self.device), told)
            turns = turns_at(torch.full((len(key),), -CONTEXT * HOP), self.model).to(self.device)
            parts.append(self.average.decoder(latents, turns).cpu())
        return torch.cat(parts)

    def _noise(self, beats: Tensor, seed: int) -> Tensor:
        phrases = int(beats.max() // PHRASE) + 1
        random = torch.Generator().manual_seed(seed)
        return held(torch.randn(len(beats), phrases, UNITS, self.model.noise, generator=random), beats)
