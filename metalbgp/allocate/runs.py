"""Two sets of integers: Runs finds gaps by bisection (a full /8 is one entry), Numbers counts by bisection.

In:  add and remove of one number.
Out: Runs.next_gap(x), the lowest absent number >= x, and Runs.next_in(x), the lowest present one, in
     O(log runs); Numbers.count(low, high) in O(log n).
Elsewhere: what the numbers mean is taken.py and sharing.py.
"""

from bisect import bisect_left, bisect_right, insort


class Runs:
    """Runs never touch: neighbours are joined, so whatever follows the end of a run is absent."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []

    def _run_of(self, number: int) -> int | None:
        """The index of the run that holds the number."""
        index = bisect_right(self._first, number) - 1
        return index if index >= 0 and number <= self._last[index] else None

    def __contains__(self, number: int) -> bool:
        return self._run_of(number) is not None

    def next_gap(self, number: int) -> int:
        index = self._run_of(number)
        return number if index is None else self._last[index] + 1

    def next_in(self, number: int) -> int | None:
        if self._run_of(number) is not None:
            return number
        right = bisect_left(self._first, number)
        return self._first[right] if right < len(self._first) else None

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, number: int) -> None:
        """Take the number in; harmless when it is there."""
        if number in self:
            return
        right = bisect_left(self._first, number)
        joins_left = right > 0 and self._last[right - 1] == number - 1
        joins_right = right < len(self._first) and self._first[right] == number + 1
        if joins_left and joins_right:
            self._last[right - 1] = self._last[right]
            del self._first[right], self._last[right]
        elif joins_left:
            self._last[right - 1] = number
        elif joins_right:
            self._first[right] = number
        else:
            self._first.insert(right, number)
            self._last.insert(right, number)

    def remove(self, number: int) -> None:
        """Take the number out; harmless when it is not there."""
        index = self._run_of(number)
        if index is None:
            return
        first, last = self._first[index], self._last[index]
        if first == last:
            del self._first[index], self._last[index]
        elif number == first:
            self._first[index] = number + 1
        elif number == last:
            self._last[index] = number - 1
        else:
            self._last[index] = number - 1
            self._first.insert(index + 1, number + 1)
            self._last.insert(index + 1, last)

    def count(self, low: int, high: int) -> int:
        """How many numbers of low..high are in the set; O(runs between)."""
        start = max(bisect_right(self._first, low) - 1, 0)
        stop = bisect_right(self._first, high)
        return sum(
            max(0, min(last, high) - max(first, low) + 1)
            for first, last in zip(self._first[start:stop], self._last[start:stop], strict=True)
        )


class Numbers:
    """A sorted list: what is counted is rarely contiguous, and its members are few beside a pool."""

    def __init__(self) -> None:
        self._all: list[int] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._all, number)
        return at < len(self._all) and self._all[at] == number

    def add(self, number: int) -> None:
        if number not in self:
            insort(self._all, number)

    def remove(self, number: int) -> None:
        """Take the number out; harmless when it is not there."""
        if number in self:
            del self._all[bisect_left(self._all, number)]

    def count(self, low: int, high: int) -> int:
        """How many numbers of low..high are in the set."""
        return max(0, bisect_right(self._all, high) - bisect_left(self._all, low))

    def between(self, low: int, high: int) -> list[int]:
        return self._all[bisect_left(self._all, low) : bisect_right(self._all, high)]
