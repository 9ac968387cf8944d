"""Late schedules: most tokens are removed in the last layers, with the same FLOPs as another schedule."""

from __future__ import annotations

from .errors import ScheduleError
from .flops import TrunkShape
from .methods import Method, count_costs
from .schedule import Schedule


def late_schedule(
    like: Schedule, shape: TrunkShape, power: float = 2.0, method: str | Method = "tome"
) -> Schedule:
    """The schedule `total:<tokens>^<power>` whose FLOPs are nearest to those of another schedule.

    Layer l of L removes in proportion to (l / L)^power. Tokens stay longer than with a flat schedule, so more
    of them must be removed for the same FLOPs.

    Args:
    like: the schedule whose FLOPs are matched.
    shape: sizes of the trunk.
        power: 2 in the paper.
        method: row of `METHODS`, which determines where in a block tokens are removed.

    Raises:
        ScheduleError: no late schedule is as cheap: with power 2 a trunk saves at most about a quarter.

    Source: arXiv:2610.07758, training-free.
    """
    if like.is_off:
        return like

    def count(schedule: Schedule) -> int:
        return sum(cost.flops for cost in count_costs(method, schedule, shape))

    wanted = count(like)
    late = [Schedule(total=total, power=float(power)) for total in range(shape.num_tokens + 1)]
    costs = [count(schedule) for schedule in late]
    if wanted < min(costs):
        whole = costs[0]
        raise ScheduleError(
            f"schedule '{like}' costs {wanted / whole:.0%} of the FLOPs without merging; late ones with "
            f"power {power:g} cost at least {min(costs) / whole:.0%}: remove fewer tokens, or use a smaller "
            "power."
        )
    return min(zip(costs, late, strict=True), key=lambda pair: abs(pair[0] - wanted))[1]
