"""What each device reads through a window, against a simulation of the pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jogak.sharding.padding import local_size
from jogak.sharding.windows import Window, exchange

NOTHING = -1


def read(window: Window, parts: int) -> list[list[int]] | None:
    """The elements that each device has after the exchange, by their numbers in the whole dimension."""
    made = exchange(window, parts)
    if made is None:
        return None
    piece = window.extent if window.whole else local_size(window.extent, parts)
    numbers = [n if n < window.extent else NOTHING for n in range(piece * parts)]
    pieces = [numbers[:piece] if window.whole else numbers[piece * d : piece * (d + 1)] for d in range(parts)]
    found = []
    for device, own in enumerate(pieces):
        low = pieces[device - 1][piece - made.low :] if device and made.low else [NOTHING] * made.low
        high = pieces[device + 1][: made.high] if device + 1 < parts else [NOTHING] * made.high
        extra = [NOTHING] * (made.before - made.low), [NOTHING] * (made.behind - made.high)
        buffer = [*extra[0], *low, *own, *high, *extra[1]]
        start = min(max(made.start + made.step * device, 0), len(buffer) - made.width)
        found.append(buffer[start : start + made.width])
    return found


windows = st.builds(
    Window,
    operand=st.just(0),
    dim=st.just(0),
    extent=st.integers(1, 40),
    iterations=st.integers(1, 40),
    stride=st.integers(1, 3),
    offset=st.integers(-12, 12),
    reach=st.integers(1, 5),
    whole=st.booleans(),
)


@settings(max_examples=500)
@given(windows, st.integers(2, 8))
def test_every_iteration_finds_its_elements(window, parts):
    devices = read(window, parts)
    if devices is None:
        return
    part = local_size(window.iterations, parts)
    for iteration in range(window.iterations):
        device, place = divmod(iteration, part)
        for element in range(window.reach):
            number = iteration * window.stride + window.offset + element
            if 0 <= number < window.extent:
                assert devices[device][place * window.stride + element] == number


def test_a_convolution_that_keeps_its_size_needs_half_its_kernel_from_each_side():
    made = exchange(Window(0, 0, extent=34, iterations=32, reach=3), 4)
    assert made is not None
    assert (made.low, made.high, made.width) == (3, 1, 10)


def test_what_lies_further_than_the_neighbours_does_not_fit():
    assert not Window(0, 0, extent=16, iterations=4, offset=12).fits(4)
    assert Window(0, 0, extent=16, iterations=15, offset=1).fits(4)
