"""A short load test against the real server, and how it judges."""

from __future__ import annotations

import functools
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadtest import answers
from loadtest.__main__ import main
from loadtest.answers import KINDS
from loadtest.arrivals import draw
from loadtest.judge import judge, knee, recovery, result
from loadtest.profiles import ORDER, Profile, read
from loadtest.records import Records
from loadtest.run import Target, open_loop
from serving.server import TritonServer
from tsfd_client import Client

SHORT = """
[mix]
tile = 0.5
batch = 0.4
image = 0.1
[smoke]
of = "bare"
steps = [[2, 5]]
limits = { failed = 0 }
[closed]
users = 3
seconds = 5
limits = { failed = 0 }
[steps]
of = "bare"
steps = [[1, 1], [2, 1]]
knee = 1000
limits = {}
[generator]
limits = { lag_p99_ms = 1e6 }
"""


@pytest.fixture(scope="module", autouse=True)
def _computed_once() -> Iterator[None]:
    """The right answers, to one image, are computed once; each test has a copy of its own."""
    compute = answers.compute

    @functools.cache
    def computed(repository: Path, exact: bool) -> bytes:
        return pickle.dumps(compute(repository, exact=exact))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "_IMAGES", 1)
        patch.setattr(
            answers,
            "compute",
            lambda repository, *, exact=True: pickle.loads(computed(repository, exact)),
        )
        yield


def test_short_run_has_no_wrong_answers(server: TritonServer, tmp_path: Path) -> None:
    """By two processes of the generator; the bare rate is given, so that little is asked."""
    config = tmp_path / "load.toml"
    config.write_text(SHORT)
    options = [
        "--server",
        server.grpc_url,
        "--repository",
        str(server.repository),
        "--bare",
        "2",
        "--processes",
        "2",
    ]

    code = main(["smoke", "closed", *options, "--config", str(config), "--out", str(tmp_path)])

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (code, [check["value"] for check in summary["checks"] if not check["holds"]]) == (0, [])
    assert (
        summary["release"]
        == json.loads((server.repository / "nuclei_postprocess/1/release.json").read_text())[
            "release"
        ]
    )
    for profile in ("smoke", "closed"):
        assert summary["profiles"][profile]["requests"] > 0
        assert summary["profiles"][profile]["failures"] == {}
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "server: queue" in page


def test_a_wrong_answer_is_told(server: TritonServer, tmp_path: Path) -> None:
    asked = answers.compute(server.repository)
    for answer in asked.right["tile"]:
        answer.instance_map[:2] += 1
    asked.save(tmp_path / "answers")
    target = Target(server.grpc_url, asked.release, tmp_path / "answers")

    outcome = open_loop(target, [[4, 3]], tmp_path)

    assert set(outcome.records.status) <= {"WRONG", "OK"}  # images are asked for, too
    assert "WRONG" in outcome.records.status


def test_a_server_that_rounds_is_judged_by_all_its_answers_together(
    server: TritonServer, tmp_path: Path
) -> None:
    """As a GPU's is: here by float32, in which the processor need not compute."""
    asked = answers.compute(server.repository, exact=False)
    asked.save(tmp_path / "answers")
    target = Target(server.grpc_url, asked.release, tmp_path / "answers")

    outcome = open_loop(target, [[8, 3]], tmp_path)
    found = result(Profile("smoke", {}), outcome.records, [[8, 3]], outcome.agreement)
    checks = {c.name: c for c in judge(found, bare=20, knee=10, lag_p99_ms=1e6, slow=5)}

    assert outcome.agreement.nuclei > 50
    assert [str(check) for check in checks.values() if not check.holds] == []
    assert {"PQ of the nuclei, at least", "share of neoplastic nuclei kept, at least"} <= {*checks}


def test_a_server_that_takes_one_class_for_another_is_told(server: TritonServer) -> None:
    asked = answers.compute(server.repository, exact=False)
    names = Counter(name for answer in asked.right["tile"] for name in answer.classes.tolist())
    (first, _), (second, _) = names.most_common(2)
    other = {first: second, second: first}  # so most nuclei should be of the second class
    for answer in asked.right["tile"]:
        answer.classes[:] = [other.get(name, name) for name in answer.classes.tolist()]

    with Client(server.grpc_url) as client:
        right = [asked.ask(client, "batch", choice) for choice in range(0, 16, 4)]
    found = result(Profile("smoke", {}), records([0.1]), [[10, 1]], asked.agreement)
    checks = judge(found, bare=20, knee=10, lag_p99_ms=1e6, slow=5)

    assert not all(right)
    assert f"share of {second} nuclei kept, at least" in {c.name for c in checks if not c.holds}


