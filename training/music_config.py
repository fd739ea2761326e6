"""The config of the recipe `music`."""

from __future__ import annotations

import dataclasses

from training import checks
from training.checks import refuse
from training.config import RecipeConfig
from training.models.music import CONTEXT, HOP, MOST_FRAMES, ModelConfig
from training.models.music_gan import EARS_REACH


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
    gan_learning_rate: float = 3e-4
    """of Adam, for generator and critic; autoencoder and ears have `learning_rate`"""
    heard: int = 500
    """composed pieces whose key and tempo are listened for at the end, where the built-in world is learned"""
    key_weight: float = 1.0
    """of the loss of a key that the ears do not hear"""
    beat_weight: float = 1.0
    """of the loss of beats that the ears do not hear where they should be"""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(self, world_size=1, autoencoder_steps=1, heard=1)
        checks.positive(self, "gan_learning_rate")
        if self.batch_size < 2:
            raise refuse("batch_size", self.batch_size, "at least 2 (BatchNorm and the critic compare pieces)")
        most = int(self.seconds * self.model.rate) // HOP
        if most + 2 * CONTEXT > MOST_FRAMES:
            longest = (MOST_FRAMES - 2 * CONTEXT) * HOP / self.model.rate
            raise refuse("seconds", self.seconds, f"at most {longest:g} at {self.model.rate} Hz")
        for name, least in (("autoencoder_frames", 2 * CONTEXT + 8), ("gan_frames", 2 * EARS_REACH + 40)):
            if not least <= getattr(self, name) <= most:
                raise refuse(
                    name, getattr(self, name), f"from {least} to {most}, the frames of a piece of {self.seconds:g} s"
                )
