"""Every bad input ends in a message or in the right picture, however it is sent."""

import re

import numpy as np
import pytest
from bad_inputs import BAD_INPUTS, BadInput

from sr_core.data.pictures import read_picture
from sr_core.errors import ImageError


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_reading_ends_in_a_message_or_the_right_picture(bad: BadInput) -> None:
    if bad.picture is None:
        with pytest.raises(ImageError) as refusal:
            read_picture(bad.data, name="the photograph")
        said = str(refusal.value)
        assert said.startswith("the photograph: ")
        assert re.search(bad.says, said), said
        assert "\n" not in said
        return
    picture = read_picture(bad.data)
    assert picture.pixels.dtype == bad.picture.pixels.dtype
    assert picture.pixels.shape == bad.picture.pixels.shape
    np.testing.assert_allclose(picture.pixels.astype(int), bad.picture.pixels.astype(int), atol=0 if bad.exact else 3)
    assert (picture.alpha is None) == (bad.picture.alpha is None)
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, bad.picture.alpha)