def test_no_server_fails(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--server", "localhost:9", "--bare", "2", "--repository", str(repository)]
    code = main(["smoke", *options, "--out", str(tmp_path)])

    assert code == 1
    assert "No Triton server answers at localhost:9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[smoke]\nspeed = 3", "unexpected keyword argument 'speed'"),
        ("[mix]\ntile = 1", "'generator'"),
        ("[mix", "Expected ']'"),
    ],
)
def test_a_file_that_cannot_be_used(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert main(["--config", str(path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"loadtest: {path} cannot be used: ")
    assert reason in said
    assert said.count("\n") == 1


def test_an_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smok"]) == 1
    assert capsys.readouterr().err == (
        f"loadtest: There is no profile smok: choose from {', '.join(read().profiles)}.\n"
    )


def test_the_shipped_profiles() -> None:
    load = read()
    assert {*load.profiles} == {*ORDER}
    assert {*load.mix} == {*KINDS}


def test_arrivals_are_those_that_were_asked_for() -> None:
    steps, mix = [[30, 200], [60, 100]], {"tile": 0.5, "batch": 0.5}
    drawn = list(draw(steps, mix, np.random.default_rng(0)))
    at = np.array([arrival.at for arrival in drawn])
    patches = np.array([KINDS[arrival.kind] for arrival in drawn])
    assert np.all(np.diff(at) > 0)
    assert at[-1] < 300
    assert patches[at < 200].sum() / 200 == pytest.approx(30, rel=0.1)
    assert patches[at >= 200].sum() / 100 == pytest.approx(60, rel=0.1)
    # Poisson: gaps vary as much as they are long.
    gaps = np.diff(at[at < 200])
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)


def records(latency: list[float], status: str = "OK", patches: int = 1) -> Records:
    """Ten requests a second of one patch each; `status` of those after the first."""
    count = len(latency)
    intended = np.arange(count) / 10.0
    states = np.array(["OK"] + [status] * (count - 1), str)
    done = intended + np.array(latency)
    return Records(np.full(count, patches), intended, intended, done, states)


def test_limits() -> None:
    limits = {"failed": 0, "achieved": 0.95, "p99": 5, "of_bare": 0.5}
    profile = Profile("steady", limits, steps=[[1, 10]])
    good = result(profile, records([0.1] * 100), [[10, 10]])
    bad = result(profile, records([0.1] * 50 + [2.0] * 50, "UNAVAILABLE"), [[10, 10]])
    wrong = result(Profile("smoke", {}), records([0.1, 0.1], "WRONG"), [[10, 10]])

    def broken(found: object) -> list[str]:
        checks = judge(found, bare=20.0, knee=10.0, lag_p99_ms=100, slow=5)
        return [check.name for check in checks if not check.holds]

    assert broken(good) == []
    assert broken(bad) == [
        "failed or wrong, at most",
        "answered / offered rate, at least",
        "answered rate / bare rate, at least",
    ]
    assert broken(wrong) == ["wrong answers"]


def test_the_knee() -> None:
    """The last step before the first that is late, even if a later one is not."""
    profile = Profile("steps", {}, steps=[[0.1, 1]] * 4, knee=10)
    latency = [0.1] * 10 + [0.3] * 10 + [0.9] * 10 + [0.1] * 10
    found = result(profile, records(latency), [[n, 1] for n in (1, 2, 3, 4)])
    assert knee(found, bare=20.0) == 2
    assert knee(found, bare=5.0) == 4
    assert knee(found, bare=1000.0) == 0


def test_recovery() -> None:
    """Counted from the end of the overload to the last request that was late."""
    profile = Profile("overload", {}, steps=[[2, 5], [0.2, 5]])
    found = result(profile, records([3.0] * 70 + [0.1] * 30), [[10, 5], [10, 5]])
    assert recovery(found, slow=1.0) == pytest.approx(1.9)
    assert recovery(found, slow=4.0) == 0
