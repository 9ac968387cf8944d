"""Where the motion comes from that a temporal decoder learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared_tmu.errors import ConfigError
from shared_tmu.temporal.skeletons import HAND, MotionTree


@dataclass(frozen=True)
class MotionSources:
    """Where motion comes from.

    Attributes:
        motions: number of procedural motions of hands.
        amass: a folder that is searched for AMASS-layout files, whose hands or bodies are added; None for
            none.
        humanoid: `pybullet`, or a folder of clips in that package's layout, of bodies; None for none.
    """

    motions: int = 0
    amass: Path | None = None
    humanoid: str | None = None

    def check(self, tree: MotionTree) -> None:
        """See that there is motion of this skeleton, and none of another.

        Raises:
            ConfigError: there is not.
        """
        if tree is HAND:
            if self.humanoid is not None:
                raise ConfigError(
                    f"humanoid={self.humanoid} was asked for, but these clips are of bodies and this model "
                    "estimates hands: use motions=600, or amass=FOLDER."
                )
            if not self.motions and self.amass is None:
                raise ConfigError("motions=0 leaves no motion to learn: use motions=600, or amass=FOLDER.")
            return
        if self.motions:
            raise ConfigError(
                f"motions={self.motions} was asked for, but these motions are of hands and this model "
                "estimates bodies: use motions=0 with humanoid=pybullet or amass=FOLDER."
            )
        if self.amass is None and self.humanoid is None:
            raise ConfigError("there is no motion to learn: use humanoid=pybullet or amass=FOLDER.")
