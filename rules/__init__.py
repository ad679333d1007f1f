"""The decisions of Stepgate: pure functions of plain values. No I/O, clock, log, await or randomness."""
