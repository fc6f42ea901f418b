import pytest

import isoflop
from isoflop.compute.compute import HOUR
from isoflop.compute.phrases import parse_compute, parse_hardware, parse_precision, parse_share

H100 = 989.4e12  # dense FLOP/s in bf16
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("phrase", "flops"),
    [
        (1e21, 1e21),
        ("1e21", 1e21),
        ("1e21 FLOPs", 1e21),
        ("3 exaFLOP", 3e18),
        ("2.5 ZFLOPs", 2.5e21),
        ("10 petaflop/s-days", 8.64e20),
        ("8xH100 for 3 days at 40% MFU", 8 * 3 * DAY * 0.4 * H100),
        ("8 H100 GPUs, 72 h, MFU 0.4", 8 * 3 * DAY * 0.4 * H100),
        ("3 days on 8 x H100 with 40% MFU in fp8", 8 * 3 * DAY * 0.4 * 1978.9e12),
        ("A100 for 2 weeks at 50%", 14 * DAY * 0.5 * 312e12),
        ("90 minutes on 2xL4 at 30% MFU", 2 * 1.5 * HOUR * 0.3 * 121e12),
        ("1,000 H100-hours at 35% MFU", 1000 * HOUR * 0.35 * H100),
        ("500 GPU-hours on 64xA100 40GB at 40% MFU", 500 * HOUR * 0.4 * 312e12),
        ("$50,000 at $2.50/H100-hour at 40% MFU", 20_000 * HOUR * 0.4 * H100),
        ("50 k$ at 2.5 $ per H100-hour, 40% MFU", 20_000 * HOUR * 0.4 * H100),
        ("€1 million at €2/GPU-hour on H100 at 40% MFU", 500_000 * HOUR * 0.4 * H100),
        ("50,000 USD at 2.5 USD/H100-hour at 40% MFU", 20_000 * HOUR * 0.4 * H100),
        ("1e21 FLOPs on 64xH100 at 40% MFU", 1e21),
        ("8 H100s for 3 days at 40% MFU", 8 * 3 * DAY * 0.4 * H100),
        ("8 L40Ss for 1 day at 40% MFU", 8 * DAY * 0.4 * 362e12),
        ("8 GPUs for 3 days on H100 at 40% MFU", 8 * 3 * DAY * 0.4 * H100),
        ("on H100 for 3 days with 8 GPUs at 40% MFU", 8 * 3 * DAY * 0.4 * H100),
        ("10k H100 hours at 40% MFU", 1e4 * HOUR * 0.4 * H100),
        ("2.788M H100-hours at 40% MFU", 2.788e6 * HOUR * 0.4 * H100),
        ("1 billion GPU-hours on H100 at 40% MFU", 1e9 * HOUR * 0.4 * H100),
        ("100 MI300X-hours at 40% MFU", 100 * HOUR * 0.4 * 1307.4e12),
        ("$1B at $2/H100-hour at 40% MFU", 5e8 * HOUR * 0.4 * H100),
        ("4090 for 3 days at 40% MFU", 3 * DAY * 0.4 * 165.2e12),
        ("8 GPUs for 3 days on 4090 at 40% MFU", 8 * 3 * DAY * 0.4 * 165.2e12),
        ("500 GPU-hours on 4090 at 40% MFU", 500 * HOUR * 0.4 * 165.2e12),
        ("4090", 4090),
        ("4090 FLOPs", 4090),
    ],
)
def test_a_budget_is_read_as_people_write_it(phrase, flops):
    assert parse_compute(phrase).flops == pytest.approx(flops, rel=1e-12)


def test_clauses_may_stand_in_any_order():
    one = parse_compute("8xH100 for 3 days at 40% MFU in fp8 at $2/hour")
    assert parse_compute("fp8, $2/H100-hour, 40% MFU, 3 days, 8xH100") == one


def test_what_was_said_is_kept():
    found = parse_compute("$50,000 at $2.50/H100-hour on 64xH100 at 40% MFU")
    assert (found.hardware.accelerator.name, found.hardware.number) == ("H100 SXM", 64)
    assert (found.hardware.mfu, found.hardware.price, found.hardware.precision) == (
        0.4,
        2.5,
        "bf16",
    )
    assert found.device_hours == pytest.approx(20_000)
    assert found.seconds == pytest.approx(20_000 * HOUR / 64)
    assert found.money == pytest.approx(50_000)


