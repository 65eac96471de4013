# SPDX-License-Identifier: Apache-2.0
"""What a bench is made of.

A row is one program; a check is one goal, on the median over the rounds. A check with `against`
takes the ratio of the two rows within each round first, because both saw the same machine then.
"""
import dataclasses
from typing import Callable, Optional


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    role: str  # ours, floor, peer
    command: tuple  # the first word is looked up in the build's bin/, then in PATH
    extra: Optional[Callable] = None  # (command with paths) -> more values, after each run


@dataclasses.dataclass(frozen=True)
class Check:
    row: str
    value: str
    limit: float
    against: Optional[str] = None
    at_least: bool = False

    def met_by(self, measured):
        return measured >= self.limit if self.at_least else measured <= self.limit

    def text(self):
        sign = ">=" if self.at_least else "<="
        tail = f" x {self.against}" if self.against else ""
        return f"{self.row}: {self.value} {sign} {self.limit:g}{tail}"


@dataclasses.dataclass(frozen=True)
class Bench:
    name: str
    question: str
    goal: str
    rows: tuple
    checks: tuple
    columns: tuple  # values shown in the table; the file has all
    rounds: int
    derive: Optional[Callable] = None  # ({row: values} of one round) -> None, adds values
