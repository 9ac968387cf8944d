"""Where the motion comes from that a temporal decoder learns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from shared_tmu.errors import ConfigError
from shared_tmu.temporal.skeletons import HAND, MotionTree
from shared_tmu.training.motion.amass import find_files
from shared_tmu.training.motion.humanoid import PYBULLET, find_clips


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

    @property
    def facts(self) -> dict[str, str | None]:
        """What the motion of files depends on: names without their places, and of folders `motion_files`: how
        many there are, and a digest of their names, sizes and times.

        Raises:
            TMUError: there are no clips of bodies where `humanoid` says.
        """
        found: list[tuple[Path, Path]] = []
        if self.amass is not None:
            found += [(path, self.amass) for path in find_files(self.amass)]
        if self.humanoid is not None and self.humanoid != PYBULLET:
            found += [(path, Path(self.humanoid)) for path in find_clips(self.humanoid)]
        named = {
            "humanoid": None if self.humanoid is None else Path(self.humanoid).name,
            "amass": None if self.amass is None else self.amass.name,
        }
        if not found:
            return named
        told = [
            (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
            for path, folder in found
        ]
        digest = hashlib.sha256(repr(told).encode()).hexdigest()[:16]
        return {**named, "motion_files": f"{len(told)} files, digest {digest}"}

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