def test_hours_without_a_number_of_devices_have_no_end_to_end_time():
    assert parse_compute("1000 H100-hours at 35% MFU").seconds is None


def test_the_price_names_a_board_of_the_same_name_by_its_short_one():
    found = parse_compute("$100 at $2/H100-hour on 8xH100 PCIe at 40% MFU")
    assert found.hardware.accelerator.name == "H100 PCIe"


def test_an_mfu_that_nobody_gave_is_assumed_and_noted_with_its_source():
    found = parse_compute("8xH100 for 3 days")
    assert found.hardware.mfu == 0.38
    assert "38 % is assumed" in found.notes[0]
    assert "Grattafiori et al. 2024" in found.notes[0]


def test_an_mfu_that_was_given_is_not_noted():
    assert parse_compute("8xH100 for 3 days at 40% MFU").notes == ()
    assert parse_compute("8xH100 for 3 days", mfu=0.4).notes == ()


def test_fp8_is_assumed_to_reach_less_of_its_higher_peak():
    half, eighth = (parse_compute(f"H100 for 1 day in {form}") for form in ("bf16", "fp8"))
    assert eighth.hardware.mfu < half.hardware.mfu
    assert "DeepSeek" in eighth.notes[0]


def test_what_the_phrase_says_comes_before_what_is_given_beside_it():
    found = parse_compute(
        "H100 for 1 day at 40% MFU in fp8 at $3/hour", mfu=0.1, price=1, precision="tf32"
    )
    assert (found.hardware.mfu, found.hardware.price, found.hardware.precision) == (0.4, 3, "fp8")


def test_the_way_back_from_flops_to_hours_and_money_is_exact():
    there = parse_compute("8xH100 for 3 days at 40% MFU at $2.50/H100-hour")
    back = parse_compute(there.flops).on(parse_hardware("64xH100 at 40% MFU", price=2.5))
    assert back.device_hours == pytest.approx(576)
    assert back.seconds == pytest.approx(9 * HOUR)
    assert back.money == pytest.approx(there.money) == pytest.approx(1440)


def test_a_budget_prints_its_flops_hours_time_and_money():
    shown = str(parse_compute("8xH100 for 3 days at 40% MFU at $2.50/H100-hour"))
    assert shown.startswith("8.21e+20 FLOPs")
    assert "989.4e12 FLOP/s in bf16 (dense), 80 GB" in shown
    assert "white paper" in shown
    assert "3.0 days on 8" in shown
    assert "$1,440 at $2.50" in shown


@pytest.mark.parametrize(
    ("phrase", "row"),
    [
        ("1e15 on H100 at $2.50/hour", "money           less than $0.01 at $2.50 per hour of one"),
        (
            "1e18 on H100 at 40% MFU at $0.004/hour",
            "money           less than $0.01 at $0.00400 per hour of one",
        ),
        (
            "1e19 on H100 at 40% MFU at $2.50/hour",
            "money           $17.55 at $2.50 per hour of one",
        ),
        ("1e60 on H100 at 40% MFU", "H100 SXM hours  7.02e+41"),
    ],
)
def test_small_money_and_huge_hours_print_as_people_read_them(phrase, row):
    assert f"  {row}\n" in f"{parse_compute(phrase)}\n"


def test_a_budget_of_plain_flops_prints_in_one_line():
    assert str(parse_compute(1e21)) == "1e+21 FLOPs"


