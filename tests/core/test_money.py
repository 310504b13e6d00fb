"""Amounts: what is read as one, what is refused, and that both directions agree."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.errors import BadInput
from gateway.core.money import format_minor, parse_minor

LARGEST = 99_999_999_999_999_999
"""Fifteen digits before the point."""

AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,2})?")
"""What the module promises to read, and what the schema of our own documents promises to its readers."""


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("90.00", 9000),
        ("12.3", 1230),
        ("12", 1200),
        ("0", 0),
        ("0.00", 0),
        ("-0", 0),
        ("0.05", 5),
        ("-0.05", -5),
        ("-12.30", -1230),
        ("007.00", 700),
        (" 12.30\n", 1230),
        ("999999999999999.99", LARGEST),
        ("-999999999999999.99", -LARGEST),
        ("999999999999999", LARGEST - 99),
    ],
)
def test_an_amount_is_read_to_the_cent(text: str, minor: int) -> None:
    assert parse_minor(text) == minor


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "-", "1.", ".5", ".50", "-.50", "12.345", "1e3", "1E+2", "1,000.00", "1,000", "1_000.00", "+1.00",
        "--1.00", "1 000.00", "1.0.00", "0x1.00", "¥12.30", "12.30元", "NaN", "Infinity", "1\n.00", "1/2",
        "1000000000000000", "1000000000000000.00", "９０.００", "９０", "٩٠.٠٠", "9٠.00", "²", "²².00", "1².00",
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_minor(text, where="$.total")
    assert (refused.value.code, refused.value.where) == ("amount", "$.total")
    assert "12.30" in refused.value.advice.en


def test_a_refusal_quotes_nothing_of_the_input() -> None:
    with pytest.raises(BadInput) as refused:
        parse_minor("98765.4321")
    assert "98765" not in str(refused.value)


@pytest.mark.parametrize(
    ("minor", "text"),
    [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (-100, "-1.00"), (1230, "12.30"), (LARGEST, "999999999999999.99")],
)
def test_an_amount_is_written_with_two_decimals(minor: int, text: str) -> None:
    assert format_minor(minor) == text


@settings(deadline=None)
@given(st.integers(-LARGEST, LARGEST))
def test_what_is_written_is_read_as_the_same(minor: int) -> None:
    assert parse_minor(format_minor(minor)) == minor
    assert format_minor(parse_minor(format_minor(minor))) == format_minor(minor)


# Digits of other scripts count as digits to str and re; the look-alikes are what people type by mistake.
_texts = st.text(st.sampled_from("0123456789.-+,eE_ ９٩²\n"), max_size=20) | st.from_regex(AMOUNT, fullmatch=True)


@settings(max_examples=300, deadline=None)
@given(_texts)
@example("９.00")
@example("1.٩٩")
def test_an_amount_is_read_as_what_it_says_or_refused(text: str) -> None:
    if AMOUNT.fullmatch(text.strip()):
        assert parse_minor(text) == Decimal(text.strip()) * 100
        return
    with pytest.raises(BadInput):
        parse_minor(text)
