"""Runs the scenarios, replays each in every variant, and prints what was recovered, refused and wrong (`make lab`).

    python -m tests.lab.report [SCENARIO …] [--recorded FOLDER] [--scale 0.5] [--keep FOLDER]

Exit code 1 if a single line names a wrong client.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.lab import record, rivals, variants
from tests.lab.judging import Score, score
from tests.lab.scenario import Scenario

SHOWN = 5  # wrong lines printed of each replay


def judge(scenario: Scenario, variant: str, recordings: Path, tmp: Path) -> Score:
    """Replay one variant of one recording and compare."""
    recording = recordings / scenario.name
    folder = tmp / f"{scenario.name}-{variant}"
    config = variants.make(scenario, variant, recording, folder)
    return score(scenario, config, recording / "truth.jsonl", tmp / f"{scenario.name}-{variant}-out")


def row(name: str, variant: str, found: Score, others: Counter[str] | None) -> str:
    """One line of the table."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.refused.most_common())
    share = f"{100 * found.share:5.1f} %" if found.recoverable else "      –"
    theirs = "".join(f"{others[each]:13}" if others is not None else " " * 13 for each in rivals.RIVALS)
    return f"{name:25} {variant:9} {found.lines:6} {share:>8} {len(found.wrong):6} {theirs}  {reasons}"


def heading() -> str:
    """The first line of the table."""
    theirs = "".join(f"{each:>13}" for each in rivals.RIVALS)
    return f"{'scenario':25} {'variant':9} {'lines':>6} {'recovered':>8} {'WRONG':>5} {theirs}  refused"


def main() -> None:
    """Parse the arguments, record if there is nothing recorded, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--recorded", type=Path, help="a folder that tests.lab.record made")
    parser.add_argument("--scale", type=float, default=1.0, help="how many connections, as a factor")
    options = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lab-report-") as made:
        tmp = Path(made)
        recordings = options.recorded or tmp / "recorded"
        if options.recorded is None:
            command = [sys.executable, "-m", "tests.lab.record", *options.names, "--out", str(recordings)]
            subprocess.run([*command, "--scale", str(options.scale)], check=True)
        print(heading())
        for scenario in record.with_sources(options.names):
            for variant in variants.variants_of(scenario):
                found = judge(scenario, variant, recordings, tmp)
                others = rivals.wrong_by(scenario, recordings / scenario.name) if variant == variants.COMPLETE else None
                print(row(scenario.name, variant, found, others), flush=True)
                wrong += found.wrong
                untrue = found.untrue if variant == variants.COMPLETE else []
                shown = [f"  WRONG {text}" for text in found.wrong[:SHOWN]]
                shown += [f"  not the true reason: {text}" for text in untrue[:SHOWN]]
                print("".join(f"{text}\n" for text in shown), end="")
    print(f"wrong clients: {len(wrong)}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
