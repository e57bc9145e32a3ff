"""What the tensors of an op say of its factors, and whom the op follows where they disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from jogak.sharding.projection import Axes


@dataclass(frozen=True)
class Claim:
    """A tensor of the node that has a factor split by these axes.

    Attributes:
        weight: its bytes.
        value: which tensor, as whoever collects the claims counts them.
    """

    axes: Axes
    weight: int
    value: int


def strongest(offers: list[Claim]) -> Claim:
    """The longest list that agrees with the heaviest tensor's."""
    heaviest = min(offers, key=lambda claim: (-claim.weight, claim.axes))
    agreeing = [claim for claim in offers if claim.axes[: len(heaviest.axes)] == heaviest.axes]
    return min(agreeing, key=lambda claim: (-len(claim.axes), -claim.weight, claim.axes))


def without_conflicts(claims: dict[int, Claim]) -> dict[int, Claim]:
    """An axis can split only one factor of an op: the one of the heaviest tensor keeps it."""
    owner: dict[str, int] = {}
    for factor, claim in sorted(claims.items(), key=lambda item: (-item[1].weight, item[0])):
        for axis in claim.axes:
            owner.setdefault(axis, factor)
    kept: dict[int, Claim] = {}
    for factor, claim in claims.items():
        axes: list[str] = []
        for axis in claim.axes:
            if owner[axis] != factor:
                break
            axes.append(axis)
        kept[factor] = Claim(tuple(axes), claim.weight, claim.value)
    return kept


def common(offers: list[Claim]) -> Claim:
    """The longest list that contradicts no tensor's: each one begins with it, or is its beginning."""
    longest = min(offers, key=lambda claim: (-len(claim.axes), -claim.weight, claim.axes))
    kept = len(longest.axes)
    for claim in offers:
        both = zip(claim.axes, longest.axes, strict=False)
        same = next((at for at, (own, other) in enumerate(both) if own != other), None)
        kept = kept if same is None else min(kept, same)
    return Claim(longest.axes[:kept], longest.weight, longest.value)


def without_disputed(claims: dict[int, Claim]) -> dict[int, Claim]:
    """An axis that tensors have on several factors of an op goes to none of them."""
    factors: dict[str, set[int]] = {}
    for factor, claim in claims.items():
        for axis in claim.axes:
            factors.setdefault(axis, set()).add(factor)
    kept: dict[int, Claim] = {}
    for factor, claim in claims.items():
        undisputed = next((at for at, axis in enumerate(claim.axes) if len(factors[axis]) > 1), len(claim.axes))
        kept[factor] = Claim(claim.axes[:undisputed], claim.weight, claim.value)
    return kept


def disputes(claims: dict[int, list[Claim]]) -> Iterator[tuple[Claim, Claim]]:
    """Pairs of a claim that is followed and one that cannot be kept beside it."""
    if len(claims) < 2 and not any(len(offers) > 1 for offers in claims.values()):
        return
    chosen = without_conflicts({factor: strongest(offers) for factor, offers in claims.items()})
    for factor, offers in claims.items():
        kept = chosen[factor]
        for offer in offers:
            if offer.axes[: len(kept.axes)] != kept.axes[: len(offer.axes)]:
                yield kept, offer
            elif len(offer.axes) > len(kept.axes):
                lost = offer.axes[len(kept.axes)]
                owner = next((c for f, c in chosen.items() if f != factor and lost in c.axes), None)
                if owner is not None:
                    yield replace(owner, axes=(lost,)), replace(offer, axes=(lost,))
