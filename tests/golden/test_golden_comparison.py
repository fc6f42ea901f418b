import pytest
from golden_values import differences


@pytest.mark.parametrize(
    ("before", "now", "places"),
    [
        ({"N": 1e9}, {"N": 1e9 * (1 + 1e-7)}, []),
        ({"N": 1e9}, {"N": 1e9 * (1 + 2e-6)}, ["/N"]),
        ({"N": [1.0, "nan"]}, {"N": [1.0, 2.0]}, ["/N/1"]),
        ({"waste": 1e-8}, {"waste": 2e-6}, ["/waste"]),
        ({"N": 1.0}, {}, ["/N"]),
        ([1, 2], [1], [""]),
        ("a\nb\n", "a\nc\n", [" line 2"]),
        (None, "a", [""]),
    ],
)
def test_what_differs_is_named_with_its_place(before, now, places):
    assert [line.split(": was")[0] for line in differences(before, now, 1e-6)] == places
