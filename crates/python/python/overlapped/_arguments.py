"""Checks of arguments: a value of another type, or one that would silently mean something else, is refused by the name that the
caller knows, with what is to be written instead."""

from __future__ import annotations

import math
import operator

# For type checkers, which take it as true: see `overlapped/__init__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The most of what is counted.
COUNT_MAX = 2**63 - 1
# The longest time, in seconds, which is that of threads too (`threading.TIMEOUT_MAX`): 2**63 ns. The shortest is 1 ns.
SECONDS_MAX = 2**63 // 10**9
_SECONDS_MIN = 1e-9
# The most further attempts or redirects, and the largest status.
SHORT_MAX = 2**16 - 1

_INFINITE = "must be finite; None is no limit"


def wrong(name: str, wanted: str, value: object) -> TypeError:
    """The error for a value of another type than is wanted."""
    return TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def is_flag(value: object) -> bool:
    """Whether it is a bool; that of numpy is another class."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def check_flag(name: str, value: object) -> None:
    """Refuses what is no bool."""
    if not is_flag(value):
        raise wrong(name, "a bool", value)


def count(name: str, value: Any, least: int, most: int = COUNT_MAX, wanted: str = "an int") -> int:
    """A whole number in a range. A bool is none, though Python counts with it."""
    try:
        if is_flag(value):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise wrong(name, wanted, value) from None
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}; it must be between {least} and {most}")
    return number


def count_or_none(name: str, value: Any, least: int, most: int = COUNT_MAX) -> int | None:
    """The same; None: the default, or no limit."""
    return None if value is None else count(name, value, least, most, "an int or None")


def number(name: str, value: Any) -> float:
    """A number, whole or not."""
    if is_flag(value) or isinstance(value, (str, bytes)):
        raise wrong(name, "a number or None", value)
    try:
        return float(value)
    except TypeError:
        raise wrong(name, "a number or None", value) from None
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def rate(name: str, value: Any) -> float | None:
    """So many per second; None: any number."""
    if value is None:
        return None
    per_second = number(name, value)
    if not 0 < per_second < math.inf:
        raise ValueError(f"{name} is {value}: a rate of so many per second must be above 0 and finite; None is no limit")
    return per_second


def seconds(name: str, value: Any, *, may_be_zero: bool = False) -> float | None:
    """A time, or None for no limit."""
    if value is None:
        return None
    time = number(name, value)
    if math.isinf(time) and time > 0:
        raise ValueError(f"{name} is {value}; it {_INFINITE}")
    if time > SECONDS_MAX:
        raise ValueError(f"{name} is {value}; it must be at most {SECONDS_MAX} s; None is no limit")
    if not (time >= 0 if may_be_zero else time > 0):
        raise ValueError(f"{name} is {value}; it must be {'at least' if may_be_zero else 'above'} 0; None is no limit")
    if time < _SECONDS_MIN and not may_be_zero:
        raise ValueError(f"{name} is {value}; it must be at least {_SECONDS_MIN} s; None is no limit")
    return time


def check_text(name: str, value: object) -> None:
    """Refuses what is neither None nor a str of characters."""
    if value is not None:
        check_str(name, value, "a str or None")


def check_str(name: str, value: object, wanted: str = "a str") -> None:
    """Refuses what is no str of characters."""
    if not isinstance(value, str):
        raise wrong(name, wanted, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # Not as the cause, which shows the value, which may be a secret.
        raise ValueError(f"{name} has a lone surrogate at {error.start}, which is no character") from None


def check_line(name: str, value: Any) -> None:
    """Refuses what is no str of one line, such as one with CR or LF."""
    check_str(name, value)
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        raise ValueError(f"{name} has a control character, such as a line end")
