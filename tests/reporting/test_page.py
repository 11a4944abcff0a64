"""What is put into the HTML page: data that are the same bytes twice, and places that must be there."""

from __future__ import annotations

import base64
import gzip
import json

import pandas as pd
import pytest

from safetystats.reporting.page import data_text, finish_page
from safetystats.reporting.page_data import pack


def test_data_are_packed_alike_twice_and_whole() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.5], "y": ["a", "b,c"]})
    assert pack(frame) == pack(frame)
    assert gzip.decompress(base64.b64decode(pack(frame))).decode("utf-8") == 'x,y\n1.0,a\n2.5,"b,c"\n'


def test_a_page_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        finish_page("<style></style>")
    with pytest.raises(ValueError, match="no style"):
        finish_page("/*data*/ /*script*/")


def test_data_of_a_page_are_the_same_text_when_read_and_written_again() -> None:
    data = {"b": [0.1, 1e-7, -2, None], "a": {"z": "\u05e9</script>", "y": True}}
    assert data_text(json.loads(data_text(data))) == data_text(data)
    with pytest.raises(ValueError, match="not JSON compliant"):
        data_text({"x": float("nan")})
