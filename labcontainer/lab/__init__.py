"""The learner's side: doctor, helper process, exercises and their checks, words and pictures."""
