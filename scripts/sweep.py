"""Evaluate many runs, one job each: models, schedules, methods and sets through hydra's multirun.

    python scripts/sweep.py -m model=hamer,wilor schedule=off,5x20,8x16 method=tome,random
    python scripts/sweep.py -m schedule=off,5x20 hydra/launcher=submitit_local hydra.launcher.timeout_min=600
    python scripts/sweep.py -m schedule=off,5x20 hydra/launcher=submitit_slurm +hydra.launcher.partition=gpu

Jobs run one after the other, or where a launcher sends them: `submitit_slurm` (shared_tmu[sweep]) submits
them to a cluster. All append to the same result lines, those of eval.py: the same command does not repeat
what is finished. A job that fails does not stop the others; such jobs are listed at the end. Further flags of
eval.py go into `flags`, as in flags="'--limit 100 --stability 50'"; hydra wants quotes around spaces.
"""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from shared_tmu.errors import InputError
from shared_tmu.evaluation import main as evaluate
from shared_tmu.files import write_text
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import find_program
from shared_tmu.training.command import describe

PLACE = Path(__file__).resolve().parent
STATUS = "status.json"
INTERRUPTED = 130
CONFIG = {
    "model": "hamer",
    "dataset": None,
    "schedule": "off",
    "method": "tome",
    "mask": "none",
    "unmerge": True,
    "results": None,
    "data_dir": None,
    "rounds": 0,
    "flags": "",
}
"""All settings; those with None are eval.py's defaults."""
HYDRA = {
    "output_subdir": None,
    "job_logging": {"root": {"handlers": ["console"], "level": "WARNING"}},
}


def arguments_of(job: DictConfig) -> list[str]:
    """The command line of eval.py for one job.

    Raises:
        InputError: quotes in `flags` do not close.
    """
    chosen = {"--r": job.schedule, "--method": job.method, "--mask": job.mask, "--rounds": job.rounds}
    places = {"--dataset": job.dataset, "--results": job.results, "--data_dir": job.data_dir}
    given = {**chosen, **{flag: value for flag, value in places.items() if value is not None}}
    pairs = [text for flag, value in given.items() for text in (flag, str(value))]
    try:
        flags = shlex.split(job.flags)
    except ValueError as error:
        raise InputError(f"flags={job.flags!r} cannot be read as a command line: {error}.") from error
    return [*pairs, *([] if job.unmerge else ["--no-unmerge"]), *flags]


def run_job(job: DictConfig) -> int:
    """Evaluate one run; its exit status is kept beside its log, for the end of the sweep."""
    status, told = 1, f"{job.model} {job.schedule} {job.method} {job.flags}"
    try:
        arguments = arguments_of(job)
        told = f"{job.model} {shlex.join(arguments)}"
        status = run_program(lambda: evaluate(find_program(job.model), arguments))
    except SystemExit as end:  # a flag that eval.py does not have; argparse has said which
        status = int(end.code or 0)
    finally:
        folder = Path(HydraConfig.get().runtime.output_dir)
        write_text(folder / STATUS, json.dumps({"status": status, "job": told}))
    if status == INTERRUPTED:  # Ctrl-C ends the sweep, not only this job
        raise KeyboardInterrupt
    return status


def failed_jobs(folder: Path) -> list[str]:
    """Jobs of a sweep that failed, or left nothing because they were killed."""
    kept = sorted(folder.glob("[0-9]*"), key=lambda path: path.name.zfill(9)) or [folder]
    failed = []
    for place in kept:
        try:
            found = json.loads((place / STATUS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = {"status": 1, "job": f"{place} (it left nothing)"}
        if found["status"]:
            failed.append(str(found["job"]))
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, the process's own without one; 0 only if every job succeeded."""
    if arguments is not None:
        sys.argv[1:] = arguments
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised, and told in a sentence here
    folder = Path("multirun", f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.getpid()}")
    places = {"run": {"dir": str(folder)}, "sweep": {"dir": str(folder)}}
    ConfigStore.instance().store("sweep", {**CONFIG, "hydra": {**HYDRA, **places}})
    return run_program(lambda: _sweep(folder))


def _sweep(folder: Path) -> int:
    """The jobs of a command line; those that failed are listed, whatever else happens."""
    status = 0
    try:
        hydra.main(config_name="sweep", config_path=str(PLACE), version_base="1.3")(run_job)()
    except Exception as error:
        status = 1
        if sentence := describe(error):
            sys.stderr.write(f"{sentence}\n")
        else:
            traceback.print_exception(error)
    failed = failed_jobs(folder) if folder.is_dir() else []
    for job in failed:
        sys.stderr.write(f"Not evaluated: {job}\n")
    return 1 if failed else status


if __name__ == "__main__":
    sys.exit(main())
