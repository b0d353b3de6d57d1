"""Events as a file of any kind that they can be written to."""

from __future__ import annotations

import numpy as np

from common.errors import ConfigError, did_you_mean

KINDS = ("mid", "wav", "png", "svg", "musicxml", "json")


def render_music(
    kind: str, events: np.ndarray, steps: int, steps_per_beat: int, bar: int, key: int, tempo: float
) -> bytes:
    """Return the content of a file.

    Args:
      kind: one of KINDS.
      events: int32 [notes, 3], rows (start, duration, pitch).
      steps: how long the piece is.
      steps_per_beat: steps of a quarter note.
      bar: steps of a bar, 0 if not known.
      key: 0 if not known, 1 to 12 major on C, C#, ..., B, 13 to 24 minor.
      tempo: quarter notes a minute.

    Raises:
      ConfigError: there is no such kind.

    >>> render_music("json", np.array([[0, 4, 60]]), 4, 4, 0, 0, 120)
    b'{"steps_per_beat": 4, "bar": 0, "key": 0, "steps": 4, "events": [[0, 4, 60]]}\\n'
    """
    # What each needs is imported where it is wanted, for some of it is slow.
    if kind == "mid":
        from common.music.midi_writer import encode_midi

        return encode_midi(events, steps_per_beat, tempo)
    if kind == "wav":
        from common.music.synth import synthesize_wav

        return synthesize_wav(events, steps_per_beat, tempo, steps=steps)
    if kind in ("png", "svg"):
        from common.music.piano_roll import plot_piano_roll

        return plot_piano_roll(events, steps, steps_per_beat, bar, kind)
    if kind == "musicxml":
        from common.music.musicxml import events_to_musicxml

        return events_to_musicxml(events, steps_per_beat, bar, key, tempo)
    if kind == "json":
        from common.music.musicxml import events_to_json

        return (events_to_json(events, steps, steps_per_beat, bar, key) + "\n").encode()
    known = ", ".join(KINDS[:-1]) + f" or {KINDS[-1]}"
    raise ConfigError(f'Music cannot be written as "{kind}": name one of {known}.{did_you_mean(kind, KINDS)}')
