from tests.bench.fuzz import fuzz_ingest


def test_mutated_payloads_never_crash_ingest_and_each_is_accounted_for() -> None:
    outcome = fuzz_ingest(4000, seed=1, progress=lambda *_: None)
    assert outcome.crashes == 0
    assert outcome.quarantined > 400, "the mutations must bite"
    assert outcome.used > 40, "and some must be bearable"
