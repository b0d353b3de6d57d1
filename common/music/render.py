"""Events as a file of any kind that they can be written to."""

from __future__ import annotations

import numpy as np

from common.errors import ConfigError, suggestion

KINDS = ("mid", "wav", "png", "svg", "musicxml", "json")


def rendered(kind: str, events: np.ndarray, steps: int, steps_per_beat: int, bar: int, key: int, tempo: float) -> bytes:
    """The content of a file.

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

    >>> rendered("json", np.array([[0, 4, 60]]), 4, 4, 0, 0, 120)
    b'{"steps_per_beat": 4, "bar": 0, "key": 0, "steps": 4, "events": [[0, 4, 60]]}\\n'
    """
    # What each needs is imported where it is wanted, for some of it is slow.
    if kind == "mid":
        from common.music.midi_writer import midi_file

        return midi_file(events, steps_per_beat, tempo)
    if kind == "wav":
        from common.music.synth import wav

        return wav(events, steps_per_beat, tempo, steps=steps)
    if kind in ("png", "svg"):
        from common.music.piano_roll import draw

        return draw(events, steps, steps_per_beat, bar, kind)
    if kind == "musicxml":
        from common.music.musicxml import musicxml

        return musicxml(events, steps_per_beat, bar, key, tempo)
    if kind == "json":
        from common.music.musicxml import events_json

        return (events_json(events, steps, steps_per_beat, bar, key) + "\n").encode()
    known = ", ".join(KINDS[:-1]) + f" or {KINDS[-1]}"
    raise ConfigError(f'Music cannot be written as "{kind}": name one of {known}.{suggestion(kind, KINDS)}')
