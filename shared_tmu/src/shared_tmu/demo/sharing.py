"""Shares portions of the images among the workers of a Ray cluster, through Ray Data."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from shared_tmu.demo.portion_worker import Assignment, Outcome, Portion, PortionWorker
from shared_tmu.demo.ray_cluster import needs_of
from shared_tmu.errors import InputError


def outcomes(ray: Any, task: Assignment, portions: Sequence[Portion], workers: int) -> Iterator[Outcome]:
    """What the workers return, as it arrives; of a portion whose worker or machine was lost, anything may be
    missing.

    Args:
        ray: Ray, connected.
        task: what every worker is told.
        portions: what they share.
        workers: number of workers, see `count_workers`.

    Raises:
        InputError: workers cannot be started, or Ray itself failed.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns of workers that have all of a machine
    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = settings.print_on_execution_start = False
    settings.max_errored_blocks = -1  # any number
    settings.max_consecutive_actor_init_deaths = workers
    data = ray.data.from_items(
        [{"portion": pickle.dumps(portion, protocol=5)} for portion in portions],
        override_num_blocks=len(portions),
    )
    with warnings.catch_warnings():
        # Ray has no other way to limit retries before 2.64, where this one ends; without a limit, an image
        # that kills every worker would never end
        warnings.filterwarnings("ignore", message="`ray_remote_args_fn`")
        rows = data.flat_map(
            PortionWorker,
            fn_constructor_args=(task,),
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            **needs_of(task.options.device, task.threads),
            ray_remote_args_fn=lambda: {"max_task_retries": 0},
        )
    try:
        for row in rows.iter_rows():
            yield pickle.loads(row["outcome"])
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:500]
        raise InputError(
            f"the Ray cluster cannot go on ({reason}); finished images are complete: when it is well again, "
            "run the same command with --resume."
        ) from error
