"""The exception tree and the list of offenders."""

import pytest

from sr_core import errors
from sr_core.errors import SrError, listed, shown

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SrError)]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_ends_the_program_with_a_failure(kind):
    assert 1 <= kind.exit_code <= 125  # the shell uses the rest


def test_listed_puts_each_offender_on_a_line_of_its_own():
    assert listed(["a.png: truncated", "b.png: CMYK"]) == "\n  a.png: truncated\n  b.png: CMYK"
    assert listed([]) == ""


def test_listed_counts_what_it_leaves_out():
    assert listed(["a", "b", "c"], most=2) == "\n  a\n  b\n  … and 1 more"
    assert listed(["a", "b"], most=2) == "\n  a\n  b"


def test_the_name_of_a_file_is_one_line():
    assert shown("/photos/Ä b.png") == "/photos/Ä b.png"
    assert shown("a\nb.png") == r"'a\nb.png'"
    assert shown("\udcffa.png") == r"'\udcffa.png'"
