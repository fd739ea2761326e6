"""The sounds that the digits of the spoken world are made of: targets of a formant synthesiser.

Formants of vowels as Peterson and Barney 1952 ("Control methods used in a study of the vowels", table II, men) found
them, rounded; those of the other sounds, and how loud voice and noise are, after Klatt 1980 ("Software for a
cascade/parallel formant synthesizer", tables II and III).
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Phone:
    """What the voice aims at. Frequencies in Hz of a vocal tract of middle length, strengths from 0 to 1."""

    formants: tuple[float, float, float]
    voice: float = 0.0
    """of the vibrating vocal folds"""
    breath: float = 0.0
    """of noise that passes through the formants"""
    hiss: float = 0.0
    """of noise that is made in front of them"""
    centre: float = 4000.0
    """of the hiss"""
    width: float = 3000.0
    """of the band of the hiss"""
    damping: float = 1.0
    """of the formants: the nose damps"""


_SILENT = (450.0, 1500.0, 2500.0)
_S = {"centre": 6200.0, "width": 1900.0}
_F = {"centre": 4300.0, "width": 5200.0}
PHONES = {
    "i": Phone((290, 2280, 3000), voice=0.9),
    "I": Phone((400, 1980, 2560), voice=0.9),
    "e": Phone((530, 1840, 2480), voice=1.0),
    "a": Phone((740, 1180, 2440), voice=1.0),
    "V": Phone((640, 1190, 2390), voice=1.0),
    "@": Phone((500, 1450, 2450), voice=0.7),
    "O": Phone((560, 850, 2410), voice=1.0),
    "o": Phone((450, 800, 2350), voice=1.0),
    "u": Phone((310, 870, 2240), voice=0.9),
    "w": Phone((300, 640, 2200), voice=0.55),
    "r": Phone((360, 1150, 1560), voice=0.65),
    "n": Phone((270, 1350, 2450), voice=0.45, damping=1.8),
    "v": Phone((290, 1100, 2350), voice=0.35, hiss=0.07, **_F),
    "z": Phone((290, 1500, 2550), voice=0.28, hiss=0.28, **_S),
    "s": Phone((320, 1500, 2550), hiss=0.55, **_S),
    "f": Phone((340, 1100, 2300), hiss=0.22, **_F),
    "T": Phone((320, 1350, 2550), hiss=0.14, centre=5200, width=4600),
    "t": Phone((320, 1750, 2650), hiss=0.60, centre=4400, width=2600),
    "k": Phone((320, 1900, 2400), hiss=0.55, centre=1900, width=900),
    "h": Phone((400, 1200, 2400), breath=0.35),
    "-": Phone(_SILENT),
}
# For each digit its sounds, each with its share of the length.
DIGITS: dict[str, tuple[tuple[str, float], ...]] = {
    "0": (("z", 0.7), ("I", 0.8), ("r", 0.6), ("o", 1.4)),
    "1": (("w", 0.6), ("V", 1.2), ("n", 0.9)),
    "2": (("t", 0.25), ("h", 0.2), ("u", 1.6)),
    "3": (("T", 0.6), ("r", 0.5), ("i", 1.5)),
    "4": (("f", 0.7), ("O", 1.3), ("r", 0.9)),
    "5": (("f", 0.6), ("a", 1.0), ("I", 0.7), ("v", 0.5)),
    "6": (("s", 0.8), ("I", 0.7), ("-", 0.35), ("k", 0.2), ("s", 0.8)),
    "7": (("s", 0.7), ("e", 0.8), ("v", 0.4), ("@", 0.4), ("n", 0.7)),
    "8": (("e", 0.9), ("i", 0.8), ("-", 0.4), ("t", 0.3)),
    "9": (("n", 0.6), ("a", 1.0), ("I", 0.8), ("n", 0.6)),
}