def test_a_notebook_shows_the_same():
    assert "3.0 days on 8" in parse_compute("8xH100 for 3 days at 40% MFU")._repr_html_()


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("8xH10 for 3 days", "no accelerator 'H10' in the table: is it H100 SXM"),
        ("8xH100", "needs a time, hours, money or FLOPs, but '8xH100' says none; add 'for 3 days'"),
        ("3 days", "names none; add 'on 8xH100'"),
        ("$50,000 on H100", "has none; add 'at \\$2.50/H100-hour'"),
        ("$50,000 at $0/H100-hour", "price per hour must be above 0"),
        ("H100 for 1 day at $0/hour", "price per hour must be above 0"),
        ("8xH100 for 3 days for 2 days", "says its time once"),
        ("8xH100 for 3 days on A100", "says its devices once"),
        ("8 GPUs for 3 days on 8xH100", "says its devices once"),
        ("8xH100 for 3 days, 400 H100-hours", "says time and device-hours; leave one of them out"),
        ("1e21 FLOPs on 8xH100 for 3 days", "says FLOPs and time"),
        ("8xH100 for 3 days at 40 MFU", "at most 100%, but got '8xH100 for 3 days at 40 MFU'"),
        ("8xH100 for 3 days at 0% MFU", "above 0"),
        ("8xH100 for 0 days", "longer than 0 hours"),
        ("8xH100 for 1e500 days", "longer than 0 hours and not forever, but got inf hours"),
        ("1e304 H100-hours", "longer than 0 hours and not forever, but got 1e\\+304 hours"),
        ("0xH100 for 3 days", "1 or more"),
        (f"{'9' * 400}xH100 for 3 days", "is written as"),
        ("8xH100\nfor 3 days", "is written as"),
        ("1e300", "must be FLOPs above 0"),
        ("8xV100 for 1 day in bf16", "V100 16GB has no peak in bf16"),
        ("8xA100 for 2 days at $2/H100-hour", "names A100 80GB and H100"),
        ("$5 at €2/H100-hour", "in one currency"),
        ("H100 for 3 months", "'3 months' is none of these"),
        ("8xH100 for three days", "'three days' is none of these"),
        ("1e21 FLOP/s", "A budget is written as '8xH100 for 3 days at 40% MFU'"),
        ("0", "must be FLOPs above 0"),
        ("1e400", "must be FLOPs above 0"),
        (-1.0, "must be FLOPs above 0"),
        ("", "is none of these"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(phrase, message):
    with pytest.raises(isoflop.PlanError, match=message) as caught:
        parse_compute(phrase)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"precision": "fp64"},
            "known in bf16, fp16, tf32, fp32 and fp8, but got precision 'fp64'",
        ),
        ({"price": 0.0}, "price per hour must be above 0 and finite, but got 0"),
        ({"price": float("inf")}, "price per hour must be above 0 and finite, but got inf"),
        ({"mfu": 40.0}, "MFU must be a share of the peak"),
    ],
)
@pytest.mark.parametrize("budget", [1e21, "1e21", "8xH100 for 3 days"])
def test_what_is_given_beside_the_phrase_is_checked_even_for_plain_flops(budget, given, message):
    with pytest.raises(isoflop.PlanError, match=message):
        parse_compute(budget, **given)


def test_a_precision_is_named_in_any_case():
    assert parse_precision("FP8") == parse_precision(" float8 ") == "fp8"
    assert parse_hardware("H100", precision="BFloat16").precision == "bf16"


@pytest.mark.parametrize("phrase", ["4090", "RTX 4090", "4090 at 38% MFU", "8 GPUs on 4090"])
def test_hardware_may_be_named_by_a_number(phrase):
    assert parse_hardware(phrase).accelerator.name == "RTX 4090"


def test_hardware_is_one_device_unless_a_number_is_said():
    assert parse_hardware("H100").number == 1
    assert str(parse_hardware("8xH100 at 40% MFU")) == "8x H100 SXM at 40 % MFU in bf16"


@pytest.mark.parametrize("phrase", ["8xH100 for 3 days", "1e21", "4090 FLOPs", "40% MFU"])
def test_hardware_is_devices_and_nothing_that_is_spent(phrase):
    with pytest.raises(isoflop.PlanError, match="Hardware is written as '8xH100'"):
        parse_hardware(phrase)


def test_an_mfu_is_written_as_percent_or_as_a_share():
    assert parse_share("40%") == parse_share("0.4") == parse_share(" 40 % MFU") == 0.4


@pytest.mark.parametrize("written", ["40", "0", "high", "-1%"])
def test_an_mfu_that_is_no_share_is_refused(written):
    with pytest.raises(isoflop.PlanError, match="MFU is"):
        parse_share(written)
