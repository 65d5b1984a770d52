r"""How the time of a regular expression grows with its text: finds those that can backtrack.

`re` tries the ways in which a pattern can match one after the other. `^(\w+[-_.]?)*$` can split a
word of 40 letters in 2^39 ways, and tries them all before it says that `aaa…a!` does not match; a
user who chooses such a job name stops the process for years. How many ways there are depends on the
pattern alone:

- If one text leads from a state of its automaton back to that state in two ways, the ways double
  with each repetition of that text: exponential.
- Otherwise they grow as a power of the text's length: the power is the largest number of loops, one
  after the other, that can share one text among them (`\d+\d+` 2, `.*,.*,.*,` 3). Searching is one
  more loop before the pattern, unless that begins with `^` or `\A`. Choices outside of loops
  (`a?a?a?aaa`) multiply it.

Source: Weber and Seidl, "On the degree of ambiguity of finite automata", 1991 (criteria EDA and
IDA). What the automaton does not show counts as exponential, and a count such as `{1,64}` as one
without end: a pattern may be called slower than it is, never faster.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from collector.mapping.automaton import Automaton, TooHardError

_LIMIT_PAIRS = 200_000
_LIMIT_STEPS = 10_000


class Growth(NamedTuple):
    """How the time of a search grows: `steps` × length of the text ^ `power`."""

    power: int
    steps: int


def growth(pattern: re.Pattern[str]) -> Growth | None:
    """How the time of a search can grow with the length of the text.

    Returns:
        None when it can grow exponentially, or that cannot be excluded.
    """
    try:
        return _Ambiguity(Automaton(pattern)).growth()
    except (TooHardError, RecursionError):
        return None


class _Ambiguity:
    """In how many ways one text can lead through an automaton."""

    def __init__(self, automaton: Automaton) -> None:
        self.follow = automaton.follow
        self.masks = automaton.masks

    def growth(self) -> Growth | None:
        components = self._components()
        steps = self._steps(components)
        loops = [
            set(states)
            for states in components
            if len(states) > 1 or states[0] in self.follow[states[0]]
        ]
        if any(self._is_ambiguous(loop) for loop in loops):
            return None
        later: dict[int, list[int]] = defaultdict(list)
        for one, first in enumerate(loops):
            for other, second in enumerate(loops):
                if one != other and self._share(first, second):
                    later[one].append(other)
        longest: dict[int, int] = {}

        def chain(loop: int) -> int:
            if loop not in longest:
                longest[loop] = 1 + max(map(chain, later[loop]), default=0)
            return longest[loop]

        return Growth(max(map(chain, range(len(loops))), default=1), steps)

    def _components(self) -> list[list[int]]:
        """Strongly connected states (Tarjan's algorithm), each set after those that it leads to."""
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        components: list[list[int]] = []
        path: list[int] = []
        on_path: set[int] = set()
        for root in range(len(self.follow)):
            todo = [] if root in index else [(root, iter(self.follow[root]))]
            while todo:
                state, edges = todo[-1]
                if state not in index:
                    index[state] = low[state] = len(index)
                    path.append(state)
                    on_path.add(state)
                for after in edges:
                    if after not in index:
                        todo.append((after, iter(self.follow[after])))
                        break
                    if after in on_path:
                        low[state] = min(low[state], index[after])
                else:
                    todo.pop()
                    if todo:
                        low[todo[-1][0]] = min(low[todo[-1][0]], low[state])
                    if low[state] == index[state]:
                        at = path.index(state)
                        components.append(path[at:])
                        on_path.difference_update(path[at:])
                        del path[at:]
        return components

    def _steps(self, components: list[list[int]]) -> int:
        """The largest number of steps on all ways of one text from loop to loop, or to an end.

        Raises:
            TooHardError: when there are too many.
        """
        steps = [0] * len(self.follow)
        for component in components:
            most = 0
            for state in component:
                edges = self.follow[state].items()
                after = {one: ways * steps[one] for one, ways in edges if one not in component}
                most = max([most, *after.values()])
                for char in range(max(self.masks).bit_length()) if len(after) > 1 else ():
                    on_char = [more for one, more in after.items() if self.masks[one] >> char & 1]
                    most = max(most, sum(on_char))
            if most > _LIMIT_STEPS:
                raise TooHardError
            for state in component:
                steps[state] = most + 1
        return max(steps, default=1)

    def _reached(self, state: int) -> set[int]:
        found: set[int] = set()
        todo = [state]
        while todo:
            new = self.follow[todo.pop()].keys() - found
            found |= new
            todo += new
        return found

    def _is_ambiguous(self, loop: set[int]) -> bool:
        """Whether one text leads through a loop in two ways."""
        todo: list[tuple[int, int]] = []
        for state in loop:
            edges = {after: ways for after, ways in self.follow[state].items() if after in loop}
            if any(ways > 1 for ways in edges.values()):
                return True
            todo += self._both(edges, edges)
        seen = set(todo)
        while todo:
            one, other = todo.pop()
            if len(seen) > _LIMIT_PAIRS:
                raise TooHardError
            ways = (self.follow[one].keys() & loop, self.follow[other].keys() & loop)
            if ways[0] & ways[1]:
                return True
            new = set(self._both(*ways)) - seen
            seen |= new
            todo += new
        return False

    def _both(self, some: Iterable[int], others: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Pairs of different states that one character leads to."""
        others = list(others)
        for one in some:
            for other in others:
                if one < other and self.masks[one] & self.masks[other]:
                    yield one, other
                elif one > other and self.masks[one] & self.masks[other]:
                    yield other, one

    def _share(self, first: set[int], second: set[int]) -> bool:
        """Whether a text leads through the first loop, the second, and from the one to the other.

        A loop that the first does not lead to shares none with it.
        """
        state = min(first)
        if not second & self._reached(state):
            return False
        return any(self._leads(one, other, first, second) for one in first for other in second)

    def _leads(self, one: int, other: int, first: set[int], second: set[int]) -> bool:
        """Whether a text leads from `one` to `one`, from `one` to `other`, `other` to `other`."""
        start, end = (one, one, other), (one, other, other)
        seen, todo = {start}, deque([start])
        follow, masks = self.follow, self.masks
        while todo:
            before, between, after = todo.popleft()
            if len(seen) > _LIMIT_PAIRS // 10:
                return True
            for x in follow[before].keys() & first:
                for y in follow[between]:
                    both = masks[x] & masks[y]
                    for z in follow[after].keys() & second if both else ():
                        triple = (x, y, z)
                        if both & masks[z] and triple not in seen:
                            if triple == end:
                                return True
                            seen.add(triple)
                            todo.append(triple)
        return False
