"""What is shown of counted things and of bytes."""

import pytest

from sr_core import progress
from sr_core.errors import ConfigError
from sr_core.progress import duration_text, lines, parse_bytes, size_text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (9_996_000, "10 MB"),
        (3_530_603_713, "3.53 GB"),
        (246_914_039, "247 MB"),
        (65_753_171, "65.8 MB"),
        (-2_000, "-2 kB"),
        (12e15, "12000 TB"),
    ],
)
def test_sizes_have_three_digits(num_bytes: float, text: str) -> None:
    assert size_text(num_bytes) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1G", 10**9),
        ("512M", 512 * 10**6),
        ("500MiB", 500 * 2**20),
        ("1.5k", 1500),
        ("1.5 GB", 1_500_000_000),
        ("7", 7),
    ],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert parse_bytes(text, name="--memory") == expected


@pytest.mark.parametrize("text", ["", "0", "-1G", "1X", "G", "0.1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--memory: is .*, expected a number of bytes such as 512M or 2G"):
        parse_bytes(text, name="--memory")


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (4805, "1 h 20 min"), (90000, "25 h 0 min")]
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_bytes_come_with_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said: list[str] = []
    shown = lines(said.append)
    shown.start("Fetching", 300_000_000, unit="bytes")
    now[0] += 10
    shown.advance(20_000_000)
    now[0] += 10
    shown.advance(-30_000_000)  # from the beginning again
    shown.start("Fetching", unit="bytes")
    now[0] += 10
    shown.advance(5_000)
    shown.start("Writing", 3)
    now[0] += 10
    shown.advance()

    assert said == [
        "Fetching: 300 MB",
        "Fetching: 20 MB/300 MB, 2 MB/s, 2 min 20 s left",
        "Fetching: -10 MB/300 MB",
        "Fetching",
        "Fetching: 5 kB, 500 B/s",
        "Writing: 3",
        "Writing: 1/3",
    ]


def test_bars_show_bytes_and_counts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with progress.console() as bars:
        bars.start("Fetching", 3_000_000, unit="bytes")
        bars.advance(1_500_000)
        bars.start("Writing", 7)
        bars.advance(2)
    out = capsys.readouterr().out
    assert "1.5 MB/3 MB" in out
    assert "2/7" in out
