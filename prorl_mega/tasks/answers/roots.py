"""Roots of whole numbers that are whole themselves."""

from __future__ import annotations

MAX_BITS = 4000


def whole_root(number: int, degree: int) -> int | None:
    """The root of a number that is not negative; None if it is not whole, or the number too long."""
    from sympy import integer_nthroot  # takes half a second to import

    root, is_exact = integer_nthroot(number, degree) if number.bit_length() <= MAX_BITS else (0, False)
    return int(root) if is_exact else None
