"""Chooses the pictures for each step of a stage; they are drawn, read and moved to the device during
training.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from shared_tmu.training.data import ShardSet
from shared_tmu.training.drawing import Scenes, ShardDrawer, cores
from shared_tmu.training.hard_pictures import LAG, LastLosses, turns
from shared_tmu.training.photos import PREFIX as PHOTO
from shared_tmu.training.photos import PhotoSet, collate, keep_hands, photo_file, unpack
from shared_tmu.training.stopping import ignore_signals

Ticket = tuple[int, int]  # number of the picture, and the seed of its changes
Round = tuple[int, tuple[int, ...]]
FIRST_ON_GPU = 4000  # pictures drawn before a GPU begins to train
VAL_BATCH = 50
WAIT_PART = 0.4  # share of a stage's time limit that may be spent waiting for pictures


class Order(Sampler[list[Ticket]]):
    """Batches of a stage: rounds over all pictures that exist when a round begins.

    The pictures of a step and their random changes depend only on the seed, the step, the number of available
    pictures and their losses, not on the number of reading processes or on interruptions.

    Args:
        seed: seed of the order and the changes.
        steps: steps of the stage.
        batch: pictures per step, over all devices.
        counts: total number of pictures of each set; they are numbered one set after the other.
        available: number of pictures of each set that exist now; together at least one batch.
        extra, extra_per_step: number of further pictures, which have the last numbers, and how many of them
            each step uses in addition to its batch, chosen at random.
        first_step: gives the step with which to begin.
        rank, world: number of this device, and number of devices.
    """

    def __init__(
        self,
        seed: int,
        steps: int,
        batch: int,
        counts: Sequence[int],
        available: Callable[[], Sequence[int]],
        first_step: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world: int = 1,
        extra: int = 0,
        extra_per_step: int = 0,
        hard_share: float = 0.0,
    ) -> None:
        self.seed, self.steps, self.batch = seed, steps, batch
        self.counts, self.available = tuple(counts), available
        self.first_step, self.rank, self.world = first_step, rank, world
        self.extra, self.extra_per_step = extra, extra_per_step
        self.rounds: list[Round] = []
        """For each round so far, its first step and its number of pictures of each set."""
        self.hard_share, self.losses = hard_share, LastLosses(sum(self.counts) if hard_share else 0)
        self.losses_of: dict[int, NDArray[np.float32]] = {}
        """The losses that counted when a round began, by its first step, while it may be resumed."""

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Ticket]]:
        first = self.first_step()
        self.losses.begin(first)
        self.rounds = [one for one in self.rounds if one[0] <= first]
        begin, there = self.rounds[-1] if self.rounds else (first, ())
        order = self._shuffled(begin, there)
        for step in range(first, self.steps):
            if (step - begin + 1) * self.batch > len(order):
                begin, there = step, tuple(self.available())
                self.rounds.append((begin, there))
                self._look_back(begin)
                order = self._shuffled(begin, there)
            start = (step - begin) * self.batch
            rng = np.random.default_rng((self.seed, 1, step))
            chances = rng.integers(1 << 62, size=self.batch + self.extra_per_step)
            others = sum(self.counts) + rng.integers(max(self.extra, 1), size=self.extra_per_step)
            indices = np.concatenate((order[start : start + self.batch], others))
            yield list(zip(indices.tolist(), chances.tolist(), strict=True))[self.rank :: self.world]

    def _shuffled(self, begin: int, there: Sequence[int]) -> NDArray[np.int64]:
        starts = np.cumsum((0, *self.counts))
        pictures = [start + np.arange(count) for start, count in zip(starts, there, strict=False)]
        rng = np.random.default_rng((self.seed, 0, begin))
        numbers = np.concatenate(pictures) if pictures else np.zeros(0, np.int64)
        if begin in self.losses_of and len(numbers):
            numbers = np.repeat(numbers, turns(self.losses_of[begin][numbers], self.hard_share, rng))
        return rng.permutation(numbers)

    def _look_back(self, begin: int) -> None:
        """Keep the losses that count for a round that begins, and forget those of rounds that are over."""
        if self.hard_share:
            over = [one for one in self.losses_of if one <= begin - LAG]
            self.losses_of = {k: v for k, v in self.losses_of.items() if k not in over[:-1]}
            self.losses_of[begin] = self.losses.known(begin)


class Tickets(Dataset[dict[str, Tensor]]):
    """Packed pictures of several sets by ticket, with their `number`; numbered one set after the other."""

    def __init__(self, sets: Sequence[ShardSet | PhotoSet]) -> None:
        self.sets = tuple(sets)
        self.ends = list(accumulate(len(one) for one in sets))

    def __getitem__(self, ticket: tuple[int, int | None]) -> dict[str, Tensor]:
        index, chance = ticket
        number = bisect_right(self.ends, index)
        one = self.sets[number]
        packed = one.packed(index - (self.ends[number - 1] if number else 0), chance)
        is_photo = isinstance(one, PhotoSet)
        return {**packed, (PHOTO if is_photo else "") + "number": torch.tensor(index)}


class OrderLoader(DataLoader[dict[str, Tensor]]):
    """A loader that resumes at the position stored in a checkpoint."""

    def __init__(self, pictures: Dataset[dict[str, Tensor]], order: Order, **options: Any) -> None:
        super().__init__(pictures, batch_sampler=order, **options)
        self.order = order

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        state: dict[str, Any] = {"rounds": [[begin, list(there)] for begin, there in self.order.rounds]}
        if self.order.hard_share:
            of = {begin: torch.from_numpy(losses) for begin, losses in self.order.losses_of.items()}
            state["losses"] = {"last": self.order.losses.state_dict(), "of": of}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.order.rounds = [(begin, tuple(there)) for begin, there in state_dict["rounds"]]
        if self.order.hard_share and "losses" in state_dict:
            self.order.losses.load_state_dict(state_dict["losses"]["last"])
            self.order.losses_of = {k: v.numpy() for k, v in state_dict["losses"]["of"].items()}


class Feed(pl.LightningDataModule):
    """Training and validation pictures of a stage.

    Args:
        pictures: class of their sets.
        drawer: draws missing pictures.
        train, val: sets of scenes.
        steps, batch: steps of the stage, and pictures per step over all devices.
        seed: seed of the order and the changes.
        workers: number of reading processes per device; None chooses by device.
        draw_first: number of pictures that must exist before training begins; None chooses by device.
        is_late: tells whether a given share of the stage's time is over.
        photos: folder of photographs to mix in, if any.
        photos_share: their share of each batch.
        hard_share: see `Order`.
    """

    def __init__(
        self,
        pictures: type[ShardSet],
        drawer: ShardDrawer,
        train: Sequence[Scenes],
        val: Scenes,
        steps: int,
        batch: int,
        seed: int,
        workers: int | None,
        draw_first: int | None,
        is_late: Callable[[float], bool],
        photos: Path | None = None,
        photos_share: float = 0.2,
        hard_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.pictures, self.drawer = pictures, drawer
        self.train, self.val = tuple(train), val
        self.photos, self.photos_per_step = photos, round(photos_share * batch) if photos else 0
        self.steps, self.batch, self.seed = steps, batch - self.photos_per_step, seed
        self.workers, self.draw_first, self.is_late = workers, draw_first, is_late
        self.hard_share = hard_share
        self.note: Callable[[int, Tensor, Tensor], None] = lambda step, numbers, losses: None

    @property
    def _on_gpu(self) -> bool:
        trainer = self.trainer
        assert trainer is not None
        return bool(trainer.strategy.root_device.type == "cuda")

    def prepare_data(self) -> None:
        """Draw all pictures of the validation, and enough pictures to begin training.

        On a CPU all pictures are drawn first, because training would need the same cores; with a GPU, the
        cores are free.
        """
        if self.photos:
            keep_hands(self.photos, self.drawer.cache)
        count = sum(one.count for one in self.train)
        first = self.draw_first or (FIRST_ON_GPU if self._on_gpu else count)
        self.drawer.start(beside_training=first < count)
        self.drawer.wait(self.val, self.val.count)
        self._wait(first, lambda: self.is_late(WAIT_PART))

    def _wait(self, count: int, is_late: Callable[[], bool] = lambda: False) -> list[int]:
        """Wait for a number of pictures, at least one batch, from all sets equally; returns how many of each
        exist.
        """
        part = min(max(count, self.batch) / sum(one.count for one in self.train), 1.0)
        return [self.drawer.wait(one, math.ceil(part * one.count), is_late) for one in self.train]

    def train_dataloader(self) -> OrderLoader:
        """Batches from the next step on."""
        trainer = self.trainer
        assert trainer is not None
        workers = self.workers
        if workers is None:
            workers = max(cores() // 2 // trainer.world_size, 1) if self._on_gpu else 1

        def available() -> list[int]:
            found: list[int] = trainer.strategy.broadcast(self._wait(0) if trainer.is_global_zero else [])
            return found

        sets = [self._open(one, augment=True) for one in self.train]
        photos = [PhotoSet(photo_file(self.photos, self.drawer.cache))] if self.photos else []
        order = Order(
            self.seed,
            self.steps,
            self.batch,
            [one.count for one in self.train],
            available,
            lambda: trainer.global_step,
            trainer.global_rank,
            trainer.world_size,
            sum(len(one) for one in photos),
            self.photos_per_step,
            self.hard_share,
        )
        self.note = order.losses.note
        return OrderLoader(
            Tickets([*sets, *photos]),
            order,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._on_gpu,
            prefetch_factor=4 if workers else None,
            worker_init_fn=ignore_signals,
        )

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """All pictures of the validation, on every device."""
        tickets = [(index, None) for index in range(self.val.count)]
        batches: Any = [tickets[i : i + VAL_BATCH] for i in range(0, len(tickets), VAL_BATCH)]
        return DataLoader(Tickets([self._open(self.val, augment=False)]), batch_sampler=batches)

    def name_of(self, number: int) -> str:
        """The description of a training picture for a message, by its number."""
        for one in self.train:
            if number < one.count:
                return f"scene {number} of seed {one.seed}"
            number -= one.count
        return f"hand {number} of the photographs"

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Make the inputs of the losses, on the device."""
        return unpack(batch, self.pictures.unpack)

    def _open(self, scenes: Scenes, augment: bool) -> ShardSet:
        return self.pictures(
            self.drawer.cache, scenes.seed, scenes.count, scenes.difficulty, augment, processes=0
        )
