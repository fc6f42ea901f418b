import pytest

import isoflop
from isoflop.compute.accelerators import ACCELERATORS, PRECISIONS, find_accelerator, is_accelerator


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("H100", "H100 SXM"),
        ("h100-sxm5", "H100 SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("a100", "A100 80GB"),
        ("Tesla V100-SXM2-32GB", "V100 32GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X OAM", "MI300X"),
        ("tpu v5p", "TPU v5p"),
        ("trn2", "Trainium2"),
        ("H100s", "H100 SXM"),
        ("4090s", "RTX 4090"),
        ("L4s", "L4"),
        ("L40S", "L40S"),
        ("L40Ss", "L40S"),
    ],
)
def test_an_accelerator_is_found_as_people_and_drivers_write_it(name, meant):
    assert find_accelerator(name).name == meant


def test_every_accelerator_is_found_by_its_own_name_and_by_no_other():
    assert [find_accelerator(one.name).name for one in ACCELERATORS] == [
        one.name for one in ACCELERATORS
    ]


def test_every_peak_is_in_a_known_precision():
    assert {form for one in ACCELERATORS for form in one.teraflops} == set(PRECISIONS)


def test_a_name_of_the_table_is_one_and_a_near_one_is_not():
    assert is_accelerator("4090")
    assert not is_accelerator("4080")


def test_each_peak_is_below_what_the_same_device_makes_of_a_narrower_format():
    for one in ACCELERATORS:
        narrowing = [
            one.teraflops[form] for form in ("fp32", "tf32", "bf16", "fp8") if form in one.teraflops
        ]
        assert narrowing == sorted(narrowing), one.name


def test_peaks_are_dense():
    assert find_accelerator("H100").peak("bf16") == pytest.approx(
        989.4e12
    )  # NVIDIA prints 1,979, with sparsity
    assert find_accelerator("A100").peak() == 312e12
    assert find_accelerator("B200").peak("fp8") == 4500e12  # 9,000 with sparsity


def test_an_unknown_accelerator_is_refused_with_near_names():
    with pytest.raises(
        isoflop.PlanError, match=r"no accelerator 'MI350X' in the table: is it .*MI250X"
    ):
        find_accelerator("MI350X")


def test_a_name_like_no_other_is_refused_with_all_that_are_known():
    with pytest.raises(isoflop.PlanError, match=r"known are H100 SXM, .* and Trainium2"):
        find_accelerator("quantum")


def test_a_format_that_the_device_lacks_is_refused_with_those_it_has():
    with pytest.raises(
        isoflop.PlanError, match="T4 has no peak in bf16; its data sheet gives fp16 and fp32"
    ):
        find_accelerator("T4").peak("bf16")
