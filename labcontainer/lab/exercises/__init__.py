"""One file an exercise: hole, solution, wrong answers, check, hints. See docs/exercises.md."""
