from dataclasses import replace

import isoflop


def test_a_run_is_written_in_one_short_line():
    spec = isoflop.RunSpec(
        num_params=1.2e6, num_tokens=2.4e7, flops=1.73e14, size=64, fingerprint="f" * 64
    )
    curve = tuple((float(tokens), 3.0) for tokens in range(1000))
    run = isoflop.Run(
        spec=spec, status="completed", loss=2.31, num_tokens=2.4e7, flops=1.73e14, curve=curve
    )
    short = (
        f"Run({run.id}: size 64, 1.20M params on 24.0M tokens, 1.73e14 FLOPs, loss 2.310)".replace(
            "e14", "e+14"
        )
    )
    assert repr(run) == str(run) == short
    other = replace(run, spec=replace(spec, size=None, seed=2), status="diverged")
    assert repr(other).endswith("1.20M params on 24.0M tokens, 1.73e+14 FLOPs, seed 2, diverged)")
