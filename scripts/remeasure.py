"""Makes and measures again what depends on the weights of a bundled model, after they were replaced.

    python scripts/remeasure.py --model hamer --list
    python scripts/remeasure.py --model hamer --photos ~/photographs            # all but times
    python scripts/remeasure.py --model hamer --photos ~/photographs --timed    # times; nothing else may run
    python scripts/remeasure.py --model hamer --only masks,stability

First come the files that fit the old weights only: the probe, the decoder, what methods learn. When they are
made, commit them with the weights, because result lines name the commit that they were measured at; then the
same command goes on with everything that is published. What was done for these weights is not done again
(`--fresh` does). A step that fails does not stop the others, and is listed at the end.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bundled import BUNDLED, REPOSITORY, Bundled
from remeasuring import Step, chosen, is_committed, steps

from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path, split_list
from shared_tmu.programs.identity import file_sha256


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit status."""
    given = make_parser().parse_args(arguments)
    model = BUNDLED[given.model]
    photos = given.photos and given.photos.expanduser().resolve()
    if photos and not model.photos:
        raise InputError(
            f"--photos {given.photos} was given, but {model.name} is not measured on photographs: "
            "leave it out."
        )
    if photos and not photos.is_dir():
        raise InputError(f"--photos {given.photos} is no folder: name one that holds photographs of hands.")
    every = steps(given.model, photos)
    only = None if given.only is None else split_list("--only", given.only)
    names = [one.name for one in every]
    if unknown := [name for name in only or () if name not in names]:
        raise InputError(f"--only {unknown[0]}: there is no such step; use some of {', '.join(names)}.")
    done = Done(model)
    if given.list:
        sys.stdout.write("".join(f"{done.mark(one)} {one.name}: {one}\n" for one in every))
        return 0
    asked = chosen(every, only, given.timed or only is not None)
    return run_steps(model, [one for one in asked if given.fresh or not done.holds(one)], done)


def run_steps(model: Bundled, asked: Sequence[Step], done: "Done") -> int:
    """Run steps in their order; returns 1 if one failed.

    Raises:
        InputError: files beside the weights are not committed, and something is to be measured on them.
    """
    failed: list[str] = []
    for number, step in enumerate(asked, 1):
        if not step.writes_file and not is_committed(model, git_status()):
            raise InputError(
                f"{model.checkpoint.parent.relative_to(REPOSITORY)} has changes that are not committed, and "
                "result lines name the commit that they were measured at: commit these files, then run the "
                "same command again."
            )
        sys.stdout.write(f"\n[{number} of {len(asked)}] {step.name}: {step}\n")
        sys.stdout.flush()
        weights = done.weights_for(step)  # before it runs: they may be replaced meanwhile
        if run(step):
            done.keep(step, weights)
            continue
        failed.append(step.name)
        if step.writes_file:
            break  # nothing can be measured without it
    if failed:
        sys.stderr.write(
            f"error: failed: {', '.join(failed)}. The same command, without --fresh, does what is left.\n"
        )
    return 1 if failed else 0


def run(step: Step) -> bool:
    """Run a step's commands until one fails; returns whether none did."""
    folder = REPOSITORY / step.folder
    return all(
        subprocess.run([sys.executable, *words], cwd=folder, check=False).returncode == 0
        for words in step.commands
    )


def git_status() -> str:
    """What differs from the last commit.

    Raises:
        InputError: git does not say.
    """
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    try:
        return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"git does not say whether the weights are committed ({type(error).__name__}): measure in a git "
            "checkout, because result lines name the commit that they were measured at."
        ) from error


class Done:
    """The steps that were done, each with the weights for which it was.

    Args:
        model: whose weights they are.
    """

    def __init__(self, model: Bundled) -> None:
        self.path = model.folder / "results" / f"{model.stem}-remeasured.json"
        self.checkpoint = model.checkpoint

    def weights_for(self, step: Step) -> str:
        """SHA-256 of the weights; for what is measured, of all files beside them, too, since a new decoder or
        probe changes results as new weights do.
        """
        if step.writes_file:
            return file_sha256(self.checkpoint)
        beside = sorted(self.checkpoint.parent.glob(f"{self.checkpoint.stem}.*.safetensors"))
        told = "".join(file_sha256(path) for path in (self.checkpoint, *beside))
        return hashlib.sha256(told.encode()).hexdigest()

    def holds(self, step: Step) -> bool:
        """Whether a step was done for these weights with these commands."""
        found = self._read().get(step.name, {})
        return bool(found.get("weights") == self.weights_for(step) and found.get("command") == str(step))

    def keep(self, step: Step, weights: str) -> None:
        """Note that a step was done for these weights."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"weights": weights, "command": str(step), "finished": now}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps({**self._read(), step.name: line}, indent=1) + "\n")

    def mark(self, step: Step) -> str:
        """One word for a list."""
        return "done   " if self.holds(step) else "timed  " if step.is_timed else "to do  "

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--photos", type=named_path, metavar="DIR", help="folder of photographs of hands")
    add("--only", help="comma-separated list of steps, timed ones among them; see --list")
    add("--timed", action="store_true", help="also measure times: nothing else may run")
    add(
        "--fresh",
        action="store_true",
        help="do it all again; a finished training only writes its file",
    )
    add("--list", action="store_true", help="list all steps; do nothing")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(), "Interrupted; the same command goes on."))
