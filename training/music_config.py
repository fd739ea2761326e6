"""The config of the recipe `music`."""

from __future__ import annotations

import dataclasses

from training import checks
from training.checks import refuse
from training.config import RecipeConfig
from training.gan import falling
from training.models.music import CONTEXT, HOP, MOST_FRAMES, ModelConfig
from training.models.music_gan import REACH


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig):
    """The config of the recipe. Steps up to `autoencoder_steps` train the autoencoder, the others the GAN."""

    model: ModelConfig = ModelConfig()
    data: str = "melodies"
    """`melodies` for the composed world, or directories or .zip files of MIDI files, divided by commas"""
    world_size: int = 300
    """how many pieces the composed world has"""
    seconds: float = 6.0
    """length of a piece of the world, or of the clips that MIDI files are cut into"""
    transpose: bool = True
    """move every clip of a MIDI file by up to six semitones, so that all keys occur"""
    retime: bool = True
    """play every clip of a MIDI file at a tempo from 80 to 150 beats a minute in place of its own"""
    autoencoder_steps: int = 10_000
    """steps of the first phase"""
    autoencoder_frames: int = 64
    """latent frames (32 ms at 16 kHz) of a window of the first phase"""
    gan_frames: int = 96
    """latent frames of a window of the second phase"""
    reading_steps: int = 5_000
    """steps at the beginning of the second phase in which the critic has no say yet"""
    gan_learning_rate: float = 3e-4
    """of Adam, for generator and reader, and half of it for the critic; the autoencoder has `learning_rate`"""
    fall_steps: int | None = None
    """step at which the rate of the second phase has fallen to nothing, evenly in its second half; absent: never"""
    heard: int = 500
    """composed pieces whose key and tempo are listened for at the end, where the built-in world is learned"""
    information_weight: float = 0.015
    """of what the reader tells beyond noise, in nats a frame; the error of the latents has 1"""
    critic_weight: float = 0.005
    """of the critic's judgement"""
    key_weight: float = 0.02
    """of a key that the ears do not hear"""
    penalty: float = 10.0
    """of the critic's squared gradient at real latents (R1)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(self, world_size=1, autoencoder_steps=1, reading_steps=0, heard=1)
        checks.positive(self, "gan_learning_rate", "information_weight", "critic_weight", "key_weight", "penalty")
        if self.fall_steps is not None and self.fall_steps <= self.autoencoder_steps:
            raise refuse("fall_steps", self.fall_steps, "more than --autoencoder-steps, or none: the rate never falls")
        if self.batch_size < 2:
            raise refuse("batch_size", self.batch_size, "at least 2 (BatchNorm and the critic compare pieces)")
        most = int(self.seconds * self.model.rate) // HOP
        if most + 2 * CONTEXT > MOST_FRAMES:
            longest = (MOST_FRAMES - 2 * CONTEXT) * HOP / self.model.rate
            raise refuse("seconds", self.seconds, f"at most {longest:g} at {self.model.rate} Hz")
        sizes = (("autoencoder_frames", 2 * CONTEXT + 8, most), ("gan_frames", 40, most - 2 * REACH))
        for name, least, largest in sizes:
            if not least <= getattr(self, name) <= largest:
                raise refuse(
                    name, getattr(self, name), f"from {least} to {largest}, as a piece of {self.seconds:g} s allows"
                )

    def gan_rate(self, step: int) -> float:
        """The learning rate of a step of the second phase; when it has fallen it stays at what it was in the last."""
        if self.fall_steps is None:
            return self.gan_learning_rate
        begin = self.autoencoder_steps
        return self.gan_learning_rate * falling(step - begin, self.fall_steps - begin)
