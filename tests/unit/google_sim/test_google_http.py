"""A query is read as the standard library reads one."""

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from drivewake.lab.google.http import Request


@given(st.text(alphabet="ab=&%+2F0;é /", max_size=40))
def test_a_query_is_read_as_the_standard_library_reads_it(text: str) -> None:
    """Escapes, blanks, empty values, several of a name: the last one wins."""
    expected = dict(parse_qsl(text, keep_blank_values=True))

    assert expected == Request("GET", "/", text, {}, b"").query
