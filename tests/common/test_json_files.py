"""JSON is read as the standard library reads it, whichever reader does it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.common.json_files import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES, st.sampled_from([None, 1]))
def test_what_was_written_is_read(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert json.dumps(parse_json(text.encode())) == json.dumps(json.loads(text))


@pytest.mark.parametrize("text", ["1e400", "NaN", "[-Infinity]", '"\\ud800"', "1e23", "-0.0", '{"a": 1, "a": 2}', " 3"])
def test_what_is_no_strict_json_is_read_too(text: str) -> None:
    read, known = parse_json(text.encode()), json.loads(text)
    assert repr(read) == repr(known)
    assert type(read) is type(known)
    assert math.copysign(1, read) == math.copysign(1, known) if isinstance(read, float) else True


@pytest.mark.parametrize("content", [b"", b"[1,]", b"\xff", b'{"a"', b"1 2", b"\xef\xbb\xbf1"])
def test_what_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Extra|decode|BOM"):
        parse_json(content)
